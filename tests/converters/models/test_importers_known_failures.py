"""Real-world failures of LSTM conversion that begin with reading the model, a test each.

The numbers are those of the project's list of pitfalls ("Keras/PyTorch LSTM → TFLite").
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.network_layers import Recurrent
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

VOCABULARY = 11
TEXT = [5, 1, 4, 10, 2]


@pytest.fixture(scope="session")
def keras() -> ModuleType:
    return pytest.importorskip("keras")


def build(keras: ModuleType, *layers: Any, shape: tuple[int | None, ...] = (None, None)) -> Any:
    source = keras.Input(batch_shape=shape, dtype="int32")
    model = keras.Sequential([source, *layers])
    rng = np.random.default_rng(3)
    model.set_weights(
        [rng.normal(scale=0.6, size=one.shape).astype(np.float32) for one in model.weights]
    )
    return model


def read(model: Any, folder: Path) -> Any:
    model.save(folder / "model.keras")
    return read_network(folder / "model.keras")


def same(model: Any, network: Any, text: list[int], padding: int = 0) -> None:
    expected = np.asarray(model(np.asarray([text + [0] * padding], np.int32)))[0]
    np.testing.assert_allclose(answers(network, [text])[0], expected, atol=1e-5)


def test_1_used_states_are_refused_by_name(keras: ModuleType, tmp_path: Path) -> None:
    """Stock conversion only warns, and gives the slow loop."""
    layers = keras.layers
    source = keras.Input((None,), dtype="int32")
    words = layers.Embedding(VOCABULARY, 4)(source)
    _, hidden, cell = layers.LSTM(3, return_state=True, name="giver")(words)
    for used in (hidden, cell):
        keras.Model(source, layers.Dense(2, name="head")(used)).save(tmp_path / "model.keras")
        with pytest.raises(CheckpointError, match=r"layer head .*another output of layer giver"):
            read_network(tmp_path / "model.keras")


def test_2_the_keras_version_does_not_matter(keras: ModuleType, tmp_path: Path) -> None:
    """Stock conversion fuses a Keras 2 LSTM and never one of Keras 3."""
    keras2 = pytest.importorskip("tf_keras")
    networks = []
    for version in (keras, keras2):
        layers = version.layers
        model = version.Sequential([layers.Embedding(VOCABULARY, 4), layers.LSTM(3)])
        model.build((None, None))
        rng = np.random.default_rng(3)
        model.set_weights([rng.normal(size=one.shape) for one in model.weights])
        networks.append(read(model, tmp_path))
    first, second = (answers(network, [TEXT])[0] for network in networks)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", [(None, None), (1, None), (None, 5), (4, 5)])
def test_3_batch_and_length_may_be_open_or_fixed(
    keras: ModuleType, tmp_path: Path, shape: tuple[int | None, ...]
) -> None:
    """Stock conversion of an open batch fails with "element_shape" errors, or asks for Flex."""
    layers = keras.layers
    stack = layers.Embedding(VOCABULARY, 4), layers.LSTM(3), layers.Dense(2)
    model = build(keras, *stack, shape=shape)
    network = read(model, tmp_path)
    batch = np.asarray([TEXT] * (shape[0] or 1), np.int32)
    np.testing.assert_allclose(answers(network, [TEXT])[0], np.asarray(model(batch))[0], atol=1e-5)
    answers(network, [[1], list(range(11))])


def test_5_no_state_is_left_between_texts(keras: ModuleType, tmp_path: Path) -> None:
    """The fused kernel keeps its state between calls."""
    layers = keras.layers
    stack = layers.Embedding(VOCABULARY, 4), layers.LSTM(3, stateful=True), layers.Dense(2)
    model = build(keras, *stack, shape=(1, None))
    network = read(model, tmp_path)
    first = answers(network, [TEXT])[0]
    answers(network, [TEXT[::-1]])
    np.testing.assert_array_equal(answers(network, [TEXT])[0], first)
    same(model, network, TEXT)


@pytest.mark.parametrize("padding", [0, 1, 7])
def test_6_padded_and_unpadded_texts_have_one_answer(
    keras: ModuleType, tmp_path: Path, padding: int
) -> None:
    """The fused kernel ignores masks; a backward direction starts in the padding without one."""
    layers = keras.layers
    model = build(
        keras,
        layers.Embedding(VOCABULARY, 4, mask_zero=True),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.Bidirectional(layers.GRU(3)),
        layers.Dense(2),
    )
    network = read(model, tmp_path)
    same(model, network, TEXT, padding)
    np.testing.assert_array_equal(
        answers(network, [TEXT + [0] * padding])[0], answers(network, [TEXT])[0]
    )


def test_7_no_clipping_that_the_source_does_not_have(keras: ModuleType, tmp_path: Path) -> None:
    """Stock conversion writes cell_clip = 10 into the file."""
    layers = keras.layers
    model = build(keras, layers.Embedding(VOCABULARY, 4), layers.LSTM(3), layers.Dense(2))
    kernel, recurrent, bias = model.layers[1].get_weights()
    bias[:] = 4  # every gate stays open: the cell grows by almost 1 a token
    model.layers[1].set_weights([0.1 * kernel, 0.01 * recurrent, bias])
    network = read(model, tmp_path)
    cells: list[float] = []

    def observe(name: str, values: Any) -> None:
        if name.endswith("/cell"):
            cells.append(float(np.abs(values).max()))

    text = TEXT * 6
    answers(network, [text], observe)
    assert max(cells) > 10
    same(model, network, text)


def test_8_a_bidirectional_layer_is_one_layer(keras: ModuleType, tmp_path: Path) -> None:
    """Stock conversion makes two operators and two reversals of it."""
    layers = keras.layers
    model = build(keras, layers.Embedding(VOCABULARY, 4), layers.Bidirectional(layers.LSTM(3)))
    network = read(model, tmp_path)
    (layer,) = network.layers
    assert isinstance(layer, Recurrent)
    assert layer.backward is not None
    same(model, network, TEXT)
    backward = model.layers[1].backward_layer.get_weights()
    np.testing.assert_array_equal(layer.backward.kernel, backward[0])


def test_14_what_the_litert_export_goes_through_is_refused(
    keras: ModuleType, tmp_path: Path
) -> None:
    """Keras 3 exports a SavedModel of operations alone, from which only the slow loop comes."""
    model = build(keras, keras.layers.Embedding(VOCABULARY, 4), keras.layers.LSTM(3))
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(CheckpointError, match=r"no description of the layers.*as \.keras or \.h5"):
        read_network(tmp_path / "exported")
