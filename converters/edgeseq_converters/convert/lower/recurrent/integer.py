"""Static recipes: the arithmetic of a network in integers, from calibrated ranges.

Weights and activations are int8. Inputs and states of a recurrent layer lie side by side on one
scale, so one product a step gives the gates with a single rounding; a projection before the loop
would add two more (its own and that of the sum), and on x86-64 a product of one row runs at the
same rate as a large one. To share the scale of the states, inputs are stretched and their kernel
rows shrunk: embedded tokens in the table, other inputs by a product with a constant, which leaves
their integers as they are.

Formulas: TFLite's quantization specification. LOGISTIC and TANH have the fixed output scales that
it prescribes (1/256 with zero point −128, 1/128).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseq.tasks.word_features import WORD_FEATURES
from edgeseq_converters.convert.lower.recurrent import layers
from edgeseq_converters.convert.quantize.recurrent_ranges import Ranges
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor
from edgeseq_converters.convert.tflite.quantization import (
    Quantization,
    quantize,
    quantize_rows,
    symmetric,
)
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    HARD_SIGMOID_SLOPES,
    AttentionPool,
    Dense,
    FloatInput,
    Function,
    Layer,
    MarkedPool,
    Pool,
    Recurrent,
)

BOUNDED = Quantization((1 / 128,), (0,))
"""Of everything within −1..1: what a tanh gives, and the states that it leads to."""
OPENING = Quantization((1 / 256,), (-128,))
"""Of everything within 0..1: what a sigmoid gives."""
LIMITS: dict[Function, float] = {
    "sigmoid": 8.0,
    "tanh": 8.0,
    **{name: 0.5 / slope for name, slope in HARD_SIGMOID_SLOPES.items()},
}
"""Where a function saturates (σ(8) = 0.9997): an input beyond it changes nothing."""
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True)
class Stretch:
    """How the inputs of a recurrent layer were moved to the scale of its states: a factor and an
    offset for each, both [in]."""

    factors: FloatArray
    offsets: FloatArray

    def undone(self, kernel: FloatArray, bias: FloatArray) -> tuple[FloatArray, FloatArray]:
        """A kernel [in, out] and bias [out] that give for stretched inputs what `kernel` and
        `bias` give for the inputs themselves."""
        shrunk = kernel / self.factors[:, None]
        return shrunk, bias - self.offsets @ shrunk if self.offsets.any() else bias


@dataclass(frozen=True)
class Integers:
    """How a network's tensors become integers."""

    network: Network
    ranges: Ranges

    def within(self, *names: str, limit: float = np.inf) -> Quantization:
        """A symmetric scale for these tensors, as far as ±`limit`."""
        return symmetric(min(self.ranges.largest(*names), limit), 8)

    def of_directions(self, layer: Recurrent, *tensors: str, limit: float = np.inf) -> Quantization:
        """A scale for these tensors of a recurrent layer, both directions on one."""
        directions = DIRECTIONS[: len(layer.cells)]
        names = [f"{layer.name}/{d}/{tensor}" for tensor in tensors for d in directions]
        return self.within(*names, limit=limit)

    def hidden(self, layer: Recurrent) -> Quantization:
        """Of a recurrent layer's states."""
        if layer.forward.is_bounded:
            return BOUNDED
        # A GRU's candidates are on the scale of its states.
        tensors = ("hidden", "new") if layer.forward.kind == "gru" else ("hidden",)
        return self.of_directions(layer, *tensors)

    def product(
        self,
        x: GraphTensor,
        name: str,
        kernel: FloatArray,
        bias: FloatArray,
        into: Quantization,
    ) -> GraphTensor:
        """Integers x [m, in] times `kernel` [in, out] plus `bias` [out] → integers [m, out]."""
        graph, input_scale = x.graph, scale_of(x)
        rows, scales = quantize_rows(np.ascontiguousarray(kernel.T))
        weights = graph.constant(name, rows, scales)
        steps = tuple(input_scale * scale for scale in scales.scales)
        limits = np.iinfo(np.int32)
        sums = np.clip(np.rint(bias / np.asarray(steps)), limits.min, limits.max)
        added = Quantization(steps, (0,) * len(steps))
        bias_tensor = graph.constant(f"{name}/bias", sums.astype(np.int32), added)
        return op.fully_connected(x, weights, bias_tensor, into)

    def lookup(self, ids: GraphTensor, *, stretched: bool) -> GraphTensor:
        """Rows int8 of the table for `ids` [n], on their own scale or stretched to that of the
        first layer's states: [n, size]."""
        embedding = self.network.embedding
        scale = self._part_scale("tokens", stretched=stretched)
        return self._looked_up(ids, embedding.name, embedding.table, scale, stretched=stretched)

    def lookup_features(self, rows: GraphTensor, *, stretched: bool) -> GraphTensor:
        """The same of the table of word features for `rows` [n]."""
        table = self.network.embedding.word_features
        if table is None:
            raise ValueError("a network without word features has no table of them")
        scale = self._part_scale("words", stretched=stretched)
        return self._looked_up(rows, WORD_FEATURES, table, scale, stretched=stretched)

    def _looked_up(
        self,
        ids: GraphTensor,
        name: str,
        table: FloatArray,
        scale: Quantization,
        *,
        stretched: bool,
    ) -> GraphTensor:
        stored, first = quantize(table, scale, "int8"), self._reader
        if stretched and first is not None:
            scale = self.hidden(first)
        return op.gather(ids.graph.constant(name, stored, scale), ids)

    def _part_scale(self, part: Literal["tokens", "words"], *, stretched: bool) -> Quantization:
        """Of the table of tokens or of word features: each has its own where the first layer's
        kernel undoes the stretch of its columns."""
        has_words = self.network.embedding.word_features is not None
        if not has_words or not stretched or self._reader is None:
            return self._entered
        return self.within(f"{self.network.input.name}/{part}")

    def enter(self, numbers: GraphTensor, *, stretched: bool) -> GraphTensor:
        """An input float32 [n, features] on the scale of its range or, each feature from its lowest
        to its highest value, stretched to that of the first layer's states: [n, features]."""
        first = self._reader
        if not stretched or first is None:
            return op.quantize(numbers, "int8", self._entered)
        graph, stretch = numbers.graph, self._stretch_of_entry(first)
        factor = graph.constant("stretch", stretch.factors)
        moved = op.add(op.multiply(numbers, factor), graph.constant("offset", stretch.offsets))
        return op.quantize(moved, "int8", self.hidden(first))

    @property
    def _reader(self) -> Recurrent | None:
        """The recurrent layer that alone reads the network's input, which is stretched for it."""
        first, name = self.network.layers[0], self.network.input.name
        readers = [layer for layer in self.network.layers if name in self.network.sources(layer)]
        alone = len(readers) == 1 and readers[0] is first
        return first if alone and isinstance(first, Recurrent) else None

    @property
    def _entered(self) -> Quantization:
        """Of embedded tokens, or of an input of numbers."""
        return self.within(f"{self.network.input.name}/output")

    def _stretch_of_entry(self, first: Recurrent) -> Stretch:
        """That of what the first layer reads; of an embedded token one factor for its own row, one
        for those of its word's features, and no offset."""
        entry, into = self.network.input, self.hidden(first).scales[0]
        if not isinstance(entry, FloatInput):
            tokens, words = (
                into / scale.scales[0]
                for scale in (
                    self._part_scale("tokens", stretched=True),
                    self._part_scale("words", stretched=True),
                )
            )
            sizes = (entry.table.shape[1], entry.word_width)
            factors = np.repeat(np.asarray([tokens, words], np.float32), sizes)
            return Stretch(factors, np.zeros_like(factors))
        names = [f"{entry.name}/feature/{index}" for index in range(entry.features)]
        low, high = np.asarray([self.ranges.of(name) for name in names]).T
        factors = 127 * into / np.maximum((high - low) / 2, 1e-8)
        offsets = -(low + high) / 2 * factors
        return Stretch(factors.astype(np.float32), offsets.astype(np.float32))

    def stretched(self, layer: Recurrent, x: GraphTensor) -> tuple[GraphTensor, Stretch]:
        """A recurrent layer's input on the scale of its states, and how it was stretched for it."""
        into = self.hidden(layer)
        if layer is self._reader:
            return x, self._stretch_of_entry(layer)
        if x.quantization == into:
            return x, _uniform(x.shape[1], 1.0)
        zero = 0 if x.quantization is None else x.quantization.zero_points[0]
        # With a zero point of −128 the integers reach up to 255 steps.
        factor = into.scales[0] / (scale_of(x) * (1 if zero == 0 else 2))
        stretch = _uniform(x.shape[1], factor)
        return op.multiply(x, self.number(x.graph, factor), into), stretch

    def number(self, graph: Graph, value: float) -> GraphTensor:
        """One number that is not negative."""
        return graph.constant("number", np.asarray([127], np.int8), symmetric(value, 8))

    def dense(self, layer: Dense, x: GraphTensor) -> GraphTensor:
        """x [m, in] → [m, out]; a softmax is left to the float end of the network."""
        into = self.within(f"{layer.name}/sums", limit=LIMITS.get(layer.function, np.inf))
        x = self.product(x, layer.name, layer.kernel, layer.bias, into)
        is_end = layer is self.network.layers[-1] and layer.function == "softmax"
        return x if is_end else self.function(x, layer.function)

    def function(self, x: GraphTensor, name: Function) -> GraphTensor:
        """A function by element; a softmax over the features and a softsign, which have no
        integer operator or none with such a scale, in float32."""
        if name == "linear":
            return x
        if name == "relu":
            return op.unary("RELU", x)
        if name == "tanh":
            return op.unary("TANH", x, BOUNDED)
        if name == "sigmoid":
            return op.unary("LOGISTIC", x, OPENING)
        if name in HARD_SIGMOID_SLOPES:
            # −1/2..1/2 is all that the integers of the line hold: it is cut off at both ends.
            slope = self.number(x.graph, HARD_SIGMOID_SLOPES[name])
            line = op.multiply(x, slope, Quantization((1 / 256,), (0,)))
            return op.add(line, self.number(x.graph, 0.5), OPENING)
        exact = layers.function(op.dequantize(x), name)
        return op.quantize(exact, "int8", OPENING if name == "softmax" else BOUNDED)

    def again(self, layer: Layer, values: GraphTensor, before: GraphTensor) -> GraphTensor:
        """Integers of what a layer gave in float32 for the integers `before`; a pooling of states
        stays on their scale."""
        is_mean = isinstance(layer, AttentionPool | MarkedPool) or (
            isinstance(layer, Pool) and layer.how != "sum"
        )
        stays = is_mean and before.quantization == BOUNDED
        scale = BOUNDED if stays else self.within(f"{layer.name}/output")
        return op.quantize(values, "int8", scale)

    def merge(self, layer: Recurrent, parts: list[GraphTensor]) -> GraphTensor:
        """The directions' states [n, H] as the layer's merge says: [n, features]."""
        if len(parts) == 1:
            return parts[0]
        if layer.merge == "concat":
            return op.concatenate(parts, 1)
        into = self.within(f"{layer.name}/output")
        forward, backward = parts
        if layer.merge == "mul":
            return op.multiply(forward, backward, into)
        if layer.merge == "sum":
            return op.add(forward, backward, into)
        both = op.add(forward, backward, Quantization((2 * scale_of(forward),), (0,)))
        return op.multiply(both, self.number(both.graph, 0.5), self.hidden(layer))


def _uniform(size: int, factor: float) -> Stretch:
    return Stretch(np.full(size, factor, np.float32), np.zeros(size, np.float32))


def scale_of(x: GraphTensor) -> float:
    """The scale of integers."""
    if x.quantization is None:
        raise ValueError("numbers without a scale")
    return x.quantization.scales[0]
