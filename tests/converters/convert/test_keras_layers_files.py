"""Bundles and bare files of Keras' layers along time and of nets without recurrence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.errors import CheckpointError, ConversionError, EdgeseqError
from edgeseq.formats.bundle import read_bundle
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.choose_padding import PaddingOptions
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe

from .test_keras_layers import (
    TOLERANCE,
    VOCABULARY,
    convolution_then_lstm,
    functional,
    pairs,
    text_cnn,
)


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    return pytest.importorskip("keras")


def test_bundles_of_nets_without_recurrence(
    keras: ModuleType, make: Any, lstm_folder: Path, tmp_path: Path
) -> None:
    """The network goes through a trained-model folder, and its answers are those of Keras."""
    layers = keras.layers
    words = len(json.loads((lstm_folder / "tokenizer.json").read_text())["model"]["vocab"])

    def build(source: Any) -> Any:
        embedded = layers.Embedding(words, 6)(source)
        flow = layers.Conv1D(5, 3, padding="same", activation="relu")(embedded)
        flow = layers.LayerNormalization()(layers.MaxPooling1D(2, padding="same")(flow))
        flow = layers.Attention(use_scale=True)([flow, flow])
        pooled = [layers.GlobalMaxPooling1D()(flow), layers.GlobalAveragePooling1D()(embedded)]
        return layers.Dense(3, activation="softmax")(layers.Concatenate()(pooled))

    model = functional(keras, build)
    model.save(tmp_path / "model.keras")
    imported = load_model(
        tmp_path / "model.keras", ImportOptions(tokenizer=lstm_folder / "tokenizer.json")
    )
    options = ConversionOptions(recipes=("float32",))
    convert(imported, make.dataset(), tmp_path / "bundle", options)
    bundle = read_bundle(tmp_path / "bundle")
    texts = [[4, 5, 6, 7, 8], [9], [4, 20, 21]]
    file = TfliteModel(bundle.model_path)
    for text in texts:
        logits = file.infer(text)
        powers = np.exp(logits - logits.max())
        expected = np.asarray(model(np.asarray([text], np.int32)))[0]
        np.testing.assert_allclose(powers / powers.sum(), expected, atol=TOLERANCE)


def test_a_bundle_answers_to_every_text(
    keras: ModuleType, make: Any, lstm_folder: Path, tmp_path: Path
) -> None:
    model = functional(keras, lambda source: text_cnn(keras.layers, source, rows=34))
    model.save(tmp_path / "model.keras")
    imported = load_model(
        tmp_path / "model.keras", ImportOptions(tokenizer=lstm_folder / "tokenizer.json")
    )
    dataset = msgspec.structs.replace(make.dataset(), labels=("negative", "positive"))
    dataset = two_labels(dataset)
    options = ConversionOptions(recipes=("float32",))
    with pytest.raises(CheckpointError, match=r"shorter than the windows.*at least 4 tokens"):
        convert(imported, dataset, tmp_path / "bundle", options)
    padded = load_model(
        tmp_path / "model.keras",
        ImportOptions(tokenizer=lstm_folder / "tokenizer.json", max_tokens=12),
    )
    options = msgspec.structs.replace(options, padding=PaddingOptions(side="auto"))
    convert(padded, dataset, tmp_path / "bundle", options)
    manifest = read_bundle(tmp_path / "bundle").manifest
    assert manifest.padding.side in ("pre", "post")


def two_labels(dataset: Any) -> Any:
    """The data set without the examples of its other labels."""
    parts = {
        name: tuple(one for one in getattr(dataset, name) if one.label in dataset.labels)
        for name in ("train", "dev", "test")
    }
    return msgspec.structs.replace(dataset, **parts)


def test_bare_files_in_each_recipe(keras: ModuleType, tmp_path: Path) -> None:
    """Texts that are too short for the windows are left out of the comparison, and refused."""
    model = functional(keras, lambda source: text_cnn(keras.layers, source))
    model.save(tmp_path / "model.keras")
    imported = load_model(tmp_path / "model.keras")
    for recipe in ("float16", "dynamic_wi8_afp32", "dynamic_wi4_afp32", "weight_only_wi8_afp32"):
        options = ConversionOptions(recipes=(recipe,), overwrite=True)
        written = convert_to_file(imported, tmp_path / "model.tflite", options)
        assert (written.output, written.shape) == ("probabilities", (1, 2))
        assert written.max_abs_error > 0
    (tmp_path / "ids.jsonl").write_text("[1, 2, 3]\n")
    options = ConversionOptions(token_ids=tmp_path / "ids.jsonl")
    with pytest.raises(EdgeseqError, match=r"ids.jsonl:1: is shorter.*found 3, .*at least 4"):
        convert_to_file(imported, tmp_path / "other.tflite", options)
    with pytest.raises(ConversionError, match=r"windows do not fit.*at least 4"):
        network_to_tflite(
            imported.model, get_recipe("float32"), Target("unrolled", 3), output="logits"
        )


@pytest.mark.parametrize("build", [text_cnn, convolution_then_lstm, pairs])
def test_static_recipes_are_calibrated_on_texts(
    keras: ModuleType, tmp_path: Path, build: Callable[[Any, Any], Any]
) -> None:
    functional(keras, lambda source: build(keras.layers, source)).save(tmp_path / "model.keras")
    imported = load_model(tmp_path / "model.keras")
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, VOCABULARY, length).tolist() for length in range(8, 40)]
    ids = tmp_path / "ids.jsonl"
    ids.write_text("\n".join(map(json.dumps, texts)))
    for lowering in ("loop", "fused"):
        options = ConversionOptions(
            recipes=("static_wi8_ai8",), lowerings=(lowering,), token_ids=ids, overwrite=True
        )
        written = convert_to_file(imported, tmp_path / "model.tflite", options)
        assert 0 < written.relative_error < 0.15
