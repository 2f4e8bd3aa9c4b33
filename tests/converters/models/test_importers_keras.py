"""Keras files as networks: the answers of Keras 3 and of Keras 2 themselves."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    AttentionPool,
    Dense,
    Pool,
    Recurrent,
    Scale,
)
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

VOCABULARY = 17
TEXTS = ([3], [5, 1, 4, 16, 2, 9, 11], [7, 7, 8])
SMALL = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # each example saves a model: shrinking one takes minutes
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def keras3() -> ModuleType:
    return pytest.importorskip("keras")


@pytest.fixture(scope="session")
def keras2() -> ModuleType:
    return pytest.importorskip("tf_keras")


def randomize(model: Any, seed: int = 0) -> Any:
    """Weights so large that no gate is near its middle; variances stay positive."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            (np.abs if "variance" in variable.name else np.asarray)(
                rng.normal(scale=0.5, size=variable.shape)
            ).astype(np.float32)
            for variable in model.weights
        ]
    )
    return model


def check(model: Any, network: Network, texts: Sequence[Sequence[int]] = TEXTS) -> None:
    """Keras' answer to each text without padding is the network's."""
    for text, answer in zip(texts, answers(network, texts), strict=True):
        expected = np.asarray(model(np.asarray([text], np.int32)))[0]
        np.testing.assert_allclose(answer, expected, atol=1e-5)


def check_padded(model: Any, network: Network, padding: int = 3) -> None:
    """Keras' answer to a padded batch is the network's to each text at its real length."""
    length = max(map(len, TEXTS)) + padding
    batch = np.zeros((len(TEXTS), length), np.int32)
    for row, text in zip(batch, TEXTS, strict=True):
        row[: len(text)] = text
    expected = np.asarray(model(batch))
    for text, answer, row in zip(TEXTS, answers(network, list(batch)), expected, strict=True):
        np.testing.assert_allclose(answer, row[: len(text)] if row.ndim > 1 else row, atol=1e-5)


def save(model: Any, path: Path) -> Path:
    if path.suffix:
        model.save(path)
    else:
        model.save(path, save_format="tf", save_traces=False)  # functions of operations, not read
    return path


def draw_model(keras: ModuleType, draw: Callable[[Any], Any], *, masked: bool) -> Any:
    """A Sequential model of one to three recurrent layers and any head."""
    layers = keras.layers
    head = draw(st.sampled_from(["last", "tags", "max", "mean"]))
    if masked and head == "max":
        head = "mean"  # Keras' maximum looks at padding too
    count = draw(st.integers(1, 3))
    stack = [layers.Embedding(VOCABULARY, draw(st.integers(1, 9)), mask_zero=masked)]
    for number in range(count):
        options: dict[str, Any] = {"return_sequences": number + 1 < count or head != "last"}
        options["use_bias"] = draw(st.booleans())
        hidden = draw(st.integers(1, 64))
        if draw(st.booleans()):
            one = layers.LSTM(hidden, dropout=0.2, **options)
        else:
            one = layers.GRU(hidden, reset_after=draw(st.booleans()), **options)
        if draw(st.booleans()):
            merge = draw(st.sampled_from(["concat", "sum", "mul", "ave"]))
            one = layers.Bidirectional(one, merge_mode=merge)
        stack.append(one)
        if draw(st.booleans()):
            stack.append(layers.Dropout(0.3))
    if draw(st.booleans()):
        stack.append(
            layers.BatchNormalization(scale=draw(st.booleans()), center=draw(st.booleans()))
        )
    if head in ("max", "mean"):
        pools = {"max": layers.GlobalMaxPooling1D, "mean": layers.GlobalAveragePooling1D}
        stack.append(pools[head]())
    if draw(st.booleans()):
        activation = draw(st.sampled_from(["relu", "tanh", "sigmoid", None]))
        hidden_layer = layers.Dense(5, activation=activation, use_bias=draw(st.booleans()))
        stack.append(hidden_layer)
    ends = ["dense", "activation", "softmax"]
    # Keras 3 cannot run its own Softmax layer on a masked sequence.
    end = draw(st.sampled_from(ends[:2] if masked and head == "tags" else ends))
    last = layers.Dense(3, activation="softmax" if end == "dense" else None)
    stack.append(layers.TimeDistributed(last) if head == "tags" else last)
    if end != "dense":
        stack.append(layers.Activation("softmax") if end == "activation" else layers.Softmax())
    if draw(st.booleans()):
        flow = source = keras.Input((None,), dtype="int32")
        for layer in stack:
            flow = layer(flow)
        return randomize(keras.Model(source, flow), draw(st.integers(0, 99)))
    model = keras.Sequential(stack)
    model.build((None, None))
    return randomize(model, draw(st.integers(0, 99)))


