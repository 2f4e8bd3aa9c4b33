"""A file that Keras wrote, trained on padded texts, from `convert` to both runners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeseq as es
from edgeseq.formats.bundle import read_bundle
from edgeseq_benchmarks.bench.launcher import native_launcher
from edgeseq_benchmarks.bench.verify import verify

from ..padded_keras import LABELS, PaddedModel, random_texts, write_padded_model
from .conftest import Runner


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PaddedModel:
    return write_padded_model(tmp_path_factory.mktemp("padded"))


@pytest.mark.parametrize(
    ("sides", "lowering"),
    [(("pre", "pre"), "loop"), (("post", "post"), "unrolled")],
)
def test_both_runners_answer_as_keras_does_to_its_padded_input(
    source: PaddedModel, runner: Runner, tmp_path: Path, sides: tuple[str, str], lowering: str
) -> None:
    padding, truncation = sides
    model = es.load_model(source.path, tokenizer=source.tokenizer_path)
    options: dict[str, Any] = {"padding": padding, "truncation": truncation}
    bundle = es.convert(
        model,
        source.dataset(padding, truncation),
        recipe="float32",
        lowering=lowering,
        out=tmp_path / "bundle",
        progress=None,
        **options,
    )
    texts = [*random_texts(30, 5), "Unknown", "!", "word1"]
    expected = source.answers(texts, padding, truncation)
    python = [[p.scores[label] for label in LABELS] for p in bundle.predict(texts)]
    np.testing.assert_allclose(python, expected, atol=1e-5)
    done = runner.predict(bundle.path, "--json", *texts)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    native = [[line["scores"][label] for label in LABELS] for line in lines]
    np.testing.assert_allclose(native, expected, atol=1e-5)
    flags = [(p.tokens, p.truncated, p.unknown_only) for p in bundle.predict(texts)]
    assert [(line["tokens"], line["truncated"], line["unknown_only"]) for line in lines] == flags
    native_runner = native_launcher(runner.program, runner.library)
    assert verify(read_bundle(bundle.path), native_runner, texts=tuple(texts)) == []
