"""Convolutions and pooling along time.

A convolution is the runtime's CONV_2D where that is exact and takes the storage of the weights.
Else the rows of each window are gathered side by side and multiplied, as they are for pooling:
which zeros a `same` window of a stride sees in front depends on the length of the text, CONV_2D
computes no int4 weights, and a dilation is left to the product.

The rows behind a window are told apart from padding by arithmetic on their number, so one graph
serves a text at its length and a text in a file of fixed length.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseq_converters.convert.lower.recurrent import layers
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import encoder_operators as more
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network_layers import Convolution, WindowPool
from edgeseq_converters.models.windows import RowWindow


def convolve(layer: Convolution, flow: Flow, weights: WeightFormat) -> Flow:
    """The convolution of a sequence."""
    window = layer.window
    if _slides(layer, weights) and (window.stride == 1 or window.border != "same"):
        values = flow.values
        front = window.before(window.span) if window.border == "same" else window.before(1)
        if window.border != "valid" and window.span > 1:
            values = _without_padding(flow)
            behind = 0 if window.border == "causal" else window.span - 1 - front
            values = more.pad_rows(values, front, behind)
        sums = weights.convolution(values, layer.name, layer.kernel, layer.bias, layer.stride)
        return _behind(flow, window, layers.function(sums, layer.function))
    sums = _product(layer, gather_windows(flow, window), weights)
    return _behind(flow, window, layers.function(sums, layer.function))


def convolve_stream(
    layer: Convolution, flow: Flow, weights: WeightFormat, before: GraphTensor
) -> tuple[Flow, GraphTensor]:
    """A causal convolution of stride 1 of the next rows of a stream, with the rows that came
    `before` them [span − 1, features]; and those that come before the following ones."""
    window = replace(layer.window, border="valid")
    joined = op.concatenate([before, flow.values], 0)
    if _slides(layer, weights):
        sums = weights.convolution(joined, layer.name, layer.kernel, layer.bias)
    else:
        indices = op.add(_column(layers.positions(flow)), _taps(flow, window))
        sums = _product(layer, op.gather(joined, indices), weights)
    behind = replace(flow, values=layers.function(sums, layer.function))
    return behind, op.last_rows(joined, window.span - 1)


def pool_windows(layer: WindowPool, flow: Flow) -> Flow:
    """The pooling of a sequence."""
    window, features = layer.window, flow.values.shape[1]
    windows = gather_windows(flow, window, repeat=layer.how == "max")
    if layer.how == "max":
        pooled = op.reduce("REDUCE_MAX", windows, 1)
    else:
        pooled = op.reduce("MEAN" if layer.border == "valid" else "SUM", windows, 1)
    pooled = op.reshape(pooled, (windows.shape[0], features))
    if layer.how == "mean" and layer.border != "valid":
        pooled = op.elementwise("DIV", pooled, _inside(flow, window))
    return _behind(flow, window, pooled)


def _slides(layer: Convolution, weights: WeightFormat) -> bool:
    """Whether the runtime's CONV_2D computes the layer with these weights."""
    return weights.storage != "int4" and layer.dilation == 1


def _product(layer: Convolution, windows: GraphTensor, weights: WeightFormat) -> GraphTensor:
    size, features, _ = layer.kernel.shape
    joined = op.reshape(windows, (windows.shape[0], size * features))
    kernel = layer.kernel.reshape(size * features, -1)
    return weights.product(joined, layer.name, kernel, layer.bias)


def _behind(flow: Flow, window: RowWindow, values: GraphTensor) -> Flow:
    """The flow of what is computed by window."""
    if window.keeps_rows:
        return replace(flow, values=values)
    numbers = _first_rows(flow, window)
    if window.stride > 1:
        numbers = _divided(numbers, window.stride)
    return layers.padded_flow(values, _windows_in(flow, window), numbers, numbers)


def _first_rows(flow: Flow, window: RowWindow) -> GraphTensor:
    """int32 [rows]: 0, stride, 2·stride, …"""
    return op.every(layers.positions(flow), window.stride, skipped=window.required - 1)


