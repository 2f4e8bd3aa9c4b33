"""The `fused` lowering: the runtime's own LSTM operator, UNIDIRECTIONAL_SEQUENCE_LSTM.

One operator a direction; its state lives in variable tensors, which the caller resets before
every text. Cells are not clipped: TensorFlow's converter writes a clip at 10 that no framework's
LSTM has. The kernel is not XNNPACK's: on x86-64 it is the slowest lowering, on processors without
dot products the integer one can be the fastest (see benchmarks/README.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.convert.lower.recurrent import emitted
from edgeseq_converters.convert.lower.recurrent.integer import Integers
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.lower.recurrent.loop import LoopGroup
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.convert.tflite.quantization import Quantization, quantize, quantize_whole
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import Cell, Recurrent


def run(group: LoopGroup, flow: Flow) -> GraphTensor:
    """What the group collects (`emitted.run`)."""
    # The operator knows one scale a matrix only.
    weights = replace(group.weights, row_scales=False)

    def direction(layer: Recurrent, cell: Cell, name: str, values: GraphTensor) -> GraphTensor:
        return sequence_lstm(cell, f"{layer.name}/{name}", values, weights)

    return emitted.run(group, flow, direction)


def run_integer(integers: Integers, group: LoopGroup, flow: Flow) -> GraphTensor:
    """The same in integers: int8 products, 16-bit gates and cells (the kernel's 8x8→16 form)."""

    def direction(layer: Recurrent, cell: Cell, name: str, values: GraphTensor) -> GraphTensor:
        largest = integers.ranges.largest(f"{layer.name}/{name}/cell")
        return integer_lstm(cell, f"{layer.name}/{name}", values, largest)

    return emitted.run(group, flow, direction, integers.merge)


def sequence_lstm(cell: Cell, name: str, values: GraphTensor, weights: WeightFormat) -> GraphTensor:
    """values float32 [n, in] → states [n, H], from the state in the operator's variables."""
    graph, size = values.graph, cell.hidden_size
    inputs = [f"{name}/kernel"] * 4 + [f"{name}/recurrent"] * 4
    matrices = [
        weights.matrix(graph, *matrix, product)
        for matrix, product in zip(_matrices(cell, name), inputs, strict=True)
    ]
    biases = [graph.constant(f"{name}/bias", gate) for gate in _parts(cell.bias, 0)]
    states = [graph.variable(f"{name}/{state}", "float32", (1, size)) for state in ("h", "c")]
    hybrid = weights.storage == "int8" and weights.dynamic
    output = graph.tensor(name, "float32", (values.shape[0], 1, size))
    _operator(values, matrices, biases, states, output, hybrid=hybrid)
    return op.reshape(output, (values.shape[0], size))


def integer_lstm(cell: Cell, name: str, values: GraphTensor, largest: float) -> GraphTensor:
    """values int8 [n, in] → states int8 [n, H]; `largest` is the cell state's magnitude.

    The kernel wants a cell state in int16 with a power of two as its scale, biases in the scale
    of the input's products, and the hidden state's scale as the last of five intermediates.
    """
    graph, size = values.graph, cell.hidden_size
    if values.quantization is None:
        raise ValueError(f"{name} is given numbers without a scale")
    stored = [(label, *quantize_whole(rows)) for label, rows in _rows(cell, name)]
    matrices = [graph.constant(*matrix) for matrix in stored]
    biases = []
    for gate, (_, _, scale) in zip(_parts(cell.bias, 0), stored, strict=False):
        step = Quantization((values.quantization.scales[0] * scale.scales[0],), (0,))
        biases.append(graph.constant(f"{name}/bias", quantize(gate, step, "int32"), step))
    hidden = Quantization((1 / 128,), (0,))
    # The kernel's tanh has tables for 0 to 6 integer bits: a finer scale gives wrong states.
    exponent = int(np.clip(np.ceil(np.log2(max(largest, 1.0))), 0, 6))
    cell_scale = Quantization((2.0 ** (exponent - 15),), (0,))
    states = [
        graph.variable(f"{name}/h", "int8", (1, size), hidden),
        graph.variable(f"{name}/c", "int16", (1, size), cell_scale),
    ]
    gates = Quantization((2.0**-12,), (0,))
    intermediates = [graph.tensor(f"{name}/gate", "int16", (1, size), gates) for _ in range(4)]
    intermediates.append(graph.tensor(f"{name}/hidden", "int8", (1, size), hidden))
    output = graph.tensor(name, "int8", (values.shape[0], 1, size), hidden)
    _operator(values, matrices, biases, states, output, intermediates=intermediates)
    return op.reshape(output, (values.shape[0], size))


def _parts(array: FloatArray, axis: int) -> list[FloatArray]:
    """The four gates' parts, in the operator's order, which is Keras': i, f, c, o."""
    return [np.ascontiguousarray(part) for part in np.split(array, 4, axis=axis)]


def _matrices(cell: Cell, name: str) -> list[tuple[str, FloatArray]]:
    """The eight kernels [in, H] with their names: of the input, then of the state."""
    kernels = [*_parts(cell.kernel, 1), *_parts(cell.recurrent_kernel, 1)]
    return [(f"{name}/kernel/{number}", kernel) for number, kernel in enumerate(kernels)]


def _rows(cell: Cell, name: str) -> list[tuple[str, FloatArray]]:
    """The same as the operator wants them: [H, in]."""
    return [(label, np.ascontiguousarray(kernel.T)) for label, kernel in _matrices(cell, name)]


def _operator(
    values: GraphTensor,
    matrices: Sequence[GraphTensor],
    biases: Sequence[GraphTensor],
    states: Sequence[GraphTensor],
    output: GraphTensor,
    *,
    hybrid: bool = False,
    intermediates: Sequence[GraphTensor] = (),
) -> None:
    """Adds the operator; None are peepholes, projection and layer normalization."""
    batched = op.reshape(values, (values.shape[0], 1, values.shape[1]))
    inputs = [batched, *matrices, *[None] * 3, *biases, *[None] * 2, *states, *[None] * 4]
    options = schema.UnidirectionalSequenceLSTMOptionsT(
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,
        timeMajor=True,
        asymmetricQuantizeInputs=hybrid,
    )
    values.graph.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM",
        3 if hybrid else 1,
        inputs,
        [output],
        options,
        intermediates=intermediates,
    )
