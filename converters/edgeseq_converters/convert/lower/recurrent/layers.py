"""What is the same in every lowering: ids in, embedding, pooling, dense layers, functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import encoder_operators as more
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import (
    HARD_SIGMOID_SLOPES,
    Activation,
    Attention,
    AttentionPool,
    Dense,
    FeatureSlice,
    Function,
    Join,
    Layer,
    LayerNorm,
    MarkedPool,
    Pool,
    Repeat,
    Scale,
)

MASKED = np.float32(-1e9)
"""Added to the scores of padding before a softmax."""
_UNARY: dict[Function, op.Unary] = {"relu": "RELU", "tanh": "TANH", "sigmoid": "LOGISTIC"}


@dataclass(frozen=True)
class Flow:
    """What goes from layer to layer.

    `values` [n, features], or [1, features] once it is one vector a text; `length` int32 [1], how
    many of the n rows are real; `ids` int32 [n], None of an input of numbers; `padding` when not
    all rows are real. Behind windows that change the number of rows, `ids` and `positions` are
    0, 1, …, n − 1.
    """

    values: GraphTensor
    length: GraphTensor
    ids: GraphTensor | None
    padding: Padding | None = None
    positions: GraphTensor | None = None

    def token_ids(self) -> GraphTensor:
        """`ids`; what needs them is only made of networks that take token ids."""
        if self.ids is None:
            raise ValueError("an input of numbers has no token ids")
        return self.ids


@dataclass(frozen=True)
class Padding:
    """How to look past padding: `mask` float32 [n, 1] is 1 for real rows; `reversal` int32 [n]
    gives the positions of the real rows in the opposite order; `repeated` int32 [n] has the last
    real
    row in the place of padding."""

    mask: GraphTensor
    reversal: GraphTensor
    repeated: GraphTensor


def flat_ids(ids: GraphTensor) -> GraphTensor:
    """[1, n] → [n]."""
    return op.reshape(ids, (-1 if ids.shape[1] == -1 else ids.shape[1],))


def real_length(ids: GraphTensor, *, above: int | None) -> GraphTensor:
    """int32 [1]: how many of `ids` [n] are tokens, those `above` this number, at least one; all
    of them when it is None."""
    graph = ids.graph
    if above is None:
        return op.shape_of(ids)
    real = op.cast(op.less_than(graph.ints(above), ids), "int32")
    return op.elementwise("MAXIMUM", op.reduce("SUM", real, 0), graph.ints(1))


def positions(flow: Flow) -> GraphTensor:
    """int32 [n]: 0, 1, …, n − 1."""
    if flow.positions is not None:
        return flow.positions
    ids = flow.ids
    if ids is None:  # a column of numbers serves as well: it is only looked at for its length
        column = op.reshape(op.columns(flow.values, 0, 1), (flow.values.shape[0],))
        ids = op.cast(column, "int32")
    return op.arange_like(ids)


def padded_flow(
    values: GraphTensor,
    length: GraphTensor,
    ids: GraphTensor,
    positions: GraphTensor | None = None,
) -> Flow:
    """The flow of `values` [n, f] of which only the first `length` rows are real; `positions` are
    those of the rows, where they are known."""
    graph = ids.graph
    positions = op.arange_like(ids) if positions is None else positions
    mask = op.reshape(op.cast(op.less_than(positions, length), "float32"), (ids.shape[0], 1))
    last = op.elementwise("SUB", length, graph.ints(1))
    # Padding would have negative positions: 0 will do, those rows are never read.
    reversal = op.elementwise("MAXIMUM", op.elementwise("SUB", last, positions), graph.ints(0))
    repeated = op.elementwise("MINIMUM", positions, last)
    return Flow(values, length, ids, Padding(mask, reversal, repeated), positions)


def apply(layer: Layer, flow: Flow, weights: WeightFormat) -> Flow:
    """A layer that is not recurrent, over all rows at once."""
    values = flow.values
    graph = values.graph
    if isinstance(layer, Dense):
        values = weights.product(values, layer.name, layer.kernel, layer.bias)
        values = function(values, layer.function)
    elif isinstance(layer, Activation):
        values = function(values, layer.function)
    elif isinstance(layer, Scale):
        scaled = op.multiply(values, graph.constant(f"{layer.name}/factor", layer.factor))
        values = op.add(scaled, graph.constant(f"{layer.name}/offset", layer.offset))
    elif isinstance(layer, LayerNorm):
        scale = graph.constant(f"{layer.name}/scale", layer.scale)
        offset = graph.constant(f"{layer.name}/offset", layer.offset)
        values = more.layer_norm(values, scale, offset, layer.epsilon)
    elif isinstance(layer, Repeat):
        return _repeated(layer, values)
    elif isinstance(layer, FeatureSlice):
        values = op.columns(values, layer.begin, layer.end)
    elif isinstance(layer, Pool):
        values = pool(layer, flow)
    elif isinstance(layer, AttentionPool):
        values = _attend(layer, flow, weights)
    elif isinstance(layer, MarkedPool):
        values = marked(layer.marks, flow.token_ids(), values)
    return replace(flow, values=values)


def _repeated(layer: Repeat, values: GraphTensor) -> Flow:
    """The flow of equal rows, all of them real whatever the text was."""
    graph, count = values.graph, layer.rows
    ones = graph.constant("ones", np.ones((count, 1), np.float32))
    positions = graph.constant("positions", np.arange(count, dtype=np.int32))
    return Flow(op.multiply(ones, values), graph.ints(count), positions, None, positions)


def function(x: GraphTensor, name: Function) -> GraphTensor:
    """The function by element; softmax over the features."""
    if name == "linear":
        return x
    if name == "softmax":
        return op.softmax(x)
    if name == "softsign":
        one = x.graph.constant("one", np.ones(1, np.float32))
        return op.elementwise("DIV", x, op.add(op.unary("ABS", x), one))
    if name in HARD_SIGMOID_SLOPES:
        return _hard_sigmoid(x, HARD_SIGMOID_SLOPES[name])
    return op.unary(_UNARY[name], x)


def _hard_sigmoid(x: GraphTensor, slope: float) -> GraphTensor:
    """slope·x + 1/2 within 0..1, as relu6(6·slope·x + 3)/6: there is an operator that cuts off at
    6 and runs inside XNNPACK."""

    def number(value: float) -> GraphTensor:
        return x.graph.constant("number", np.asarray([value], np.float32))

    stretched = x if slope == 1 / 6 else op.multiply(x, number(6 * slope))
    return op.multiply(op.unary("RELU6", op.add(stretched, number(3))), number(1 / 6))


def pool(layer: Pool, flow: Flow) -> GraphTensor:
    """A sequence to [1, features], over its real rows."""
    values, graph = flow.values, flow.values.graph
    if layer.how == "last":
        return op.gather(values, op.elementwise("SUB", flow.length, graph.ints(1)))
    if layer.how == "max":
        if flow.padding is not None:
            values = op.gather(values, flow.padding.repeated)
        return op.reduce("REDUCE_MAX", values, 0)
    if flow.padding is None:
        mean = op.reduce("MEAN", values, 0)
        if layer.how == "mean":
            return mean
        return op.multiply(mean, op.cast(flow.length, "float32"))
    total = op.reduce("SUM", op.multiply(values, flow.padding.mask), 0)
    if layer.how == "sum":
        return total
    return op.elementwise("DIV", total, op.cast(flow.length, "float32"))


def marked(marks: Sequence[int], ids: GraphTensor, values: GraphTensor) -> GraphTensor:
    """`network.MarkedPool`: ids int32 [n] and values float32 [n, features] → [1, …].

    The rows are picked by a product with a 1 where a mark stands: its shape [marks, n] is known
    but for n, where a search for the positions would have an open one. Padding is not a marker.
    """
    column = ids.graph.constant("marks", np.asarray(marks, np.int32)[:, None])
    marker_mask = op.cast(op.equal(column, op.reshape(ids, (1, ids.shape[0]))), "float32")
    return joined_marks(op.batch_matmul(marker_mask, values))


def joined_marks(selected: GraphTensor) -> GraphTensor:
    """The marks' rows [marks, features] side by side with their products: [1, …]."""
    rows = [op.row(selected, index) for index in range(selected.shape[0])]
    return op.concatenate([*rows, *(op.multiply(rows[0], row) for row in rows[1:])], 1)


