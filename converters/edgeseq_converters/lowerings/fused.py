"""The `fused` lowering: the runtime's own LSTM operator, UNIDIRECTIONAL_SEQUENCE_LSTM.

One operator a direction; its state lives in variable tensors, which the caller resets before
every text. Cells are not clipped: TensorFlow's converter writes a clip at 10 that no framework's
LSTM has. The kernel is not XNNPACK's: on x86-64 it is the slowest lowering, on processors without
dot products the integer one can be the fastest (see benchmarks/README.md).
"""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.lowerings import emitted
from edgeseq_converters.lowerings.layers import Flow
from edgeseq_converters.lowerings.loop import Group
from edgeseq_converters.lowerings.weights import WeightFormat
from edgeseq_converters.network import Cell, Recurrent
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Tensor


def run(group: Group, flow: Flow) -> Tensor:
    """What the group collects (`emitted.run`)."""
    # The operator knows one scale a matrix only.
    weights = WeightFormat(group.weights.storage, group.weights.dynamic, scale_per_row=False)

    def direction(layer: Recurrent, cell: Cell, name: str, values: Tensor) -> Tensor:
        return sequence_lstm(cell, f"{layer.name}/{name}", values, weights)

    return emitted.run(group, flow, direction)


def sequence_lstm(cell: Cell, name: str, values: Tensor, weights: WeightFormat) -> Tensor:
    """values [n, in] → states [n, H], from the state in the operator's variable tensors."""
    graph, size = values.graph, cell.hidden_size
    inputs: list[Tensor | None] = [op.reshape(values, (values.shape[0], 1, cell.inputs))]
    for part, kernel in (("kernel", cell.kernel), ("recurrent", cell.recurrent_kernel)):
        for number, gate in enumerate(np.split(kernel, 4, axis=1)):
            inputs.append(weights.matrix(graph, f"{name}/{part}/{number}", gate))
    inputs += [None] * 3  # peepholes
    for gate in np.split(cell.bias, 4):
        inputs.append(graph.constant(f"{name}/bias", np.ascontiguousarray(gate)))
    inputs += [None] * 2  # projection
    inputs += [graph.variable(f"{name}/{state}", "float32", (1, size)) for state in ("h", "c")]
    inputs += [None] * 4  # layer normalization
    hybrid = weights.storage == "int8" and weights.dynamic
    options = schema.UnidirectionalSequenceLSTMOptionsT(
        fusedActivationFunction=schema.ActivationFunctionType.TANH,
        cellClip=0.0,
        timeMajor=True,
        asymmetricQuantizeInputs=hybrid,
    )
    output = graph.tensor(name, "float32", (values.shape[0], 1, size))
    graph.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", 3 if hybrid else 1, inputs, [output], options)
    return op.reshape(output, (values.shape[0], size))
