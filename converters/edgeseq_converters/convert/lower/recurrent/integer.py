"""Static recipes: the arithmetic of a network in integers, from calibrated ranges.

Inputs and states of a layer lie side by side on one scale, so one product a step gives the gates
with a single rounding; a projection before the loop would add two more (its own and that of the
sum), and on x86-64 a product of one row runs at the same rate as a large one. To share the scale
of the states (1/128 in int8), embedded tokens are stored stretched and their kernel rows shrunk.

Formulas: TFLite's quantization specification. LOGISTIC and TANH have the fixed output scales that
it prescribes (int8: 1/256 with zero point −128, 1/128; int16: 1/32768).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeseq_converters.convert.quantize.recurrent_ranges import Ranges
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor
from edgeseq_converters.convert.tflite.quantization import (
    Quantization,
    quantize,
    quantize_rows,
    symmetric,
)
from edgeseq_converters.convert.tflite.stored_model import Dtype
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Cell, Dense, FloatInput, Network, Recurrent

GATE_LIMIT = 8.0
"""σ(8) = 0.9997 and tanh saturates earlier: a gate's input beyond it changes nothing."""

DENSE_FUNCTIONS = ("linear", "relu", "tanh", "sigmoid", "softmax")
"""The functions that a dense layer has in integers."""


