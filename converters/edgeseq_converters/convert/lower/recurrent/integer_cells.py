"""One step of an LSTM, a GRU or a simple RNN in integers, for one direction or several.

A GRU's state is int16: what a step adds to it, (1 − z)·(c − h), is below half a step of int8 as
soon as z is near 1, and the state would not move. Its products read it in int8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeseq_converters.convert.lower.recurrent.integer import (
    DIRECTIONS,
    LIMITS,
    Integers,
    Stretch,
    scale_of,
)
from edgeseq_converters.convert.lower.recurrent.loop import state_names
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor
from edgeseq_converters.convert.tflite.quantization import Quantization
from edgeseq_converters.convert.tflite.stored_model import Dtype
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import Cell, Recurrent

States = tuple[GraphTensor, ...]
"""h [d, H], and an LSTM's c [d, H]."""


@dataclass(frozen=True)
class IntegerLayer:
    """A recurrent layer's steps; of the direction `only`, or of all that it has."""

    integers: Integers
    layer: Recurrent
    only: str | None = None

    @property
    def cell(self) -> Cell:
        return self.layer.forward

    def storage(self) -> list[tuple[Dtype, Quantization]]:
        """The type and the scale of each state."""
        hidden = self.integers.hidden(self.layer)
        if self.cell.kind == "gru":
            return [("int16", _finer(hidden))]
        if self.cell.kind == "rnn":
            return [("int8", hidden)]
        return [("int8", hidden), ("int8", self.integers.of_directions(self.layer, "cell"))]

    def start(self, graph: Graph, number: int, rows: int) -> dict[str, GraphTensor]:
        """Zero states by name, as the layer `number` of a group has them: [rows, H]."""
        shape = (rows, self.cell.hidden_size)
        return {
            name: graph.constant("zero", np.zeros(shape, dtype), scale)
            for name, (dtype, scale) in zip(
                state_names(self.layer, number), self.storage(), strict=True
            )
        }

    def states(self, hidden: GraphTensor) -> GraphTensor:
        """The layer's output int8 of its state h."""
        if hidden.dtype == "int8":
            return hidden
        return op.quantize(hidden, "int8", self.integers.hidden(self.layer))

    def step(self, x: GraphTensor, stretch: Stretch, states: States) -> States:
        """x [d, in], stretched to the scale of h, and the states → the new ones."""
        if self.cell.kind == "lstm":
            return self._lstm(x, stretch, *states)
        if self.cell.kind == "gru":
            return (self._gru(x, stretch, *states),)
        gates = self._gates(x, stretch, *states)
        hidden = self.integers.function(gates, self.cell.function)
        into = self.integers.hidden(self.layer)
        same = hidden.quantization == into
        return (hidden if same else op.quantize(hidden, "int8", into),)

    def _lstm(self, x: GraphTensor, stretch: Stretch, h: GraphTensor, c: GraphTensor) -> States:
        cell, integers = self.cell, self.integers
        i, f, g, o = op.split(self._gates(x, stretch, h), 4, 1)
        i, f, o = (integers.function(gate, cell.gate_function) for gate in (i, f, o))
        candidate = integers.function(g, cell.function)
        new = op.multiply(i, candidate, candidate.quantization)
        _, (_, into) = self.storage()
        c = op.add(op.multiply(f, c, into), new, into)
        hidden = integers.hidden(self.layer)
        return op.multiply(o, integers.function(c, cell.function), hidden), c

    def _gates(self, x: GraphTensor, stretch: Stretch, h: GraphTensor) -> GraphTensor:
        """x·W + h·U + b of all gates at once: [d, g·H]."""

        def arrays(cell: Cell) -> tuple[FloatArray, FloatArray]:
            return _joined(cell, stretch, cell.bias)

        functions = [self.cell.function]
        if self.cell.kind != "rnn":
            functions.append(self.cell.gate_function)
        limit = max(LIMITS.get(function, np.inf) for function in functions)
        into = self.integers.of_directions(self.layer, "gates", limit=limit)
        return self._product(op.concatenate([x, h], 1), "both", arrays, into)

    def _gru(self, x: GraphTensor, stretch: Stretch, h: GraphTensor) -> GraphTensor:
        """c + z·(h − c), as `cells.gru` has it."""
        cell, integers, size = self.cell, self.integers, self.cell.hidden_size
        read = self.states(h)

        def gates(cell: Cell) -> tuple[FloatArray, FloatArray]:
            bias = cell.bias if cell.recurrent_bias is None else cell.bias + cell.recurrent_bias
            kernel, bias = _joined(cell, stretch, bias)
            return kernel[:, : 2 * size], bias[: 2 * size]

        limit = LIMITS.get(cell.gate_function, np.inf)
        into = integers.of_directions(self.layer, "gates", limit=limit)
        both = self._product(op.concatenate([x, read], 1), "both", gates, into)
        z, r = (integers.function(gate, cell.gate_function) for gate in op.split(both, 2, 1))
        candidate = integers.function(self._candidate(x, stretch, read, r), cell.function)
        fine = _finer(integers.hidden(self.layer))
        wide = op.quantize(candidate, "int16", fine)
        difference = op.elementwise("SUB", h, wide, Quantization((2 * fine.scales[0],), (0,)))
        opening = Quantization((scale_of(z) / 128,), (0,))
        kept = op.multiply(op.quantize(z, "int16", opening), difference, difference.quantization)
        return op.add(wide, kept, fine)

    def _candidate(
        self, x: GraphTensor, stretch: Stretch, h: GraphTensor, r: GraphTensor
    ) -> GraphTensor:
        """x·W + r·(h·U + u), or x·W + (r·h)·U without a recurrent bias: [d, H]."""
        cell, integers, begin = self.cell, self.integers, 2 * self.cell.hidden_size
        limit = LIMITS.get(cell.function, np.inf)
        into = integers.of_directions(self.layer, "candidate", limit=limit)
        if cell.recurrent_bias is None:

            def joined(cell: Cell) -> tuple[FloatArray, FloatArray]:
                kernel, bias = _joined(cell, stretch, cell.bias)
                return kernel[:, begin:], bias[begin:]

            reset = op.multiply(r, h, integers.hidden(self.layer))
            return self._product(op.concatenate([x, reset], 1), "candidate", joined, into)

        def parts(cell: Cell) -> tuple[FloatArray, FloatArray]:
            """x·W and h·U + u side by side: a kernel with two blocks."""
            bias = np.zeros_like(cell.bias) if cell.recurrent_bias is None else cell.recurrent_bias
            new, added = stretch.undone(cell.kernel[:, begin:], cell.bias[begin:])
            old = cell.recurrent_kernel[:, begin:]
            blocks = np.block(
                [[new, np.zeros((len(new), begin // 2))], [np.zeros((len(old), begin // 2)), old]]
            )
            return blocks.astype(np.float32), np.concatenate([added, bias[begin:]])

        both = integers.of_directions(self.layer, "candidate_input", "candidate_state")
        joined_rows = op.concatenate([x, h], 1)
        new, old = op.split(self._product(joined_rows, "candidate", parts, both), 2, 1)
        return op.add(new, op.multiply(r, old, both), into)

    def _product(
        self,
        rows: GraphTensor,
        label: str,
        arrays: Callable[[Cell], tuple[FloatArray, FloatArray]],
        into: Quantization,
    ) -> GraphTensor:
        """rows [d, in] → [d, out], each row by the kernel and bias `arrays` of its direction."""
        name = self.layer.name
        cells = dict(zip(DIRECTIONS, self.layer.cells, strict=False))
        if self.only is not None:
            cells = {self.only: cells[self.only]}
        parts = [rows] if len(cells) == 1 else op.split(rows, 2, 0)
        products = [
            self.integers.product(part, f"{name}/{direction}/{label}", *arrays(cell), into)
            for part, (direction, cell) in zip(parts, cells.items(), strict=True)
        ]
        return products[0] if len(products) == 1 else op.concatenate(products, 0)


def _joined(cell: Cell, stretch: Stretch, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The kernels of input, shrunk, and state, one above the other, [in + H, g·H], and the bias."""
    kernel, bias = stretch.undone(cell.kernel, bias)
    return np.concatenate([kernel, cell.recurrent_kernel]), bias


def _finer(scale: Quantization) -> Quantization:
    """The same range in int16."""
    return Quantization((scale.scales[0] / 256,), (0,))
