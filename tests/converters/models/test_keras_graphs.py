"""Graphs in Keras' own format that no network computes, however they came about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import KerasLayer, parse_json, parse_model
from edgeseq_converters.models.keras.network import network_of
from edgeseq_converters.models.keras.weights import Slot
from edgeseq_converters.models.windows import spread_groups

Entry = dict[str, Any]


class Ones:
    """Arrays of the shapes that the settings of an Embedding or a Dense layer of 4 inputs say."""

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        config = layer.config
        shapes = {
            "embeddings": (config.get("input_dim"), config.get("output_dim")),
            "kernel": (4, config.get("units")),
            "bias": (config.get("units"),),
        }
        return [np.ones(shapes[variable], np.float32) for _, variable in slots]


def layer(class_name: str, name: str, *inputs: str, **config: Any) -> Entry:
    calls = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    config = {"name": name, **config}
    return {"class_name": class_name, "name": name, "config": config, "inbound_nodes": calls}


def model(layers: list[Entry], output: str) -> Entry:
    config = {
        "layers": layers,
        "input_layers": [["source", 0, 0]],
        "output_layers": [[output, 0, 0]],
    }
    return {"class_name": "Functional", "config": config}


SOURCE = layer("InputLayer", "source", batch_input_shape=[None, None])
NUMBERS = layer("InputLayer", "source", batch_input_shape=[None, None, 4])
STATES = [
    SOURCE,
    layer("Embedding", "words", "source", input_dim=5, output_dim=4),
    layer("Dense", "query", "words", units=4),
]
SCORES = [*STATES, layer("Dot", "scores", "query", "words", axes=2)]
SHARES = [*SCORES, layer("Softmax", "shares", "scores", axis=-1)]
REPEATED = [
    *STATES,
    layer("GlobalMaxPooling1D", "pooled", "query"),
    layer("RepeatVector", "repeated", "pooled", n=2),
]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (SCORES, r"layer scores \(Dot\) answers with the scores of pairs"),
        (SHARES, r"layer shares \(Softmax\) answers with the scores of pairs"),
        (
            [*SCORES, layer("Add", "biased", "scores", "scores")],
            r"layer biased \(Add\) computes with the scores of pairs",
        ),
        (
            [*SHARES, layer("Dot", "turned", "words", "shares", axes=[1, 1])],
            r"layer turned \(Dot\) computes with the scores of pairs",
        ),
        (
            [*STATES[:2], layer("Any", "a", "b"), layer("Any", "b", "a"), STATES[2]],
            r"layer a \(Any\) is not between the input and the output",
        ),
        (
            [
                *STATES,
                layer("Dense", "score", "query", units=1),
                layer("Flatten", "row", "score"),
                layer("Softmax", "share", "row"),
                layer("RepeatVector", "several", "share", n=4),
                layer("Permute", "first", "several", dims=[2, 1]),
                layer("Permute", "second", "several", dims=[2, 1]),
                layer("Add", "sum", "first", "second"),
                layer("Multiply", "weighted", "query", "sum"),
            ],
            r"layer several \(RepeatVector\) goes to several layers",
        ),
        ([NUMBERS], r"layer source \(InputLayer\) is followed by no layer"),
        (
            [*REPEATED, layer("MaxPooling1D", "wide", "repeated", pool_size=3)],
            "layer wide has windows of more rows than it gets",
        ),
    ],
)
def test_a_graph_that_no_network_computes_is_refused(layers: list[Entry], message: str) -> None:
    described = parse_model(model(layers, layers[-1]["name"]), "model.keras")
    with pytest.raises(CheckpointError, match=message) as refusal:
        network_of(described, Ones())
    assert "\n" not in str(refusal.value)


def test_windows_that_fit_repeated_rows_are_read() -> None:
    layers = [*REPEATED, layer("MaxPooling1D", "wide", "repeated", pool_size=2)]
    network = network_of(parse_model(model(layers, "wide"), "model.keras"), Ones())
    assert network.repeated_rows == 1


def test_groups_that_are_too_large_as_one_kernel_are_refused() -> None:
    kernel = np.zeros((1, 1, 1 << 15), np.float32)
    with pytest.raises(CheckpointError, match=r"model.keras: .*32768 groups are too large"):
        spread_groups(kernel, 1 << 15, "model.keras")


@pytest.mark.parametrize("depth", [250, 900])
@pytest.mark.parametrize(("start", "end"), [('{"a":', "}"), ("[", "]")])
def test_json_that_is_nested_too_deep_is_refused(depth: int, start: str, end: str) -> None:
    nested = '{"config": ' + start * depth + "1" + end * depth + "}"
    with pytest.raises(CheckpointError, match="nested too deep") as refusal:
        parse_json(nested, "model.json")
    assert "\n" not in str(refusal.value)