@dataclass(frozen=True)
class Integers:
    """How a network's tensors become integers of `dtype` (int8 or int16; weights are int8)."""

    network: Network
    dtype: Dtype
    ranges: Ranges

    @property
    def bits(self) -> int:
        """Of an activation: 8 or 16."""
        return 8 if self.dtype == "int8" else 16

    @property
    def state(self) -> Quantization:
        """Of hidden states and of everything that a tanh gives: −1..1."""
        return Quantization((2.0 ** (1 - self.bits),), (0,))

    @property
    def gate(self) -> Quantization:
        """Of everything that a sigmoid gives: 0..1."""
        if self.dtype == "int8":
            return Quantization((1 / 256,), (-128,))
        return Quantization((1 / 32768,), (0,))

    def within(self, largest: float) -> Quantization:
        """A symmetric scale under which ±`largest` fits."""
        return symmetric(largest, self.bits)

    def product(
        self,
        x: GraphTensor,
        name: str,
        kernel: FloatArray,
        bias: FloatArray,
        into: Quantization,
    ) -> GraphTensor:
        """Integers x [m, in] times `kernel` [in, out] plus `bias` [out] → integers [m, out]."""
        graph, input_range = x.graph, x.quantization
        if input_range is None:
            raise ValueError(f"{name} is given numbers without a scale")
        rows, scales = quantize_rows(np.ascontiguousarray(kernel.T))
        weights = graph.constant(name, rows, scales)
        steps = tuple(input_range.scales[0] * scale for scale in scales.scales)
        wide = "int32" if self.dtype == "int8" else "int64"
        limits = np.iinfo(np.int32)
        sums = np.clip(np.rint(bias / np.asarray(steps)), limits.min, limits.max)
        added = Quantization(steps, (0,) * len(steps))
        bias_tensor = graph.constant(f"{name}/bias", sums.astype(wide), added)
        return op.fully_connected(x, weights, bias_tensor, into)

    def lookup(self, ids: GraphTensor, *, stretched: bool) -> GraphTensor:
        """Rows of the table for `ids` [n], on their own scale or stretched to that of the states:
        [n, size]. The table is int8 whatever the activations are."""
        embedding = self.network.embedding
        small = symmetric(self.embedded_largest, 8)
        stored = quantize(embedding.table, small, "int8")
        scale = Quantization((1 / 128,), (0,)) if stretched else small
        rows = op.gather(ids.graph.constant(embedding.name, stored, scale), ids)
        return rows if self.dtype == "int8" else op.quantize(rows, self.dtype, self.state)

    @property
    def embedded_largest(self) -> float:
        """The largest magnitude that an embedded token, or a number of the input, keeps."""
        return self.ranges.largest(f"{self.network.input.name}/output")

    def enter(self, numbers: GraphTensor, *, stretched: bool) -> GraphTensor:
        """An input float32 [n, features] on a scale of its own or, each feature from its lowest to
        its highest value, stretched to that of the states: [n, features]."""
        if not stretched:
            return op.quantize(numbers, self.dtype, self.within(self.embedded_largest))
        graph, (factors, offsets) = numbers.graph, self._stretch()
        factor = graph.constant("stretch", factors)
        moved = op.add(op.multiply(numbers, factor), graph.constant("offset", offsets))
        return op.quantize(moved, self.dtype, self.state)

    def _stretch(self) -> tuple[FloatArray, FloatArray]:
        """Factors and offsets [inputs] that stretch what the bottom layer reads to the states'
        scale; an embedded token has one factor for all, and no offset."""
        entry = self.network.input
        if not isinstance(entry, FloatInput):
            stretch = (1 / 128) / symmetric(self.embedded_largest, 8).scales[0]
            return np.full(entry.size, stretch, np.float32), np.zeros(entry.size, np.float32)
        names = [f"{entry.name}/feature/{index}" for index in range(entry.features)]
        low, high = np.asarray([self.ranges.of(name) for name in names]).T
        limit = 1 - self.state.scales[0]
        factors = limit / np.maximum((high - low) / 2, 1e-8)
        return factors.astype(np.float32), (-(low + high) / 2 * factors).astype(np.float32)

    def step(
        self,
        layer: Recurrent,
        x: GraphTensor,
        hidden: GraphTensor,
        state: GraphTensor,
        only: str | None = None,
    ) -> tuple[GraphTensor, GraphTensor]:
        """One step of an LSTM layer: x [d, in], hidden and state [d, H] → the new two; of the
        direction `only`, or of all that the layer has."""
        gates = self._gates(layer, op.concatenate([x, hidden], 1), only)
        i, f, g, o = op.split(gates, 4, 1)
        i, f, o = (op.unary("LOGISTIC", gate, self.gate) for gate in (i, f, o))
        new = op.multiply(i, op.unary("TANH", g, self.state), self.state)
        into = self.cell_state(layer)
        state = op.add(op.multiply(f, state, into), new, into)
        return op.multiply(o, op.unary("TANH", state, self.state), self.state), state

    def cell_state(self, layer: Recurrent) -> Quantization:
        """Of the layer's cell state, both directions on one scale."""
        names = [f"{layer.name}/{d}/cell" for d in ("forward", "backward")[: len(layer.cells)]]
        return self.within(self.ranges.largest(*names))

    def _gates(self, layer: Recurrent, joined: GraphTensor, only: str | None) -> GraphTensor:
        """joined [d, in + H] → [d, 4H], each row by its direction's weights."""
        cells = dict(zip(("forward", "backward"), layer.cells, strict=False))
        largest = self.ranges.largest(*(f"{layer.name}/{name}/gates" for name in cells))
        into = self.within(min(largest, GATE_LIMIT))
        if only is not None:
            cells = {only: cells[only]}
        rows = [joined] if len(cells) == 1 else op.split(joined, 2, 0)
        parts = []
        for row, (name, cell) in zip(rows, cells.items(), strict=True):
            kernel, bias = self._both(layer, cell)
            part = self.product(row, f"{layer.name}/{name}/both", kernel, bias, into)
            parts.append(part)
        return parts[0] if len(parts) == 1 else op.concatenate(parts, 0)

    def _both(self, layer: Recurrent, cell: Cell) -> tuple[FloatArray, FloatArray]:
        """The kernel of inputs and states side by side, and the bias."""
        kernel, bias = cell.kernel, cell.bias
        if layer is self.network.layers[0]:
            factors, offsets = self._stretch()
            kernel = kernel / factors[:, None]
            bias = bias - offsets @ kernel if offsets.any() else bias
        return np.concatenate([kernel, cell.recurrent_kernel]), bias

    def dense(self, layer: Dense, x: GraphTensor) -> GraphTensor:
        """x [m, in] → [m, out]; a softmax is left to the float end of the network."""
        if layer.function in ("sigmoid", "tanh"):
            sums = min(self.ranges.largest(f"{layer.name}/sums"), GATE_LIMIT)
        else:
            sums = self.ranges.largest(f"{layer.name}/sums")
        x = self.product(x, layer.name, layer.kernel, layer.bias, self.within(sums))
        if layer.function == "relu":
            return op.unary("RELU", x)
        if layer.function == "tanh":
            return op.unary("TANH", x, self.state)
        return op.unary("LOGISTIC", x, self.gate) if layer.function == "sigmoid" else x

    def zero(self, graph: Graph, rows: int, size: int, value: float = 0.0) -> GraphTensor:
        """A constant [rows, size] of the states' scale."""
        filled = np.full((rows, size), value, np.float32)
        return graph.constant("zero", quantize(filled, self.state, self.dtype), self.state)

    def cell_zero(self, graph: Graph, layer: Recurrent, rows: int) -> GraphTensor:
        """A constant [rows, H]: no cell state."""
        zeros = np.zeros((rows, layer.forward.hidden_size), self.dtype)
        return graph.constant("zero", zeros, self.cell_state(layer))
