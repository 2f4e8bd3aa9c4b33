"""Layers along time, merges, attention and nets without recurrence: each file that a Keras wrote
answers in every lowering as that Keras does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeseq.errors import CheckpointError, ConversionError
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import ImportOptions, load_model
from edgeseq_converters.convert.lower.dispatch import Target, network_to_tflite
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Pool,
    Recurrent,
)
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

VOCABULARY = 19
STEPS = 16
TOLERANCE = 1e-5
SMALL = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # each example saves a model: shrinking one takes minutes
    suppress_health_check=list(HealthCheck),
)
Draw = Callable[[Any], Any]


@pytest.fixture(scope="module")
def both_keras() -> tuple[ModuleType, ModuleType]:
    return pytest.importorskip("keras"), pytest.importorskip("tf_keras")


@pytest.fixture(params=[3, 2])
def either_keras(both_keras: tuple[ModuleType, ModuleType], request: Any) -> ModuleType:
    """Keras 3, then 2."""
    return both_keras[3 - request.param]


@pytest.fixture(scope="module")
def keras(both_keras: tuple[ModuleType, ModuleType]) -> ModuleType:
    return both_keras[0]


def functional(keras: ModuleType, build: Callable[[Any], Any], length: int | None = None) -> Any:
    """A model of `build`'s layers with weights that make every one of them matter."""
    source = keras.Input((length,), dtype="int32")
    model = keras.Model(source, build(source))
    rng = np.random.default_rng(0)
    arrays = []
    for variable in model.weights:
        array = rng.normal(scale=0.4, size=variable.shape).astype(np.float32)
        arrays.append(np.abs(array) + 0.1 if "variance" in variable.name else array)
    model.set_weights(arrays)
    return model


def read(model: Any, path: Path) -> Network:
    model.save(path)
    return read_network(path)


def texts_of(network: Network, count: int = 3) -> list[list[int]]:
    """Texts from the shortest that the network takes to a long one, without the id of padding."""
    rng = np.random.default_rng(1)
    lengths = np.linspace(network.required_tokens, STEPS, count).astype(int)
    return [rng.integers(1, VOCABULARY, length).tolist() for length in lengths]


def infer(
    network: Network, folder: Path, texts: Sequence[Sequence[int]], target: Target
) -> list[np.ndarray[Any, Any]]:
    content = network_to_tflite(network, get_recipe("float32"), target, output="logits")
    (folder / "model.tflite").write_bytes(content)
    model = TfliteModel(folder / "model.tflite")
    return [model.infer(text) for text in texts]


def check(model: Any, network: Network, folder: Path, targets: Sequence[Target]) -> None:
    """Keras' answer to each text is that of the network and of each of its files."""
    texts = texts_of(network)
    expected = [np.asarray(model(np.asarray([text], np.int32)))[0] for text in texts]
    for answer, wanted in zip(answers(network, texts), expected, strict=True):
        np.testing.assert_allclose(answer, wanted, atol=TOLERANCE)
    for target in targets:
        for found, wanted in zip(infer(network, folder, texts, target), expected, strict=True):
            np.testing.assert_allclose(found[: len(wanted)], wanted, atol=TOLERANCE)


def targets_of(network: Network) -> list[Target]:
    """All lowerings of the network, at the length of the text and at a fixed one."""
    targets = [Target("loop"), Target("loop", STEPS), Target("unrolled", STEPS)]
    recurrent = [layer for layer in network.layers if isinstance(layer, Recurrent)]
    if all(layer.forward.kind == "lstm" for layer in recurrent):
        targets.append(Target("fused"))
    if network.layers[0] is (recurrent or [None])[0] and len(network.fed_by) == 0:
        targets.append(Target("projected"))
    return targets


def draw_block(layers: Any, draw: Draw, flow: Any) -> Any:
    """One layer along time, or a few that belong together, behind a sequence."""
    kind = draw(st.sampled_from(["windows", "element", "skip", "recurrent", "attention"]))
    if kind == "windows":
        return draw_windows(layers, draw, flow)
    if kind == "skip":
        size = int(flow.shape[-1])
        inner = layers.Conv1D(size, 3, padding="same")(layers.SpatialDropout1D(0.2)(flow))
        merges = (layers.Add, layers.Multiply, layers.Maximum, layers.Subtract, layers.Average)
        merge = draw(st.sampled_from([layers.Concatenate, *merges]))
        return merge()([flow, inner])
    if kind == "recurrent":
        cell = draw(st.sampled_from([layers.LSTM, layers.GRU]))(3, return_sequences=True)
        return (layers.Bidirectional(cell) if draw(st.booleans()) else cell)(flow)
    if kind == "attention":
        use_scale = draw(st.booleans())
        mode = draw(st.sampled_from(["additive", "dot", "concat"]))
        if mode == "additive":
            return layers.AdditiveAttention(use_scale=use_scale)([flow, flow])
        return layers.Attention(use_scale=use_scale, score_mode=mode)([flow, flow])
    normed = layers.LayerNormalization(center=draw(st.booleans()))(flow)
    return layers.Activation("tanh")(layers.BatchNormalization()(normed))