def _attend(layer: AttentionPool, flow: Flow, weights: WeightFormat) -> GraphTensor:
    """The weighted sum of the rows; the softmax runs over the last axis, so scores lie as a row."""
    values = flow.values
    units = weights.product(values, layer.name, layer.kernel, layer.bias)
    query: FloatArray = layer.query[:, None]
    # Scores steer a softmax: one column, kept in float32 whatever the recipe.
    exact = WeightFormat("float32")
    scores = exact.product(function(units, layer.function), f"{layer.name}/query", query)
    if flow.padding is not None:
        scores = op.add(scores, _hiding(flow.padding))
    attention = op.softmax(op.reshape(scores, (1, values.shape[0])))
    return op.batch_matmul(attention, values)


def _hiding(padding: Padding) -> GraphTensor:
    """float32 [n, 1]: 0 for real rows, −1e9 for the others, to be added before a softmax."""
    graph = padding.mask.graph
    low = graph.constant("low", np.asarray([MASKED], np.float32))
    ones = graph.constant("one", np.ones(1, np.float32))
    return op.multiply(op.elementwise("SUB", ones, padding.mask), low)


def merge(layer: Join | Attention, fed: Sequence[Flow]) -> Flow:
    """A layer of several inputs."""
    if isinstance(layer, Attention):
        return attend(layer, *fed)
    return replace(fed[0], values=join(layer, [flow.values for flow in fed]))


