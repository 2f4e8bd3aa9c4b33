"""Layers along time, merges, attention and nets without recurrence: each file that a Keras wrote
answers in every lowering as that Keras does."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

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
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Attention,
    Convolution,
    Join,
    LayerNorm,
    Pool,
    Recurrent,
    WindowPool,
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
@pytest.mark.parametrize("version", [3, 2])
def test_networks_that_people_build(
    both_keras: tuple[ModuleType, ModuleType],
    tmp_path: Path,
    version: int,
    build: Callable[[Any, Any], Any],
) -> None:
    keras = both_keras[3 - version]
    model = functional(keras, lambda source: build(keras.layers, source))
    network = read(model, tmp_path / "model.keras")
    legacy = read(model, tmp_path / "model.h5")
    texts = texts_of(network)
    np.testing.assert_array_equal(answers(legacy, texts), answers(network, texts))
    check(model, network, tmp_path, targets_of(network))


@pytest.mark.parametrize("version", [3, 2])
def test_several_inputs_that_are_given_the_same(
    both_keras: tuple[ModuleType, ModuleType], tmp_path: Path, version: int
) -> None:
    """A network of several channels, trained with `model.fit([texts, texts], labels)`."""
    keras = both_keras[3 - version]
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


@pytest.mark.parametrize("version", [3, 2])
def test_layers_written_as_operations(
    both_keras: tuple[ModuleType, ModuleType], tmp_path: Path, version: int
) -> None:
    keras = both_keras[3 - version]

    def build(source: Any) -> Any:
        words = keras.layers.Embedding(VOCABULARY, 4)(source)
        if version == 3:
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


@pytest.mark.parametrize("version", [3, 2])
def test_a_mask_that_no_layer_looks_at_changes_nothing(
    both_keras: tuple[ModuleType, ModuleType], tmp_path: Path, version: int
) -> None:
    """Behind a convolution Keras has forgotten which tokens were padding: it computes them."""
    keras = both_keras[3 - version]
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


@pytest.mark.parametrize("version", [3, 2])
def test_masks_go_through_merges_and_attention(
    both_keras: tuple[ModuleType, ModuleType], tmp_path: Path, version: int
) -> None:
    keras = both_keras[3 - version]
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


SHORT = [{"dilation_rate": 2}, {"padding": "valid"}]
TARGETS = [Target("loop"), Target("loop", STEPS), Target("unrolled", STEPS)]


@pytest.mark.parametrize("options", SHORT)
@pytest.mark.parametrize(
    "target", [Target("loop"), Target("loop", STEPS), Target("unrolled", STEPS)]
)
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
