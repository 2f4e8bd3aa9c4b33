"""The operators that the lowerings use: each gives its output tensor, of the right shape.

The version of an operator says which runtimes can load it; the rules are those of LiteRT's
converter (tflite/converter/tools/versioning/op_version.cc), for the inputs that occur here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.convert.tflite.model import Graph, GraphTensor, Writer
from edgeseq_converters.convert.tflite.quantization import Quantization
from edgeseq_converters.convert.tflite.stored_model import Dtype

Pair = Literal["ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"]
Unary = Literal["LOGISTIC", "TANH", "RELU", "RELU6", "ABS", "LOG"]

_BY_TYPE: dict[str, dict[Dtype, int]] = {
    "ADD": {"int8": 2, "int16": 3},
    "SUB": {"int8": 2, "int16": 5},
    "MUL": {"int8": 2, "int16": 4},
    "DIV": {},
    "MAXIMUM": {"int8": 2, "int16": 4},
    "MINIMUM": {"int8": 2, "int16": 4},
    "LOGISTIC": {"int8": 2, "int16": 3},
    "TANH": {"int8": 2, "int16": 3},
    "RELU": {"int8": 2},
    "GATHER": {"int8": 2, "int16": 4},
    "SPLIT": {"int8": 2, "int32": 3, "int16": 4},
    "CONCATENATION": {"int8": 2, "int16": 3},
    "STRIDED_SLICE": {"int8": 2, "int16": 4},
    "RESHAPE": {},
    "SOFTMAX": {"int8": 2, "int16": 3},
    "REVERSE_V2": {"int8": 3},
    "PAD": {"int8": 2, "int16": 3},
    "REDUCE_MAX": {"int8": 2, "int16": 3},
    "MEAN": {"int8": 2, "int16": 3},
    "SUM": {"int8": 2},
    "PACK": {"int8": 2, "int16": 3},
}
_OPTIONS: dict[str, Any] = {
    "ADD": lambda: schema.AddOptionsT(potScaleInt16=False),
    "SUB": lambda: schema.SubOptionsT(potScaleInt16=False),
    "MUL": schema.MulOptionsT,
    "DIV": schema.DivOptionsT,
    "MAXIMUM": schema.MaximumMinimumOptionsT,
    "MINIMUM": schema.MaximumMinimumOptionsT,
}


def _version(name: str, dtype: Dtype) -> int:
    return _BY_TYPE.get(name, {}).get(dtype, 1)


def _same_rank(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """The shape of an operation by element, with broadcasting of 1 and of missing axes."""
    longer, shorter = (a, b) if len(a) >= len(b) else (b, a)
    padded = (1,) * (len(longer) - len(shorter)) + tuple(shorter)
    return tuple(y if x == 1 else x for x, y in zip(longer, padded, strict=True))


def elementwise(
    name: Pair, a: GraphTensor, b: GraphTensor, quantization: Quantization | None = None
) -> GraphTensor:
    """An operation on two tensors by element."""
    output = a.graph.tensor(name.lower(), a.dtype, _same_rank(a.shape, b.shape), quantization)
    version = _version(name, a.dtype)
    if name == "MUL" and a.dtype == "int8" and quantization is not None and a.quantization:
        product = a.quantization.scales[0] * (b.quantization or quantization).scales[0]
        # Version 3: a product that is scaled up, not down.
        version = 3 if product / quantization.scales[0] >= 1 else version
    a.graph.operator(name, version, [a, b], [output], _OPTIONS[name]())
    return output


def add(a: GraphTensor, b: GraphTensor, quantization: Quantization | None = None) -> GraphTensor:
    """a + b by element; integers come on the scale of `quantization`."""
    return elementwise("ADD", a, b, quantization)


def multiply(
    a: GraphTensor, b: GraphTensor, quantization: Quantization | None = None
) -> GraphTensor:
    """a · b by element; integers come on the scale of `quantization`."""
    return elementwise("MUL", a, b, quantization)


def unary(name: Unary, x: GraphTensor, quantization: Quantization | None = None) -> GraphTensor:
    """A function by element."""
    output = x.graph.tensor(name.lower(), x.dtype, x.shape, quantization or x.quantization)
    x.graph.operator(name, _version(name, x.dtype), [x], [output])
    return output


def fully_connected(
    x: GraphTensor,
    weights: GraphTensor,
    bias: GraphTensor | None = None,
    quantization: Quantization | None = None,
) -> GraphTensor:
    """x [m, in] and weights [out, in] → [m, out].

    Weights int8 or int4 under a float `x` make the product dynamic: the runtime quantizes `x` row
    by row. With a scale a row that is version 12; with one scale version 9, which old runtimes
    load too. (op_version.cc has no rule for int4; no runtime before version 12 computes it.)
    """
    version = 1
    options = schema.FullyConnectedOptionsT()
    if weights.dtype in ("int8", "int4") and x.dtype == "float32":
        scales = () if weights.quantization is None else weights.quantization.scales
        version = 12 if len(scales) > 1 or weights.dtype == "int4" else 9
        options.asymmetricQuantizeInputs = True
    elif x.dtype == "int8":
        version = 4 if bias is not None else 6
    elif x.dtype == "int16":
        version = 7  # its bias is int64
    elif bias is None:
        version = 6
    output = x.graph.tensor("product", x.dtype, (x.shape[0], weights.shape[0]), quantization)
    x.graph.operator("FULLY_CONNECTED", version, [x, weights, bias], [output], options)
    return output


def convolve_rows(
    x: GraphTensor, filters: GraphTensor, bias: GraphTensor, stride: int
) -> GraphTensor:
    """Windows of x [n, in], `stride` rows apart, times filters [out, 1, size, in] → [rows, out].

    Filters int8 under a float `x` make the product dynamic, as in `fully_connected`: version 5
    with a scale a filter, 2 with one scale.
    """
    out, _, size, features = filters.shape
    version = 1
    if filters.dtype == "int8" and x.dtype == "float32":
        scales = () if filters.quantization is None else filters.quantization.scales
        version = 5 if len(scales) > 1 else 2
    rows = x.shape[0] if x.shape[0] == -1 else (x.shape[0] - size) // stride + 1
    output = x.graph.tensor("convolved", x.dtype, (1, 1, rows, out))
    options = schema.Conv2DOptionsT(
        padding=schema.Padding.VALID,
        strideW=stride,
        strideH=1,
        dilationWFactor=1,
        dilationHFactor=1,
    )
    image = reshape(x, (1, 1, x.shape[0], features))
    x.graph.operator("CONV_2D", version, [image, filters, bias], [output], options)
    return reshape(output, (rows, out))


def gather(table: GraphTensor, indices: GraphTensor) -> GraphTensor:
    """Rows of `table` [r, …] at `places` int32 [n] → [n, …]."""
    shape = (*indices.shape, *table.shape[1:])
    output = table.graph.tensor("rows", table.dtype, shape, table.quantization)
    version = _version("GATHER", table.dtype)
    table.graph.operator("GATHER", version, [table, indices], [output], schema.GatherOptionsT())
    return output


def embedding_lookup(table: GraphTensor, ids: GraphTensor) -> GraphTensor:
    """Rows float32 [n, size] of `table` [rows, size], int8 or int4 with a scale a row, at `ids`
    [n]."""
    output = table.graph.tensor("embedded", "float32", (*ids.shape, table.shape[1]))
    scales = () if table.quantization is None else table.quantization.scales
    version = 4 if len(scales) > 1 or table.dtype == "int4" else 1
    table.graph.operator("EMBEDDING_LOOKUP", version, [ids, table], [output])
    return output


def split(x: GraphTensor, parts: int, axis: int) -> list[GraphTensor]:
    """`parts` equal slices along `axis`."""
    shape = list(x.shape)
    shape[axis] //= parts
    outputs = [x.graph.tensor("part", x.dtype, shape, x.quantization) for _ in range(parts)]
    where = x.graph.ints(axis)
    options = schema.SplitOptionsT(numSplits=parts)
    x.graph.operator("SPLIT", _version("SPLIT", x.dtype), [where, x], outputs, options)
    return outputs


def concatenate(parts: Sequence[GraphTensor], axis: int) -> GraphTensor:
    """The parts side by side along `axis`; integers must share their scale."""
    first = parts[0]
    sizes = [part.shape[axis] for part in parts]
    shape = list(first.shape)
    shape[axis] = -1 if -1 in sizes else sum(sizes)
    output = first.graph.tensor("joined", first.dtype, shape, first.quantization)
    options = schema.ConcatenationOptionsT(axis=axis)
    version = _version("CONCATENATION", first.dtype)
    first.graph.operator("CONCATENATION", version, list(parts), [output], options)
    return output


def columns(x: GraphTensor, begin: int, end: int) -> GraphTensor:
    """x [n, f] → [n, end − begin]."""
    return _strided(x, (0, begin), (0, end), (1, 1), mask=1, shape=(x.shape[0], end - begin))


def row(x: GraphTensor, index: int) -> GraphTensor:
    """x [n, f] → [1, f]; −1 is the last row."""
    end = index + 1
    end_mask = 3 if end == 0 else 2
    shape = (1, x.shape[1])
    return _strided(x, (index, 0), (end, 0), (1, 1), mask=2, end_mask=end_mask, shape=shape)


def every(x: GraphTensor, stride: int, *, skipped: int = 0) -> GraphTensor:
    """x [n] without its last `skipped` elements, of what is left every `stride`th: [rows]."""
    rows = x.shape[0] if x.shape[0] == -1 else max((x.shape[0] - skipped - 1) // stride + 1, 0)
    end_mask = 0 if skipped else 1
    return _strided(x, (0,), (-skipped,), (stride,), mask=1, end_mask=end_mask, shape=(rows,))


def last_rows(x: GraphTensor, count: int) -> GraphTensor:
    """x [n, f] → its last rows [count, f]."""
    shape = (count, x.shape[1])
    return _strided(x, (-count, 0), (0, 0), (1, 1), mask=2, end_mask=3, shape=shape)


def without_last_row(x: GraphTensor) -> GraphTensor:
    """x [n, f] → [n − 1, f]."""
    rows = x.shape[0] if x.shape[0] == -1 else x.shape[0] - 1
    return _strided(x, (0, 0), (-1, 0), (1, 1), mask=3, end_mask=2, shape=(rows, x.shape[1]))


def token_range(
    ids: GraphTensor, begin: int = 0, end: int | None = None, *, length: int = -1
) -> GraphTensor:
    """ids [1, n] → [1, length]: the positions from `begin` to `end` (None: the last), which count
    from the last one if negative; beyond both ends there is nothing to take."""
    end_mask = 3 if end is None else 1
    ends = (0, begin), (0, end or 0), (1, 1)
    return _strided(ids, *ends, mask=1, end_mask=end_mask, shape=(1, length))


def _strided(
    x: GraphTensor,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    *,
    mask: int,
    shape: Sequence[int],
    end_mask: int | None = None,
) -> GraphTensor:
    graph = x.graph
    output = graph.tensor("slice", x.dtype, shape, x.quantization)
    options = schema.StridedSliceOptionsT(
        beginMask=mask, endMask=mask if end_mask is None else end_mask
    )
    inputs = [x, graph.ints(*begin), graph.ints(*end), graph.ints(*strides)]
    graph.operator("STRIDED_SLICE", _version("STRIDED_SLICE", x.dtype), inputs, [output], options)
    return output


def reshape(x: GraphTensor, shape: Sequence[int]) -> GraphTensor:
    """The same elements in another shape; −1 once is what is left over."""
    output = x.graph.tensor("reshaped", x.dtype, shape, x.quantization)
    options = schema.ReshapeOptionsT(newShape=list(shape))
    x.graph.operator("RESHAPE", 1, [x, x.graph.ints(*shape)], [output], options)
    return output


def shape_of(x: GraphTensor) -> GraphTensor:
    """int32 [rank]."""
    output = x.graph.tensor("shape", "int32", (len(x.shape),))
    options = schema.ShapeOptionsT(outType=schema.TensorType.INT32)
    x.graph.operator("SHAPE", 1, [x], [output], options)
    return output


def reduce(
    name: Literal["SUM", "MEAN", "REDUCE_MAX", "REDUCE_PROD"],
    x: GraphTensor,
    axis: int,
    *,
    keep: bool = True,
) -> GraphTensor:
    """Over `axis`, which stays with size 1, or goes if it is not to `keep`."""
    shape = [*x.shape[:axis], *([1] if keep else []), *x.shape[axis + 1 :]]
    output = x.graph.tensor(name.lower(), x.dtype, shape, x.quantization)
    options = schema.ReducerOptionsT(keepDims=keep)
    inputs = [x, x.graph.ints(axis)]
    x.graph.operator(name, _version(name, x.dtype), inputs, [output], options)
    return output


def cast(x: GraphTensor, dtype: Dtype) -> GraphTensor:
    """The same numbers as another type."""
    output = x.graph.tensor("cast", dtype, x.shape)
    x.graph.operator("CAST", 1, [x], [output], schema.CastOptionsT())
    return output


def bitcast(x: GraphTensor, dtype: Dtype) -> GraphTensor:
    """The same bits as another type of the same size."""
    output = x.graph.tensor("bits", dtype, x.shape)
    x.graph.operator("BITCAST", 1, [x], [output], schema.BitcastOptionsT())
    return output


def dequantize(x: GraphTensor) -> GraphTensor:
    """float32 from int8, int16 or float16."""
    output = x.graph.tensor("dequantized", "float32", x.shape)
    version = {"float16": 3, "int8": 2, "int16": 3}.get(x.dtype, 1)
    scales = () if x.quantization is None else x.quantization.scales
    version = 5 if len(scales) > 1 else version
    x.graph.operator("DEQUANTIZE", version, [x], [output], schema.DequantizeOptionsT())
    return output


def quantize(x: GraphTensor, dtype: Dtype, quantization: Quantization) -> GraphTensor:
    """Integers from float32, or from integers of another scale."""
    output = x.graph.tensor("quantized", dtype, x.shape, quantization)
    version = 1 if x.dtype == "float32" and dtype == "int8" else 2
    x.graph.operator("QUANTIZE", version, [x], [output], schema.QuantizeOptionsT())
    return output


def less_than(a: GraphTensor, b: GraphTensor) -> GraphTensor:
    """bool by element."""
    output = a.graph.tensor("less", "bool", _same_rank(a.shape, b.shape))
    a.graph.operator("LESS", 1, [a, b], [output], schema.LessOptionsT())
    return output


def equal(a: GraphTensor, b: GraphTensor) -> GraphTensor:
    """bool by element, of integers."""
    output = a.graph.tensor("equal", "bool", _same_rank(a.shape, b.shape))
    a.graph.operator("EQUAL", 1, [a, b], [output], schema.EqualOptionsT())
    return output


def softmax(x: GraphTensor, quantization: Quantization | None = None) -> GraphTensor:
    """Over the last axis."""
    output = x.graph.tensor("softmax", x.dtype, x.shape, quantization)
    options = schema.SoftmaxOptionsT(beta=1.0)
    x.graph.operator("SOFTMAX", _version("SOFTMAX", x.dtype), [x], [output], options)
    return output


def batch_matmul(a: GraphTensor, b: GraphTensor, *, transpose_b: bool = False) -> GraphTensor:
    """a [i, k] times b [k, j] (or [j, k] with `transpose_b`) → [i, j]."""
    columns = b.shape[0] if transpose_b else b.shape[1]
    output = a.graph.tensor("matmul", a.dtype, (a.shape[0], columns))
    options = schema.BatchMatMulOptionsT(adjY=transpose_b)
    a.graph.operator("BATCH_MATMUL", 1, [a, b], [output], options)
    return output


def scatter_sum(places: GraphTensor, parts: GraphTensor, size: GraphTensor) -> GraphTensor:
    """A vector of `size` int32 [1] numbers: the sum of those of `parts` [n] that `places` int32
    [n, 1] puts there, 0 where there are none."""
    output = parts.graph.tensor("scattered", parts.dtype, (-1,))
    options = schema.ScatterNdOptionsT()
    parts.graph.operator("SCATTER_ND", 1, [places, parts, size], [output], options)
    return output


def reverse_rows(x: GraphTensor) -> GraphTensor:
    """x [n, …] with its rows in the opposite order."""
    output = x.graph.tensor("reversed", x.dtype, x.shape, x.quantization)
    version = _version("REVERSE_V2", x.dtype)
    x.graph.operator(
        "REVERSE_V2", version, [x, x.graph.ints(0)], [output], schema.ReverseV2OptionsT()
    )
    return output


def write_rows(into: GraphTensor, rows: GraphTensor, begin: GraphTensor) -> GraphTensor:
    """`into` [n, f] with `rows` [r, f] written from row begin[0] on; `begin` int32 [2]."""
    output = into.graph.tensor("written", into.dtype, into.shape, into.quantization)
    options = schema.DynamicUpdateSliceOptionsT()
    into.graph.operator("DYNAMIC_UPDATE_SLICE", 1, [into, rows, begin], [output], options)
    return output


def loop(condition: Graph, body: Graph, start: Sequence[GraphTensor]) -> list[GraphTensor]:
    """WHILE: `start` goes through `body` as long as `condition` of it is true.

    What the body passes through unchanged and is not read afterwards costs nothing: the runtime
    lets the body look at the original.
    """
    graph = start[0].graph
    outputs = [
        graph.tensor("loop", tensor.dtype, tensor.shape, tensor.quantization) for tensor in start
    ]
    options = schema.WhileOptionsT(
        condSubgraphIndex=condition.number, bodySubgraphIndex=body.number
    )
    graph.operator("WHILE", 1, list(start), outputs, options)
    return outputs


def while_loop(
    writer: Writer,
    start: dict[str, GraphTensor],
    condition: Callable[[dict[str, GraphTensor]], GraphTensor],
    body: Callable[[dict[str, GraphTensor]], dict[str, GraphTensor]],
) -> dict[str, GraphTensor]:
    """WHILE over named tensors; `body` gives those that change, the others are handed through."""
    graphs = [writer.graph("condition"), writer.graph("body")]
    visited = []
    for graph in graphs:
        entries = start.items()
        inner = {n: graph.input(n, t.dtype, t.shape, t.quantization) for n, t in entries}
        visited.append(inner)
    graphs[0].outputs = [condition(visited[0])]
    changed = body(visited[1])
    graphs[1].outputs = [changed.get(name, visited[1][name]) for name in start]
    return dict(zip(start, loop(graphs[0], graphs[1], list(start.values())), strict=True))


def arange_like(ids: GraphTensor) -> GraphTensor:
    """int32 [n] = 0, 1, …, n − 1 for int32 `ids` [n].

    Not RANGE: its output would have a size known only while running, which keeps the operators
    behind it from XNNPACK.
    """
    graph = ids.graph
    if -1 not in ids.shape:
        return graph.constant("places", np.arange(ids.shape[0], dtype=np.int32))
    equal_ids = graph.tensor("same", "bool", ids.shape)
    graph.operator("EQUAL", 1, [ids, ids], [equal_ids], schema.EqualOptionsT())
    output = graph.tensor("places", "int32", ids.shape)
    axis = graph.constant("axis", np.asarray(0, np.int32))
    options = schema.CumsumOptionsT(exclusive=True)
    graph.operator("CUMSUM", 1, [cast(equal_ids, "int32"), axis], [output], options)
    return output
