"""The `unrolled` lowering: a fixed number of steps written out one after the other.

For runtimes and accelerators without loops. Texts are padded to the fixed length and their real
length is a second input; what is behind it is computed and never looked at. XNNPACK packs a copy
of the recurrent weights for every step, so memory grows with the length.
"""

from __future__ import annotations

import numpy as np

from edgeseq_converters.convert.lower.recurrent import cells, emitted
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.lower.recurrent.loop import LoopGroup
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network_layers import GATES, Cell, Recurrent


def run(group: LoopGroup, flow: Flow) -> GraphTensor:
    """What the group collects (`emitted.run`)."""

    def direction(layer: Recurrent, cell: Cell, name: str, values: GraphTensor) -> GraphTensor:
        entering = group.bottom_weights if layer is group.layers[0] else group.weights
        projected = entering.product(values, f"{layer.name}/{name}/kernel", cell.kernel, cell.bias)
        return _steps(group, f"{layer.name}/{name}", cell, projected)

    return emitted.run(group, flow, direction)


def _steps(group: LoopGroup, name: str, cell: Cell, projected: GraphTensor) -> GraphTensor:
    """What the kernel made of the input [T, g·H] → states [T, H]."""
    graph, steps = projected.graph, projected.shape[0]
    weights = group.weights

    def product(hidden: GraphTensor, begin: int, end: int) -> GraphTensor:
        kernel, bias = cell.recurrent_kernel[:, begin:end], cell.recurrent_bias
        # Only a GRU that resets before it multiplies asks for its last columns alone.
        return weights.product(
            hidden, f"{name}/{'candidate' if begin else 'recurrent'}", kernel, bias
        )

    hidden = graph.constant("zero", np.zeros((1, cell.hidden_size), np.float32))
    state, states = hidden, []
    step_inputs = [projected] if steps == 1 else op.split(projected, steps, 0)
    for row in step_inputs:
        if cell.kind == "gru":
            hidden = cells.gru(row, hidden, product, cell)
        else:
            gates = op.add(row, product(hidden, 0, GATES[cell.kind] * cell.hidden_size))
            hidden, state = cells.advance(gates, state, cell)
        states.append(hidden)
    return op.concatenate(states, 0)
