"""Fewer layers and fewer pieces: what is kept is kept exactly."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertConfig
from edgeseq_converters.models.encoder import encoder_shapes
from edgeseq_converters.models.huggingface.checkpoint import (
    BertCheckpoint,
    read_checkpoint,
    read_model,
)
from edgeseq_converters.models.reference_encoder import bert_answers
from edgeseq_converters.models.trim_encoder import (
    evenly_spaced_layers,
    keep_layers,
    trim_checkpoint,
    trim_model,
)

TEXTS = ("The kettle rattles badly.", "The lamp is new, honestly.")


@pytest.fixture
def folder(small_bert_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bert_checkpoint, tmp_path / "checkpoint"))


@pytest.mark.parametrize(
    ("layers", "wanted", "kept"),
    [
        (6, 3, (0, 2, 4)),
        (12, 6, (0, 2, 4, 6, 8, 10)),
        (6, 2, (0, 3)),
        (6, 1, (0,)),
        (6, 6, (0, 1, 2, 3, 4, 5)),
        (6, 4, (0, 1, 3, 4)),
    ],
)
def test_kept_layers_are_evenly_spread(layers: int, wanted: int, kept: tuple[int, ...]) -> None:
    assert evenly_spaced_layers(layers, wanted) == kept


def test_fewer_layers(folder: Path) -> None:
    whole = read_checkpoint(folder)
    one = keep_layers(whole, 1)
    assert one.config.layers == 1
    assert set(one.weights) == set(encoder_shapes(one.config))
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, whole.weights[name])
    assert one.identity.endswith(", layers 0")
    for wanted in (0, 3):
        with pytest.raises(InputError, match=f"found {wanted}, expected 1 to 2"):
            keep_layers(whole, wanted)


def test_fewer_of_shared_layers() -> None:
    sources = (0, 0, 1, 1, 2, 2)
    config = BertConfig(
        vocabulary_size=4,
        hidden_size=2,
        intermediate_size=2,
        layers=6,
        attention_heads=1,
        max_position_embeddings=4,
        type_vocabulary_size=0,
        hidden_act="gelu",
        layer_norm_eps=1e-12,
        pooling="mean",
        layer_sources=sources,
    )
    weights: dict[str, Any] = {
        name: np.full(shape, number)
        for number, (name, shape) in enumerate(encoder_shapes(config).items())
    }
    two = keep_layers(BertCheckpoint(config, weights, "{}", "x"), 2)
    assert two.config.layer_sources == (0, 1)
    assert set(two.weights) == set(encoder_shapes(two.config))
    name = "encoder.layer.{}.output.dense.weight"
    np.testing.assert_array_equal(two.weights[name.format(1)], weights[name.format(1)])


def test_trimming_keeps_every_answer(folder: Path) -> None:
    whole = read_model(folder)
    trimmed = trim_model(whole, TEXTS)
    assert whole.manifest.bert is not None
    assert trimmed.manifest.bert is not None
    assert trimmed.manifest.bert.vocabulary_size < whole.manifest.bert.vocabulary_size
    ids = [
        [list(Tokenizer.from_str(m.tokenizer_json).encode(t).ids) for t in TEXTS]
        for m in (whole, trimmed)
    ]
    assert ids[0] != ids[1]
    for before, after in zip(
        bert_answers(whole, ids[0]), bert_answers(trimmed, ids[1]), strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_trimming_a_checkpoint(folder: Path) -> None:
    whole = read_checkpoint(folder)
    trimmed = trim_checkpoint(whole, TEXTS, min_count=2)
    rows = trimmed.weights["embeddings.word_embeddings.weight"]
    size = Tokenizer.from_str(trimmed.tokenizer_json).get_vocab_size()
    assert len(rows) == trimmed.config.vocabulary_size == size
    assert trimmed.identity.endswith(f", {len(rows)} pieces")


def test_a_unigram_vocabulary_is_not_trimmed(folder: Path) -> None:
    model = read_model(folder)
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)]))
    foreign = type(model)(model.manifest, model.weights, unigram.to_str())
    with pytest.raises(CheckpointError, match=r"only a WordPiece or BPE .*found Unigram"):
        trim_model(foreign, TEXTS)
