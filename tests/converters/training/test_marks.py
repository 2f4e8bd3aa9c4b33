"""Pooling by marks: every graph answers as the reference does, and as the one that is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.models.network_layers import marked_features
from edgeseq_converters.models.reference import reference_logits

MARKS = (4, 5, 6)
"""Three ids of the invented vocabulary; words of the texts below have higher ones."""
LENGTHS = (3, 4, 17, 60)


def with_marks(model: TrainedModel, features: int, marks: tuple[int, ...] = MARKS) -> TrainedModel:
    """The model with pooling `markers` over states of `features`, and a head of that size."""
    rng = np.random.default_rng(5)
    size, labels = marked_features(features, max(1, len(marks))), len(model.manifest.labels)
    head = rng.normal(size=(size, labels), scale=0.3).astype(np.float32)
    manifest = model.manifest
    if manifest.lstm is not None:
        config = msgspec.structs.replace(manifest.lstm, pooling="markers", marker_ids=marks)
        manifest = msgspec.structs.replace(manifest, lstm=config)
        weights = model.weights | {"dense.kernel": head}
    else:
        assert manifest.bert is not None
        encoder = msgspec.structs.replace(manifest.bert, pooling="markers", marker_ids=marks)
        manifest = msgspec.structs.replace(manifest, bert=encoder)
        weights = model.weights | {"classifier.weight": np.ascontiguousarray(head.T)}
    return msgspec.structs.replace(model, manifest=manifest, weights=weights)


def texts(lengths: tuple[int, ...] = LENGTHS) -> list[list[int]]:
    """Random words with each mark once, in any order."""
    rng = np.random.default_rng(1)
    made = []
    for length in lengths:
        ids = rng.integers(7, 30, length)
        ids[rng.choice(length, 3, replace=False)] = rng.permutation(MARKS)
        made.append(ids.tolist())
    return made


def answers(content: bytes, folder: Path, asked: list[list[int]]) -> Any:
    path = folder / "model.tflite"
    path.write_bytes(content)
    model = TfliteModel(path)
    return np.stack([model.infer(ids) for ids in asked])


def lstm(make: Any, *, bidirectional: bool = True, **more: Any) -> TrainedModel:
    model = make.lstm(bidirectional=bidirectional, hidden=16, embedding=32, **more)
    return with_marks(model, 32 if bidirectional else 16)


def bert(make: Any) -> TrainedModel:
    return with_marks(make.bert(hidden=32, max_tokens=64), 32)


@pytest.mark.parametrize("lowering", ["loop", "unrolled", "fused"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_lstm_float32_is_the_reference(
    make: Any, tmp_path: Path, lowering: str, layers: int, bidirectional: bool
) -> None:
    model, asked = lstm(make, layers=layers, bidirectional=bidirectional), texts()
    steps = 60 if lowering == "unrolled" else None
    content = make.export(model, lowering=lowering, steps=steps)
    found = answers(content, tmp_path, asked)
    np.testing.assert_allclose(found, reference_logits(model, asked), atol=1e-5)


def test_the_loop_writes_no_sequence(make: Any) -> None:
    # What is written in a loop is copied at every step: quadratic in the length.
    for bidirectional in (True, False):
        content = make.export(lstm(make, bidirectional=bidirectional))
        model = parse_tflite(content, where="model")
        names = {one.name for graph in model.subgraphs for one in graph.operators}
        assert "WHILE" in names
        assert "DYNAMIC_UPDATE_SLICE" not in names


def test_bert_float32_is_the_reference(make: Any, tmp_path: Path) -> None:
    model, asked = bert(make), texts()
    found = answers(make.export(model), tmp_path, asked)
    np.testing.assert_allclose(found, reference_logits(model, asked), atol=1e-4)


@pytest.mark.parametrize("arch", ["lstm", "bert"])
@pytest.mark.parametrize("recipe", ["float16", "dynamic_wi8_afp32", "static_wi8_ai8"])
def test_smaller_recipes_stay_close(make: Any, tmp_path: Path, arch: str, recipe: str) -> None:
    model = lstm(make) if arch == "lstm" else bert(make)
    asked = texts()
    content = make.export(model, recipe, texts=texts((20,) * 30))
    expected = reference_logits(model, asked)
    error = np.abs(answers(content, tmp_path, asked) - expected).max() / np.abs(expected).max()
    assert error < {"float16": 1e-2}.get(recipe, 0.2)


def test_what_a_missing_and_a_repeated_mark_give(make: Any, tmp_path: Path) -> None:
    model = bert(make)
    asked = [[7, 8, 4, 9], [4, 5, 6, 7, 6], [7]]
    found = answers(make.export(model), tmp_path, asked)
    np.testing.assert_allclose(found, reference_logits(model, asked), atol=1e-4)
    # Without any mark the answer is the head's bias.
    np.testing.assert_allclose(found[2], model.weights["classifier.bias"], atol=1e-6)


@pytest.mark.parametrize("marks", [(), (4,), (4, 4, 5), (4, 5, 9999), (-1, 4)])
def test_marks_that_are_no_tokens_are_refused(make: Any, marks: tuple[int, ...]) -> None:
    for model, features in (
        (make.lstm(hidden=16), 16),
        (make.bert(hidden=32), 32),
    ):
        with pytest.raises(CheckpointError, match="two different tokens"):
            reference_logits(with_marks(model, features, marks), [[4, 5, 6]])