def _starts(flow: Flow, window: RowWindow) -> GraphTensor:
    """The first row of each window int32 [rows, 1]: a negative one lies in front of the text."""
    graph = flow.values.graph
    starts = _column(_first_rows(flow, window))
    if window.border == "causal":
        return op.elementwise("SUB", starts, graph.ints(window.span - 1))
    if window.border == "same" and window.span > 1:
        return op.elementwise("SUB", starts, _zeros_in_front(flow, window))
    return starts


def _without_padding(flow: Flow) -> GraphTensor:
    """The values with zeros in the place of padding."""
    if flow.padding is None:
        return flow.values
    return op.multiply(flow.values, flow.padding.mask)


def gather_windows(flow: Flow, window: RowWindow, *, repeat: bool = False) -> GraphTensor:
    """The rows of each window [rows, size, features]. Beyond the ends of a text it sees zeros, or
    with `repeat` the text's first and last row, which change no maximum."""
    graph, values = flow.values.graph, flow.values
    indices = op.add(_starts(flow, window), _taps(flow, window))
    if window.border == "valid":
        return op.gather(values, indices)
    if repeat:
        last = op.elementwise("SUB", flow.length, graph.ints(1))
        inside = op.elementwise("MAXIMUM", indices, graph.ints(0))
        return op.gather(values, op.elementwise("MINIMUM", inside, last))
    # A row of zeros at either end serves every index beyond it.
    beyond = op.add(flow.length, graph.ints(1))
    shifted = op.elementwise("MAXIMUM", op.add(indices, graph.ints(1)), graph.ints(0))
    rows = more.pad_rows(_without_padding(flow), 1, 1)
    return op.gather(rows, op.elementwise("MINIMUM", shifted, beyond))


def _taps(flow: Flow, window: RowWindow) -> GraphTensor:
    taps = np.arange(window.size, dtype=np.int32) * np.int32(window.dilation)
    return flow.values.graph.constant("taps", taps[None, :])


def _column(numbers: GraphTensor) -> GraphTensor:
    """[n] → [n, 1]."""
    return op.reshape(numbers, (numbers.shape[0], 1))


def _divided(numbers: GraphTensor, by: int) -> GraphTensor:
    return op.elementwise("DIV", numbers, numbers.graph.ints(by))


def _windows_in(flow: Flow, window: RowWindow) -> GraphTensor:
    """int32 [1]: (length − required)//stride + 1."""
    graph = flow.values.graph
    room = op.elementwise("SUB", flow.length, graph.ints(window.required - window.stride))
    count = room if window.stride == 1 else _divided(room, window.stride)
    return count if window.required == 1 else op.add(count, _refusal(flow, window))


def _refusal(flow: Flow, window: RowWindow) -> GraphTensor:
    """int32 [1]: 0. A text that is shorter than a window makes the runtime stop with an error
    here, at a position below 0, as it has no answer."""
    graph = flow.values.graph
    missing = op.elementwise("SUB", flow.length, graph.ints(window.required))
    missing = op.elementwise("MINIMUM", missing, graph.ints(0))
    return op.gather(layers.positions(flow), missing)


def _zeros_in_front(flow: Flow, window: RowWindow) -> GraphTensor:
    """int32 [1]: `RowWindow.before` of the text's length."""
    graph = flow.values.graph
    if window.stride == 1:
        return graph.ints((window.span - 1) // 2)
    last_start = op.multiply(
        op.elementwise("SUB", _windows_in(flow, window), graph.ints(1)), graph.ints(window.stride)
    )
    reach = op.add(last_start, graph.ints(window.span))
    missing = op.elementwise("SUB", reach, flow.length)
    return _divided(op.elementwise("MAXIMUM", missing, graph.ints(0)), 2)


def _inside(flow: Flow, window: RowWindow) -> GraphTensor:
    """float32 [rows, 1]: how many rows of the text a window sees, at least one."""
    graph, starts = flow.values.graph, _starts(flow, window)
    ends = op.elementwise("MINIMUM", op.add(starts, graph.ints(window.span)), flow.length)
    count = op.elementwise("SUB", ends, op.elementwise("MAXIMUM", starts, graph.ints(0)))
    # Windows over padding alone see no row; what they give is never read.
    return op.cast(op.elementwise("MAXIMUM", count, graph.ints(1)), "float32")