def test_random_networks(keras3: ModuleType, keras2: ModuleType, tmp_path: Path) -> None:
    @settings(SMALL, max_examples=9)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        masked = data.draw(st.booleans())
        model = draw_model(data.draw(st.sampled_from([keras3, keras2])), data.draw, masked=masked)
        path = tmp_path / data.draw(st.sampled_from(["model.keras", "model.h5"]))
        network = read_network(save(model, path))
        if masked:
            check_padded(model, network)
        else:
            check(model, network, TEXTS[1:2])

    run()


def test_random_saved_models(keras2: ModuleType, tmp_path: Path) -> None:
    @settings(SMALL, max_examples=2)
    @given(st.data())
    def run(data: st.DataObject) -> None:
        model = draw_model(keras2, data.draw, masked=data.draw(st.booleans()))
        check(model, read_network(save(model, tmp_path / "folder")), TEXTS[1:2])

    run()


@pytest.mark.parametrize("version", [3, 2])
class TestEssayNetworks:
    """The three networks of the essay, as written there."""

    def both(self, request: pytest.FixtureRequest, version: int, *stack: Any) -> Any:
        keras = request.getfixturevalue(f"keras{version}")
        model = keras.Sequential([make(keras.layers) for make in stack])
        model.build((None, None))
        return randomize(model)

    def test_sentiment(self, request: pytest.FixtureRequest, tmp_path: Path, version: int) -> None:
        model = self.both(
            request,
            version,
            lambda layers: layers.Embedding(VOCABULARY, 64),
            lambda layers: layers.LSTM(128),
            lambda layers: layers.Dense(3, activation="softmax"),
        )
        network = read_network(save(model, tmp_path / "sentiment.keras"))
        assert [type(layer) for layer in network.layers] == [Recurrent, Dense]
        assert (network.outputs, network.per_token, network.parameters) == (
            3,
            False,
            model.count_params(),
        )
        check(model, network)

    def test_next_word(self, request: pytest.FixtureRequest, tmp_path: Path, version: int) -> None:
        model = self.both(
            request,
            version,
            lambda layers: layers.Embedding(VOCABULARY, 64),
            lambda layers: layers.LSTM(32),
            lambda layers: layers.Dense(VOCABULARY, activation="softmax"),
        )
        network = read_network(save(model, tmp_path / "words.h5"))
        assert network.outputs == VOCABULARY
        check(model, network, TEXTS[:2])

    def test_tagger(self, request: pytest.FixtureRequest, tmp_path: Path, version: int) -> None:
        model = self.both(
            request,
            version,
            lambda layers: layers.Embedding(VOCABULARY, 24, mask_zero=True),
            lambda layers: layers.LSTM(16, return_sequences=True),
            lambda layers: layers.TimeDistributed(layers.Dense(5, activation="softmax")),
        )
        network = read_network(save(model, tmp_path / "tags.keras"))
        assert network.per_token
        assert network.outputs == 5
        check_padded(model, network)