def draw_windows(layers: Any, draw: Draw, flow: Any) -> Any:
    if draw(st.booleans()):
        pool = draw(st.sampled_from([layers.MaxPooling1D, layers.AveragePooling1D]))
        stride = draw(st.sampled_from([None, 1, 2]))
        border = draw(st.sampled_from(["valid", "same"]))
        return pool(draw(st.integers(1, 3)), strides=stride, padding=border)(flow)
    stride = draw(st.integers(1, 3))
    return layers.Conv1D(
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        strides=stride,
        dilation_rate=draw(st.integers(1, 2)) if stride == 1 else 1,
        padding=draw(st.sampled_from(["valid", "same", "causal"])),
        activation=draw(st.sampled_from([None, "relu", "tanh"])),
        use_bias=draw(st.booleans()),
    )(flow)


def draw_head(layers: Any, draw: Draw, flow: Any) -> Any:
    kind = draw(st.sampled_from(["max", "mean", "both", "lstm", "rows"]))
    if kind == "rows":
        return layers.Dense(2)(flow)
    if kind == "lstm":
        return layers.Dense(2)(layers.Bidirectional(layers.LSTM(3))(flow))
    pooled = [layers.GlobalMaxPooling1D()(flow), layers.GlobalAveragePooling1D()(flow)]
    joined = layers.Concatenate(axis=draw(st.sampled_from([1, -1])))(pooled)
    chosen = {"max": pooled[0], "mean": pooled[1], "both": joined}[kind]
    return layers.Dense(2, activation="softmax")(layers.Dropout(0.1)(chosen))


