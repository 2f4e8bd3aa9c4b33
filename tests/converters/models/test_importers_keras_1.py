"""Files as Keras 1 wrote them, against the only thing that still reads them: tf_keras' loader of
Keras 1's weights.

The layouts are those of Keras 1.2.2 (`get_config` of its layers, names of its weights).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.read import read_network
from edgeseq_converters.models.reference_recurrent import answers

tf_keras = pytest.importorskip("tf_keras")

VOCABULARY, WIDTH, UNITS = 11, 4, 5
TEXTS = ([3], [5, 1, 4, 10, 2, 9, 7], [7, 7, 8])
COMMON = {"trainable": True, "init": "glorot_uniform", "W_regularizer": None, "b_regularizer": None}
RECURRENT = {
    **COMMON,
    "inner_init": "orthogonal",
    "inner_activation": "hard_sigmoid",
    "activation": "tanh",
    "U_regularizer": None,
    "dropout_W": 0.2,
    "dropout_U": 0.2,
    "consume_less": "cpu",
    "unroll": False,
    "stateful": False,
    "go_backwards": False,
    "input_dtype": "float32",
    "input_length": None,
}
# In the order of the files of Keras 1.
GATES = {"LSTM": "icfo", "GRU": "zrh"}
EMBEDDING: dict[str, Any] = {
    "class_name": "Embedding",
    "config": {
        **COMMON,
        "name": "embedding_1",
        "input_dim": VOCABULARY,
        "output_dim": WIDTH,
        "mask_zero": False,
        "dropout": 0.1,
        "batch_input_shape": [None, None],
        "input_dtype": "int32",
        "input_length": None,
    },
}


def dense(name: str, units: int, activation: str) -> dict[str, Any]:
    config = {"name": name, "output_dim": units, "activation": activation, "bias": True}
    return {"class_name": "Dense", "config": {**COMMON, **config, "input_dim": None}}


def recurrent(kind: str, name: str, *, sequences: bool = False, **other: Any) -> dict[str, Any]:
    config = {"name": name, "output_dim": UNITS, "return_sequences": sequences, "input_dim": WIDTH}
    if kind == "LSTM":
        config["forget_bias_init"] = "one"
    return {"class_name": kind, "config": {**RECURRENT, **config, **other}}


def both(layer: dict[str, Any]) -> dict[str, Any]:
    config = {"name": "bidirectional_1", "merge_mode": "concat", "layer": layer, "trainable": True}
    return {"class_name": "Bidirectional", "config": config}


def gate_arrays(
    rng: np.random.Generator, kind: str, name: str, inputs: int
) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {}
    for gate in GATES[kind]:
        for stem, shape in (("W", (inputs, UNITS)), ("U", (UNITS, UNITS)), ("b", (UNITS,))):
            arrays[f"{name}_{stem}_{gate}:0"] = rng.normal(size=shape).astype(np.float32)
    return arrays


def dense_arrays(
    rng: np.random.Generator, name: str, inputs: int, units: int
) -> dict[str, np.ndarray[Any, Any]]:
    return {
        f"{name}_W:0": rng.normal(size=(inputs, units)).astype(np.float32),
        f"{name}_b:0": rng.normal(size=units).astype(np.float32),
    }


def write(
    path: Path, layers: list[dict[str, Any]], arrays: Mapping[str, Mapping[str, Any]]
) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = b"1.2.2"
        description = {"class_name": "Sequential", "config": layers}
        file.attrs["model_config"] = json.dumps(description).encode()
        group = file.create_group("model_weights")
        names = [layer["config"]["name"] for layer in layers]
        group.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [key.encode() for key in arrays.get(name, {})]
            for key, array in arrays.get(name, {}).items():
                layer[key] = array
    return path


def reference(path: Path, *layers: Any) -> Any:
    """tf_keras' model of the same layers with the file's weights as its loader reads them."""
    model = tf_keras.Sequential(list(layers))
    model.build((None, None))
    model.load_weights(path)
    return model


def check(path: Path, model: Any) -> None:
    for text, answer in zip(TEXTS, answers(read_network(path), TEXTS), strict=True):
        expected = np.asarray(model(np.asarray([text], np.int32)))[0]
        np.testing.assert_allclose(answer, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_recurrent_layer_with_an_array_for_each_gate(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    layers = [
        EMBEDDING,
        {"class_name": "Dropout", "config": {"p": 0.5, "name": "dropout_1", "trainable": True}},
        recurrent(kind, "recurrent_1"),
        dense("dense_1", 3, "softmax"),
    ]
    table = {"embedding_1_W:0": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)}
    arrays = {
        "embedding_1": table,
        "recurrent_1": gate_arrays(rng, kind, "recurrent_1", WIDTH),
        "dense_1": dense_arrays(rng, "dense_1", UNITS, 3),
    }
    path = write(tmp_path / "model.h5", layers, arrays)
    settings = {"recurrent_activation": "hard_sigmoid"}
    if kind == "GRU":
        settings["reset_after"] = False  # Keras 1 has no other
    model = reference(
        path,
        tf_keras.layers.Embedding(VOCABULARY, WIDTH),
        tf_keras.layers.Dropout(0.5),
        getattr(tf_keras.layers, kind)(UNITS, **settings),
        tf_keras.layers.Dense(3, "softmax"),
    )
    check(path, model)


def test_both_directions_and_a_dense_layer_for_each_token(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    inner = recurrent("LSTM", "forward_lstm_1", sequences=True)
    wrapped = {"name": "timedistributed_1", "layer": dense("dense_2", 3, "linear")}
    layers = [EMBEDDING, both(inner), {"class_name": "TimeDistributed", "config": wrapped}]
    table = {"embedding_1_W:0": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)}
    arrays = {
        "embedding_1": table,
        "bidirectional_1": {
            **gate_arrays(rng, "LSTM", "forward_lstm_1", WIDTH),
            **gate_arrays(rng, "LSTM", "backward_lstm_1", WIDTH),
        },
        "timedistributed_1": dense_arrays(rng, "dense_2", 2 * UNITS, 3),
    }
    path = write(tmp_path / "model.h5", layers, arrays)
    model = reference(
        path,
        tf_keras.layers.Embedding(VOCABULARY, WIDTH),
        tf_keras.layers.Bidirectional(
            tf_keras.layers.LSTM(UNITS, recurrent_activation="hard_sigmoid", return_sequences=True)
        ),
        tf_keras.layers.TimeDistributed(tf_keras.layers.Dense(3)),
    )
    check(path, model)


class TestRefused:
    def layers(self, **other: Any) -> list[dict[str, Any]]:
        return [EMBEDDING, recurrent("LSTM", "lstm_1", **other)]

    def arrays(self) -> dict[str, dict[str, Any]]:
        rng = np.random.default_rng(3)
        table = {"embedding_1_W:0": rng.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)}
        return {"embedding_1": table, "lstm_1": gate_arrays(rng, "LSTM", "lstm_1", WIDTH)}

    def test_a_setting_that_is_not_known(self, tmp_path: Path) -> None:
        path = write(tmp_path / "model.h5", self.layers(peephole=True), self.arrays())
        with pytest.raises(CheckpointError, match=r"lstm_1.*peephole"):
            read_network(path)

    def test_a_gate_that_is_missing(self, tmp_path: Path) -> None:
        arrays = self.arrays()
        del arrays["lstm_1"]["lstm_1_U_f:0"]
        path = write(tmp_path / "model.h5", self.layers(), arrays)
        with pytest.raises(CheckpointError, match=r"lstm_1.*has no array recurrent_kernel"):
            read_network(path)

    def test_an_array_too_many(self, tmp_path: Path) -> None:
        arrays = self.arrays()
        arrays["lstm_1"]["lstm_1_p_i:0"] = np.ones(UNITS, np.float32)
        path = write(tmp_path / "model.h5", self.layers(), arrays)
        with pytest.raises(CheckpointError, match=r"lstm_1.*do not speak of: found lstm_1_p_i"):
            read_network(path)