def attention(keras: ModuleType, form: str, *, units: int | None, both: bool = False) -> Any:
    layers = keras.layers
    source = keras.Input((None,), dtype="int32")
    states = layers.Embedding(VOCABULARY, 6)(source)
    recurrent = layers.LSTM(4, return_sequences=True)
    states = (layers.Bidirectional(recurrent) if both else recurrent)(states)
    scores = layers.Dense(units, activation="tanh")(states) if units else states
    scores = layers.Dense(1, activation=None if units else "tanh")(scores)
    if form == "row":
        shares = layers.Activation("softmax")(layers.Flatten()(scores))
        pooled = layers.Dot(axes=1)([states, shares])
    else:
        shares = layers.Softmax(axis=1)(scores)
        if form == "repeat":
            row = layers.Softmax()(layers.Flatten()(scores))
            shares = layers.Permute((2, 1))(layers.RepeatVector(int(states.shape[-1]))(row))
        if form == "dot":
            pooled = layers.Flatten()(layers.Dot(axes=1)([shares, states]))
        else:
            weighted = layers.Multiply()([states, shares])
            if hasattr(keras, "ops"):
                pooled = keras.ops.sum(weighted, axis=1)
            else:
                import tensorflow as tf

                pooled = tf.reduce_sum(weighted, axis=1)
    return randomize(keras.Model(source, layers.Dense(3)(pooled)))


@pytest.mark.parametrize("version", [3, 2])
@pytest.mark.parametrize(
    ("form", "units"), [("row", 3), ("row", None), ("dot", 5), ("sum", 2), ("repeat", 3)]
)
def test_attention_pooling(
    request: pytest.FixtureRequest, tmp_path: Path, version: int, form: str, units: int | None
) -> None:
    keras = request.getfixturevalue(f"keras{version}")
    model = attention(keras, form, units=units, both=form == "dot")
    network = read_network(save(model, tmp_path / "model.keras"))
    assert [type(layer) for layer in network.layers] == [Recurrent, AttentionPool, Dense]
    check(model, network, TEXTS[1:2])
    legacy = read_network(save(model, tmp_path / "model.h5"))
    np.testing.assert_array_equal(answers(legacy, TEXTS), answers(network, TEXTS))


def test_everything_that_changes_nothing(keras3: ModuleType, tmp_path: Path) -> None:
    layers = keras3.layers
    model = keras3.Sequential(
        [
            keras3.Input((7,), dtype="int32"),
            layers.Embedding(VOCABULARY, 6),
            layers.SpatialDropout1D(0.2),
            layers.GaussianNoise(0.1),
            layers.LSTM(
                4, stateful=False, recurrent_dropout=0.1, return_sequences=True, unroll=True
            ),
            layers.ActivityRegularization(0.1),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalMaxPooling1D(),
            layers.Flatten(),
            layers.Reshape((4,)),
            layers.Dense(2),
        ]
    )
    network = read_network(save(randomize(model), tmp_path / "model.keras"))
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Recurrent", "Scale", "Activation", "Pool", "Dense"]
    assert isinstance(network.layers[1], Scale)
    check(model, network, [list(range(1, 8))])


def test_stateful_layers_start_at_zero(keras3: ModuleType, tmp_path: Path) -> None:
    layers = keras3.layers
    model = keras3.Sequential(
        [
            keras3.Input(batch_shape=(1, None), dtype="int32"),
            layers.Embedding(VOCABULARY, 6),
            layers.LSTM(4, stateful=True),
            layers.Dense(2),
        ]
    )
    network = read_network(save(randomize(model), tmp_path / "model.keras"))
    for text in TEXTS:
        model.layers[1].reset_states()
        check(model, network, [text])