def test_random_networks(both_keras: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    @settings(SMALL, max_examples=10)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        keras = data.draw(st.sampled_from(both_keras))

        def build(source: Any) -> Any:
            flow = keras.layers.Embedding(VOCABULARY, data.draw(st.integers(1, 5)))(source)
            for _ in range(data.draw(st.integers(1, 3))):
                flow = draw_block(keras.layers, data.draw, flow)
            return draw_head(keras.layers, data.draw, flow)

        model = functional(keras, build)
        network = read(model, tmp_path / data.draw(st.sampled_from(["model.keras", "model.h5"])))
        if network.required_tokens > STEPS:
            return
        target = data.draw(st.sampled_from(targets_of(network)))
        check(model, network, tmp_path, [target])

    run()


def text_cnn(layers: Any, source: Any, rows: int = VOCABULARY) -> Any:
    """Kim 2014, "Convolutional Neural Networks for Sentence Classification"."""
    words = layers.Embedding(rows, 6)(source)
    pooled = [
        layers.GlobalMaxPooling1D()(layers.Conv1D(4, size, activation="relu")(words))
        for size in (2, 3, 4)
    ]
    return layers.Dense(2, activation="softmax")(layers.Concatenate()(pooled))


def two_tables(layers: Any, source: Any) -> Any:
    """Two embeddings of one text, of which each row has its own."""
    tables = [layers.Embedding(VOCABULARY, 3), layers.Embedding(VOCABULARY + 2, 4)]
    return layers.Dense(2)(
        layers.LSTM(4)(layers.Concatenate()([tables[0](source), tables[1](source)]))
    )


def convolution_then_lstm(layers: Any, source: Any) -> Any:
    """The example imdb_cnn_lstm of Keras."""
    flow = layers.Dropout(0.25)(layers.Embedding(VOCABULARY, 6)(source))
    flow = layers.Conv1D(5, 3, padding="valid", activation="relu", strides=1)(flow)
    flow = layers.LSTM(4)(layers.MaxPooling1D(pool_size=4)(flow))
    return layers.Dense(1, activation="sigmoid")(flow)


def separable(layers: Any, source: Any) -> Any:
    flow = layers.Embedding(VOCABULARY, 6)(source)
    flow = layers.SeparableConv1D(4, 3, depth_multiplier=2, padding="same")(flow)
    flow = layers.Conv1D(6, 2, groups=2)(layers.DepthwiseConv1D(2, depth_multiplier=2)(flow))
    return layers.GlobalAveragePooling1D()(flow)


def test_flattened_sequences_have_one_length(
    both_keras: tuple[ModuleType, ModuleType], tmp_path: Path
) -> None:
    """As in the example of Keras' documentation of the Embedding layer, and behind windows."""
    for keras in both_keras:
        layers = keras.layers

        def build(source: Any, layers: Any = layers) -> Any:
            words = layers.Embedding(VOCABULARY, 3)(source)
            flow = layers.MaxPooling1D(2)(layers.Conv1D(4, 3, activation="relu")(words))
            parts = [layers.Flatten()(flow), layers.Reshape((30,))(words)]
            return layers.Dense(2)(layers.Concatenate()(parts))

        model = functional(keras, build, length=10)
        network = read(model, tmp_path / "model.keras")
        assert (network.only_tokens, network.required_tokens) == (10, 10)
        text = list(range(1, 11))
        expected = np.asarray(model(np.asarray([text], np.int32)))[0]
        for target in (Target("loop"), Target("loop", 10), Target("unrolled", 10)):
            (found,) = infer(network, tmp_path, [text], target)
            np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        with pytest.raises(ConversionError, match=r"texts of one length alone.*the length 10"):
            infer(network, tmp_path, [text], Target("unrolled", 12))
        imported = load_model(tmp_path / "model.keras")
        options = ConversionOptions(recipes=("dynamic_wi8_afp32",), overwrite=True)
        assert convert_to_file(imported, tmp_path / "model.tflite", options).n_examples == 4


def pairs(layers: Any, source: Any) -> Any:
    """Attention over pairs, written out (Luong et al. 2015)."""
    words = layers.Embedding(VOCABULARY, 4)(source)
    states = layers.LSTM(3, return_sequences=True)(words)
    query = layers.Dense(3)(words)
    weights = layers.Activation("softmax")(layers.Dot(axes=2)([query, states]))
    attended = layers.Dot(axes=(2, 1))([weights, words])
    return layers.GlobalMaxPooling1D()(layers.Concatenate()([states, attended]))


def bag(layers: Any, source: Any) -> Any:
    """A net without recurrence."""
    flow = layers.GlobalAveragePooling1D()(layers.Embedding(VOCABULARY, 6)(source))
    return layers.Dense(2, activation="softmax")(layers.Dense(5, activation="relu")(flow))


@pytest.mark.parametrize(
    "build", [text_cnn, two_tables, convolution_then_lstm, separable, pairs, bag]
)
def test_networks_that_people_build(
    either_keras: ModuleType, tmp_path: Path, build: Callable[[Any, Any], Any]
) -> None:
    keras = either_keras
    model = functional(keras, lambda source: build(keras.layers, source))
    network = read(model, tmp_path / "model.keras")
    legacy = read(model, tmp_path / "model.h5")
    texts = texts_of(network)
    np.testing.assert_array_equal(answers(legacy, texts), answers(network, texts))
    check(model, network, tmp_path, targets_of(network))


def test_several_inputs_that_are_given_the_same(either_keras: ModuleType, tmp_path: Path) -> None:
    """A network of several channels, trained with `model.fit([texts, texts], labels)`."""
    keras = either_keras
    layers = keras.layers
    sources = [keras.Input((9,), dtype="int32") for _ in range(2)]
    channels = [
        layers.GlobalMaxPooling1D()(layers.Conv1D(3, size)(layers.Embedding(VOCABULARY, 4)(source)))
        for size, source in enumerate(sources, start=2)
    ]
    model = keras.Model(sources, layers.Dense(2)(layers.Concatenate()(channels)))
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"model{suffix}"
        model.save(path)
        with pytest.raises(CheckpointError, match=r"has several inputs.*add --same-inputs"):
            read_network(path)
        network = load_model(path, ImportOptions(same_inputs=True)).model
        assert isinstance(network, Network)
        text = np.asarray([[3, 1, 4, 1, 5, 9, 2, 6, 5]], np.int32)
        expected = np.asarray(model([text, text]))
        np.testing.assert_allclose(answers(network, text), expected, atol=TOLERANCE)


def test_layers_written_as_operations(either_keras: ModuleType, tmp_path: Path) -> None:
    keras = either_keras

    def build(source: Any) -> Any:
        words = keras.layers.Embedding(VOCABULARY, 4)(source)
        if hasattr(keras, "ops"):
            ops = keras.ops
            words = words + keras.layers.Dense(4)(words)
            pooled = [function(words, axis=1) for function in (ops.sum, ops.mean, ops.max)]
            return ops.concatenate(pooled, axis=-1)
        import tensorflow as tf

        reductions = (tf.reduce_sum, tf.reduce_mean, tf.reduce_max)
        pooled = [function(words, axis=1) for function in reductions]
        return keras.layers.Concatenate()(pooled)

    model = functional(keras, build)
    network = read(model, tmp_path / "model.keras")
    hows = [layer.how for layer in network.layers if isinstance(layer, Pool)]
    assert hows == ["sum", "mean", "max"]
    check(model, network, tmp_path, targets_of(network))


def test_a_mask_that_no_layer_looks_at_changes_nothing(
    either_keras: ModuleType, tmp_path: Path
) -> None:
    """Behind a convolution Keras has forgotten which tokens were padding: it computes them."""
    keras = either_keras
    layers = keras.layers

    def build(source: Any) -> Any:
        words = layers.Embedding(VOCABULARY, 4, mask_zero=True)(source)
        return layers.LSTM(3)(layers.Conv1D(4, 3, padding="same")(words))

    model = functional(keras, build, length=8)
    network = read(model, tmp_path / "model.keras")
    assert not network.embedding.mask_zero
    padded = [[0, 0, 0, 5, 3, 7, 1, 2], [5, 3, 7, 1, 0, 0, 0, 0]]
    expected = np.asarray(model(np.asarray(padded, np.int32)))
    np.testing.assert_allclose(answers(network, padded), expected, atol=TOLERANCE)
    for target in targets_of(network):
        np.testing.assert_allclose(infer(network, tmp_path, padded, target), expected, atol=1e-5)


def test_masks_go_through_merges_and_attention(either_keras: ModuleType, tmp_path: Path) -> None:
    keras = either_keras
    layers = keras.layers

    def build(source: Any) -> Any:
        words = layers.Embedding(VOCABULARY, 4, mask_zero=True)(source)
        below = layers.LSTM(4, return_sequences=True)(words)
        above = layers.LSTM(4, return_sequences=True)(layers.Add()([words, below]))
        attended = layers.AdditiveAttention()([above, below])
        joined = layers.LayerNormalization()(layers.Concatenate()([above, attended]))
        pooled = [layers.GlobalAveragePooling1D()(joined), layers.LSTM(3)(joined)]
        return layers.Dense(2)(layers.Concatenate()(pooled))

    model = functional(keras, build)
    network = read(model, tmp_path / "model.keras")
    assert network.embedding.mask_zero
    padded = [[*text, *[0] * 6][:STEPS] for text in texts_of(network)]
    expected = np.concatenate([model(np.asarray([ids], np.int32)) for ids in padded])
    np.testing.assert_allclose(answers(network, padded), expected, atol=TOLERANCE)
    for target in targets_of(network):
        found = infer(network, tmp_path, padded, target)
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_causal_convolution_streams(keras: ModuleType, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    layers = keras.layers

    def build(source: Any) -> Any:
        flow = layers.Embedding(VOCABULARY, 5)(source)
        first = layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="relu")(flow)
        second = layers.Conv1D(4, 2, padding="causal")(first)
        states = layers.LSTM(3, return_sequences=True)(layers.Add()([first, second]))
        return layers.Dense(2)(layers.LayerNormalization()(states))

    model = functional(keras, build)
    network = read(model, tmp_path / "model.keras")
    content = network_to_tflite(
        network, get_recipe("float32"), Target("loop"), output="logits", streaming=True
    )
    stream = Interpreter(model_content=content).get_signature_runner("stream")
    details = {name: tensor["shape"] for name, tensor in stream.get_input_details().items()}
    assert {name: list(shape) for name, shape in details.items() if name[0] == "x"} == {
        "x0": [4, 5],
        "x1": [1, 4],
    }
    text = texts_of(network)[-1]
    state = {
        name: np.zeros(shape, np.float32) for name, shape in details.items() if name != "input_ids"
    }
    pieces = []
    for begin, end in ((0, 1), (1, 4), (4, 5), (5, len(text))):
        answer = stream(input_ids=np.asarray([text[begin:end]], np.int32), **state)
        state = {name: answer[f"{name}_next"] for name in state}
        pieces.append(answer["logits"][0])
    whole = np.asarray(model(np.asarray([text], np.int32)))[0]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=TOLERANCE)
