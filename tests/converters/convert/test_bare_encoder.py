"""A checkpoint as a bare .tflite file, through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.runtime.interpreter import SignatureNames, TfliteModel
from edgeseq_converters.models.huggingface.checkpoint import names_checkpoint, read_model
from edgeseq_converters.models.reference_encoder import bert_answers

RUN = CliRunner()


def test_a_sentence_encoder_becomes_a_file(small_bert_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    ids = tmp_path / "ids.jsonl"
    texts = [[2, 7, 9, 3], [2, 3], [5]]
    ids.write_text("\n".join(map(json.dumps, texts)))
    options = ["--recipe", "float32", "--ids", str(ids), "--json"]
    result = RUN.invoke(app, ["convert", str(small_bert_checkpoint), "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    made = json.loads(result.output[result.output.index("{") :])
    assert (made["output"], made["shape"], made["n_examples"]) == ("embedding", [1, 32], 3)
    asked = TfliteModel(out, signature=SignatureNames(output="embedding"))
    expected = bert_answers(read_model(small_bert_checkpoint), texts)
    for text, wanted in zip(texts, expected, strict=True):
        np.testing.assert_allclose(asked.infer(text), wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--head", "question"],
            "unknown head: found 'question', expected auto or sequence_classification",
        ),
        (["--head", "token_classification"], "tensor classifier.weight is missing"),
        (["--recipe", "dynamic_wi8_ai8"], "unknown recipe"),
        (["--recipe", "static_wi8_ai8"], "a static recipe needs inputs to calibrate on"),
        (["--streaming"], "are for recurrent networks"),
    ],
)
def test_refusals_are_one_line(
    options: list[str], message: str, small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.tflite"
    result = RUN.invoke(app, ["convert", str(small_bert_checkpoint), "--out", str(out), *options])
    assert isinstance(result.exception, Exception)
    assert message in str(result.exception) or message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("all-MiniLM-L6-v2", True),
        ("BAAI/bge-small-en-v1.5", True),
        ("models/lstm.keras", False),
        ("a/b/c", False),
        ("/no/such/folder", False),
    ],
)
def test_what_can_be_a_hub_id(name: str, expected: bool) -> None:
    assert names_checkpoint(Path(name)) is expected