@pytest.mark.parametrize("functional", [False, True])
def test_a_masking_layer_is_a_zero_row(
    keras3: ModuleType, tmp_path: Path, functional: bool
) -> None:
    layers = keras3.layers
    stack = [
        layers.Embedding(VOCABULARY, 6),
        layers.Masking(0.0),
        layers.Bidirectional(layers.LSTM(4)),
        layers.Dense(2),
    ]
    if functional:
        flow = source = keras3.Input((None,), dtype="int32")
        for layer in stack:
            flow = layer(flow)
        model = keras3.Model(source, flow)
    else:
        model = keras3.Sequential(stack)
        model.build((None, None))
    randomize(model)
    unmasked = read_network(save(model, tmp_path / "model.keras"))
    assert not unmasked.embedding.mask_zero
    table = np.array(stack[0].get_weights()[0])
    table[0] = 0
    stack[0].set_weights([table])
    network = read_network(save(model, tmp_path / "model.keras"))
    assert network.embedding.mask_zero
    check_padded(model, network)


def test_cudnn_layers_are_the_plain_ones(keras2: ModuleType, tmp_path: Path) -> None:
    """Keras' own conversion on loading is the reference: the layers need a card to run."""
    from tf_keras.src.saving.legacy import hdf5_format

    layers = keras2.layers
    for plain, cudnn in ((layers.LSTM(5), "CuDNNLSTM"), (layers.GRU(5), "CuDNNGRU")):
        model = keras2.Sequential([layers.Embedding(VOCABULARY, 3), plain, layers.Dense(2)])
        model.build((None, None))
        rng = np.random.default_rng(1)
        gates = 20 if cudnn == "CuDNNLSTM" else 15
        theirs = [
            rng.normal(size=s).astype(np.float32) for s in ((3, gates), (5, gates), (2 * gates,))
        ]
        path = save(randomize(model), tmp_path / f"{cudnn}.h5")
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            config["config"]["layers"][2] = {
                "class_name": cudnn,
                "config": {"name": plain.name, "units": 5, "return_sequences": False},
            }
            file.attrs["model_config"] = json.dumps(config)
            group = file["model_weights"][plain.name]
            for name, array in zip(list(group.attrs["weight_names"]), theirs, strict=True):
                del group[name]
                group[name] = array
        plain.set_weights(hdf5_format.preprocess_weights_for_loading(plain, theirs))
        check(model, read_network(path))


def test_layers_keep_their_names(keras3: ModuleType, tmp_path: Path) -> None:
    layers = keras3.layers
    stack = [
        layers.Embedding(VOCABULARY, 4, name="words"),
        layers.LSTM(3, return_sequences=True, name="reader"),
        layers.LSTM(3, return_sequences=True, name="thinker"),
        layers.GlobalMaxPooling1D(name="best"),
        layers.Dense(2, name="verdict"),
    ]
    model = keras3.Sequential(stack, name="reviews")
    model.build((None, None))
    network = read_network(save(randomize(model), tmp_path / "model.keras"))
    assert network.name == "reviews"
    assert network.embedding.name == "words"
    assert [one.name for one in network.layers] == ["reader", "thinker", "best", "verdict"]
    assert isinstance(network.layers[2], Pool)
    check(model, network)


def test_keras_is_not_imported(keras3: ModuleType, tmp_path: Path) -> None:
    import subprocess
    import sys

    layers = keras3.layers
    model = keras3.Sequential([layers.Embedding(5, 4), layers.LSTM(3), layers.Dense(2)])
    model.build((None, None))
    path = save(model, tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    code = (
        "import sys, pathlib; from edgeseq_converters.models.read import read_network; "
        "read_network(pathlib.Path(sys.argv[1])); "
        "print([m for m in ('keras', 'tensorflow', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("keras", ["keras2", "keras3"])
def test_states_that_nobody_takes_change_nothing(
    keras: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    module = request.getfixturevalue(keras)
    layers = module.layers
    ids = module.Input((None,), dtype="int32")
    words = layers.Embedding(VOCABULARY, 4)(ids)
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True, return_state=True))
    tags = layers.Dense(2)(both(words)[0])
    model = randomize(module.Model(ids, tags))
    model.save(tmp_path / "model.h5")
    check(model, read_network(tmp_path / "model.h5"))