def join(layer: Join, inputs: Sequence[GraphTensor]) -> GraphTensor:
    """Several [n, features], or [1, features], as one."""
    if layer.how == "concat":
        return op.concatenate(inputs, 1)
    names: dict[str, op.Pair] = {
        "subtract": "SUB",
        "multiply": "MUL",
        "maximum": "MAXIMUM",
        "minimum": "MINIMUM",
    }
    joined = inputs[0]
    for other in inputs[1:]:
        joined = op.elementwise(names.get(layer.how, "ADD"), joined, other)
    if layer.how != "average":
        return joined
    share = np.asarray([1 / len(inputs)], np.float32)
    return op.multiply(joined, joined.graph.constant("share", share))


def attend(layer: Attention, query: Flow, value: Flow, key: Flow | None = None) -> Flow:
    """Each row of the query gets the mean of the values, weighted by the scores of their keys."""
    key = value if key is None else key
    graph, features = query.values.graph, query.values.shape[1]
    if layer.weights is None:
        scores = op.batch_matmul(query.values, key.values, transpose_b=True)
        if layer.scale != 1:
            scores = op.multiply(scores, graph.constant("scale", _number(layer.scale)))
    else:
        rows = op.reshape(query.values, (query.values.shape[0], 1, features))
        columns = op.reshape(key.values, (1, key.values.shape[0], features))
        sums = op.add(rows, columns)
        if layer.scale != 1:
            sums = op.multiply(sums, graph.constant("scale", _number(layer.scale)))
        weights = graph.constant(f"{layer.name}/weights", layer.weights)
        weighted = op.multiply(op.unary("TANH", sums), weights)
        scores = op.reduce("SUM", weighted, 2, keep=False)
    if value.padding is not None:
        hiding = op.reshape(_hiding(value.padding), (1, value.values.shape[0]))
        scores = op.add(scores, hiding)
    return replace(query, values=op.batch_matmul(op.softmax(scores), value.values))


def _number(value: float) -> FloatArray:
    return np.asarray([value], np.float32)
