"""Keras' layers, settings, streams and texts that a network has no answer for, by name."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeseq.errors import CheckpointError, ConversionError, EdgeseqError
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network_layers import (
    Attention,
    Convolution,
    Join,
    LayerNorm,
    WindowPool,
)
from edgeseq_converters.models.read import read_network

from .test_keras_layers import STEPS, VOCABULARY, functional, infer, read


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    return pytest.importorskip("keras")


SHORT = [{"dilation_rate": 2}, {"padding": "valid"}]
TARGETS = [Target("loop"), Target("loop", STEPS), Target("unrolled", STEPS)]


@pytest.mark.parametrize("options", SHORT)
@pytest.mark.parametrize("target", TARGETS)
def test_a_text_without_a_window_has_no_answer(
    keras: ModuleType, tmp_path: Path, options: dict[str, Any], target: Target
) -> None:
    layers = keras.layers

    def build(source: Any) -> Any:
        words = layers.Embedding(VOCABULARY, 4)(source)
        return layers.GlobalAveragePooling1D()(layers.Conv1D(3, 4, **options)(words))

    network = read(functional(keras, build), tmp_path / "model.keras")
    shortest = network.required_tokens
    assert len(infer(network, tmp_path, [list(range(1, shortest + 1))], target)) == 1
    with pytest.raises(EdgeseqError, match=r"model.tflite"):
        infer(network, tmp_path, [list(range(1, shortest))], target)
    with pytest.raises(ConversionError, match="windows"):
        infer(network, tmp_path, [], Target("loop", shortest - 1))


REFUSED: list[tuple[Callable[[Any, Any], Any], str]] = [
    (
        lambda layers, words: layers.Concatenate(axis=1, name="longer")([words, words]),
        r"layer longer \(Concatenate\) does not join features: found axis 1",
    ),
    (
        lambda layers, words: layers.Concatenate(name="mixed")(
            [words, layers.MaxPooling1D(1, strides=1)(layers.Conv1D(4, 2)(words))]
        ),
        "layer mixed joins sequences of different lengths",
    ),
    (
        lambda layers, words: layers.Attention(name="ahead")([words, words], use_causal_mask=True),
        r"layer ahead \(Attention\) is called with use_causal_mask",
    ),
    (
        lambda layers, words: layers.UpSampling1D(2, name="more")(words),
        r"layer more \(UpSampling1D\) cannot be converted: it changes the number of steps",
    ),
    (
        lambda layers, words: layers.Conv1DTranspose(4, 2, name="back")(words),
        r"layer back \(Conv1DTranspose\) cannot be converted",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_has_no_place_is_named(
    keras: ModuleType, tmp_path: Path, make: Callable[[Any, Any], Any], message: str
) -> None:
    layers = keras.layers

    def build(source: Any) -> Any:
        flow = make(layers, layers.Embedding(VOCABULARY, 4)(source))
        return layers.GlobalMaxPooling1D()(flow)

    functional(keras, build).save(tmp_path / "model.keras")
    with pytest.raises(CheckpointError, match=message) as refusal:
        read_network(tmp_path / "model.keras")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [Convolution, WindowPool, LayerNorm, Join, Attention])
def test_settings_that_nobody_reads_are_refused(
    keras: ModuleType, tmp_path: Path, kind: type[Any]
) -> None:
    """A Keras of tomorrow may give a layer a setting that changes what it answers."""
    layers = keras.layers
    path = tmp_path / "model.keras"

    def build(source: Any) -> Any:
        words = layers.Embedding(VOCABULARY, 4)(source)
        flow = layers.MaxPooling1D(2)(layers.Conv1D(4, 2)(words))
        flow = layers.LayerNormalization()(layers.Attention()([flow, flow]))
        return layers.GlobalMaxPooling1D()(layers.Concatenate()([flow, flow]))

    functional(keras, build).save(path)
    name = next(layer.name for layer in read_network(path).layers if isinstance(layer, kind))
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    config = json.loads(members["config.json"])
    (layer,) = (entry for entry in config["config"]["layers"] if entry["config"]["name"] == name)
    layer["config"]["sharpness"] = 2
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    with pytest.raises(
        CheckpointError, match=rf"layer {name} .*unknown setting: found sharpness = 2"
    ):
        read_network(path)


NO_STREAMS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda layers: layers.Conv1D(3, 2, padding="same", name="wide"), "layer wide, which needs"),
    (lambda layers: layers.Conv1D(3, 2, 2, padding="causal", name="far"), "layer far, which needs"),
    (lambda layers: layers.MaxPooling1D(2, name="best"), "layer best, which needs"),
]


@pytest.mark.parametrize(("make", "message"), NO_STREAMS)
def test_what_looks_ahead_does_not_stream(
    keras: ModuleType, tmp_path: Path, make: Callable[[Any], Any], message: str
) -> None:
    layers = keras.layers
    model = functional(
        keras, lambda ids: layers.LSTM(3)(make(layers)(layers.Embedding(VOCABULARY, 4)(ids)))
    )
    network = read(model, tmp_path / "model.keras")
    with pytest.raises(ConversionError, match=message):
        network_to_tflite(
            network, get_recipe("float32"), Target("loop"), output="logits", streaming=True
        )
