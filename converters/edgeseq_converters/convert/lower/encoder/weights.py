"""An encoder's arrays by name, and the products and lookups that are made of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseq_converters.convert.lower.encoder import static
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor
from edgeseq_converters.convert.tflite.quantization import quantize_rows, quantize_whole
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE


@dataclass(frozen=True)
class Arrays:
    """The arrays of a model by name, and how to store them; vectors are float32 whatever the
    recipe. Products of layers that have `ranges` are static
    (`edgeseq_converters.convert.lower.encoder.static`).
    """

    arrays: dict[str, FloatArray]
    numbers: WeightFormat
    ranges: dict[str, static.LinearRange] = field(default_factory=dict)

    def linear(self, x: GraphTensor, name: str) -> GraphTensor:
        """x [n, in] through the linear layer `name` → [n, out]."""
        return self.product(x, name, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"])

    def product(
        self,
        x: GraphTensor,
        name: str,
        rows: FloatArray,
        bias: FloatArray,
        *,
        inputs: str | None = None,
        factor: float = 1.0,
    ) -> GraphTensor:
        """x [n, in] times `rows` [out, in], plus `bias` [out] → [n, out]; `inputs` is a linear
        layer that has the same inputs, if not `name`, and `factor` what `rows` and `bias` are
        multiplied by."""
        if self.ranges and (inputs or name) in self.ranges:
            of = self.ranges[inputs or name]
            stored = quantize_rows(rows) if self.numbers.row_scales else quantize_whole(rows)
            return static.product(x, name, stored, bias, of, factor=factor)
        added = x.graph.constant(f"{name}.bias", bias)
        matrix = self.numbers.matrix(x.graph, f"{name}.weight", rows.T, inputs or name)
        return op.fully_connected(x, matrix, added)

    def vector(self, graph: Graph, name: str) -> GraphTensor:
        """A scale or shift."""
        return graph.constant(name, self.arrays[name])

    def lookup_words(self, ids: GraphTensor, decoder: str | None = None) -> GraphTensor:
        """Rows float32 [n, size] of the words `ids` int32 [n]; `decoder` is the product that has
        them as its matrix."""
        return self.numbers.lookup_words(ids, WORD_TABLE, self.arrays[WORD_TABLE], decoder)

    def lookup(self, ids: GraphTensor, name: str, table: FloatArray) -> GraphTensor:
        """Rows float32 [n, size] of a table that is not that of words, for `ids` int32 [n]."""
        return self.numbers.lookup(ids, name, table)
