"""Sentence embeddings for MediaPipe Tasks, answered by MediaPipe's own TextEmbedder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, processors

import edgeseq as es
from edgeseq.errors import CheckpointError, DeviceError, InputError, RefusedError

SENTENCE_MODELS = "sentence_transformers.models"


@pytest.fixture(scope="module")
def checkpoint(small_bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint as one that embeds sentences: mean of the states, of length 1, 40 tokens."""
    folder = tmp_path_factory.mktemp("sentences") / "small-sentences"
    shutil.copytree(small_bert_checkpoint, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ids
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.models.{kind}",
        }
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 40}))
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def test_mediapipe_embeds_as_the_converted_file(checkpoint: Path, tmp_path: Path) -> None:
    exported = es.export(checkpoint, "mediapipe", recipe="float32", out=tmp_path / "export")
    examples = exported.golden.examples
    assert exported.golden.tolerance == pytest.approx(1e-4)
    assert max(len(example.token_ids) for example in examples) == 40
    embeddings = np.array([example.output for example in examples])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)
    assert len(np.unique(np.round(embeddings, 3), axis=0)) == len(examples)
    try:
        assert es.check_export(exported.path).findings == ()
    except DeviceError as error:
        pytest.skip(str(error))


def test_what_has_no_sentence_embeddings_is_refused(
    small_bert_checkpoint: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "export"
    with pytest.raises(InputError, match="--recipe: is not an option of the target micro"):
        es.export(checkpoint, "micro", recipe="float32", out=out)
    classifier = tmp_path / "classifier"
    shutil.copytree(small_bert_checkpoint, classifier)
    config = json.loads((classifier / "config.json").read_text())
    config["architectures"] = ["BertForTokenClassification"]
    (classifier / "config.json").write_text(json.dumps(config))
    with pytest.raises(RefusedError, match=r"between \[CLS\] and \[SEP\]"):
        es.export(small_bert_checkpoint, "mediapipe", recipe="float32", out=out)
    with pytest.raises((RefusedError, CheckpointError)) as refused:
        es.export(classifier, "mediapipe", recipe="float32", out=out)
    assert "\n" not in str(refused.value)
    assert not out.exists()
