"""Keras models that repeat a vector or flatten a sequence of one length: the answers of Keras."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
import tflite

import edgeseq as es
from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, not_trained_here
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.stored_network import network_from_folder, network_to_folder

from ...padded_keras import write_padded_model

VOCABULARY, LENGTH = 13, 6
ROWS = np.random.default_rng(3).integers(0, VOCABULARY, (4, LENGTH), np.int32)


@pytest.fixture(scope="module", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> ModuleType:
    module: ModuleType = pytest.importorskip(request.param)
    return module


def build(keras: ModuleType, *layers: Any, length: int | None = LENGTH, mask: bool = False) -> Any:
    table = keras.layers.Embedding(VOCABULARY, 4, mask_zero=mask)
    model = keras.Sequential([keras.Input((length,)), table, *layers])
    rng = np.random.default_rng(5)
    model.set_weights([rng.normal(scale=0.5, size=array.shape) for array in model.get_weights()])
    return model


def flattened(keras: ModuleType, **options: Any) -> Any:
    one = keras.layers
    states = one.LSTM(5, return_sequences=True)
    return build(keras, states, one.Flatten(), one.Dense(3, "softmax"), **options)


def autoencoder(keras: ModuleType, rows: int = LENGTH) -> Any:
    one = keras.layers
    decoder = one.LSTM(4, return_sequences=True)
    return build(
        keras, one.LSTM(5), one.RepeatVector(rows), decoder, one.TimeDistributed(one.Dense(2))
    )


def windows(keras: ModuleType) -> Any:
    one = keras.layers
    return build(keras, one.Conv1D(5, 3), one.MaxPooling1D(2), one.Flatten(), one.Dense(2))


def permuted(keras: ModuleType) -> Any:
    """The attention over features that goes around as `attention_3d_block`."""
    one = keras.layers
    ids = keras.Input((LENGTH,))
    states = one.LSTM(5, return_sequences=True)(one.Embedding(VOCABULARY, 4)(ids))
    shares = one.Permute((1, 2))(one.Dense(5, "softmax")(states))
    answer = one.Dense(2)(one.Flatten()(one.Multiply()([states, shares])))
    model = keras.Model(ids, answer)
    rng = np.random.default_rng(6)
    model.set_weights([rng.normal(scale=0.5, size=array.shape) for array in model.get_weights()])
    return model


def read(model: Any, folder: Path) -> Network:
    path = folder / "model.h5"
    model.save(path)
    return read_network(path)


@pytest.mark.parametrize("make", [autoencoder, windows, permuted])
def test_the_network_answers_as_keras_does(keras: ModuleType, make: Any, tmp_path: Path) -> None:
    model = make(keras)
    network = read(model, tmp_path)
    expected = np.asarray(model(ROWS))
    np.testing.assert_allclose(answers(network, ROWS.tolist()), expected, atol=1e-5)


def test_a_saved_model_writes_sizes_of_windows_as_tuples(tmp_path: Path) -> None:
    model = windows(pytest.importorskip("tf_keras"))
    model.save(tmp_path / "saved", save_format="tf", save_traces=False)
    network = read_network(tmp_path / "saved")
    np.testing.assert_allclose(answers(network, ROWS.tolist()), np.asarray(model(ROWS)), atol=1e-5)


@pytest.mark.parametrize("lowering", ["loop", "unrolled"])
def test_a_file_of_repeated_rows_has_one_length(lowering: str, tmp_path: Path) -> None:
    model = autoencoder(pytest.importorskip("tf_keras"))
    path = tmp_path / "model.h5"
    model.save(path)
    options = ConversionOptions(recipes=("float32",), lowerings=(lowering,))
    written = convert_to_file(load_model(path), tmp_path / "model.tflite", options)
    assert written.max_abs_error <= 1e-5
    assert written.shape == tuple(np.asarray(model(ROWS[:1])).shape)
    assert network_length(tmp_path / "model.tflite") == LENGTH


def network_length(path: Path) -> int:
    """The number of tokens that the file takes."""
    graph = tflite.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
    return int(graph.Tensors(graph.Inputs(0)).ShapeAsNumpy()[1])


@pytest.mark.parametrize("make", [flattened, autoencoder])
def test_a_stored_network_keeps_its_shapes(make: Any, tmp_path: Path) -> None:
    network = read(make(pytest.importorskip("tf_keras")), tmp_path)
    config, arrays = network_to_folder(network)
    manifest = ModelManifest(
        name="n",
        task="text-classification",
        arch="lstm",
        labels=("a", "b"),
        max_tokens=LENGTH,
        training=not_trained_here("x"),
        network=config,
    )
    stored = network_from_folder(TrainedModel(manifest, dict(arrays), ""))
    assert stored.shapes() == network.shapes()
    assert stored.only_tokens == network.only_tokens == LENGTH


def test_a_bundle_pads_every_text_to_the_one_length(tmp_path: Path) -> None:
    source = write_padded_model(tmp_path, flatten=True)
    dataset = source.dataset("post", "post")
    loaded = es.load_model(source.path, tokenizer=source.tokenizer_path)
    bundle = es.convert(
        loaded,
        dataset,
        recipe="float32",
        padding="post",
        truncation="post",
        out=tmp_path / "out",
        progress=None,
    )
    texts = [example.text for example in dataset.test]
    scores = [list(answer.scores.values()) for answer in bundle.predict(texts)]
    np.testing.assert_allclose(scores, source.answers(texts, "post", "post"), atol=1e-5)


class TestRefused:
    def test_a_bundle_without_padding(self, tmp_path: Path) -> None:
        source = write_padded_model(tmp_path, flatten=True)
        loaded = es.load_model(source.path, tokenizer=source.tokenizer_path)
        with pytest.raises(CheckpointError, match="padd"):
            es.convert(loaded, source.dataset(), out=tmp_path / "out", progress=None)
        assert not (tmp_path / "out").exists()

    def test_features_in_the_place_of_steps(self, keras: ModuleType, tmp_path: Path) -> None:
        one = keras.layers
        states = one.LSTM(LENGTH, return_sequences=True)
        with pytest.raises(CheckpointError, match=r"turns steps into features: found \[2, 1\]"):
            read(build(keras, states, one.Permute((2, 1)), one.Flatten()), tmp_path)

    def test_another_number_of_steps(self, keras: ModuleType, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"another number of steps.*found 4, expected 6"):
            read(autoencoder(keras, rows=4), tmp_path)

    def test_a_setting_that_is_not_known(self, tmp_path: Path) -> None:
        path = tmp_path / "model.h5"
        autoencoder(pytest.importorskip("tf_keras")).save(path)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            for layer in config["config"]["layers"]:
                if layer["class_name"] == "RepeatVector":
                    layer["config"]["order"] = "columns"
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises(CheckpointError, match="order = columns"):
            read_network(path)
