"""An encoder's arrays as constants of a graph, in the storage that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.recipes import MIN_QUANTIZED_ELEMENTS
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Graph, Tensor
from edgeseq_converters.tflite_writer.quantization import quantize_rows

Storage = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Arrays:
    """The arrays of a model by name, and how to store them.

    Matrices and tables of fewer than `MIN_QUANTIZED_ELEMENTS` elements stay float32. int8: every
    row of a matrix or table has a scale of its own. `dynamic`: int8 products, for which the
    runtime quantizes activations; otherwise weights are turned into float32 before use.
    """

    arrays: dict[str, FloatArray]
    storage: Storage
    dynamic: bool

    def matrix(self, graph: Graph, name: str, rows: FloatArray) -> Tensor:
        """`rows` [out, in] as the second input of a FULLY_CONNECTED."""
        rows = np.ascontiguousarray(rows)
        if self.storage == "float32" or rows.size < MIN_QUANTIZED_ELEMENTS:
            return graph.constant(name, rows)
        if self.storage == "float16":
            # XNNPACK expands a float16 weight when the model is loaded; it stays so in the file.
            return op.dequantize(graph.constant(name, rows.astype(np.float16)))
        stored = graph.constant(name, *quantize_rows(rows))
        return stored if self.dynamic else op.dequantize(stored)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """x [n, in] through the linear layer `name` → [n, out]."""
        return self.product(x, name, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"])

    def product(self, x: Tensor, name: str, rows: FloatArray, bias: FloatArray) -> Tensor:
        """x [n, in] times `rows` [out, in], plus `bias` [out] → [n, out]."""
        added = x.graph.constant(f"{name}.bias", bias)
        return op.fully_connected(x, self.matrix(x.graph, f"{name}.weight", rows), added)

    def vector(self, graph: Graph, name: str) -> Tensor:
        """A scale, shift or bias, float32 whatever the recipe."""
        return graph.constant(name, self.arrays[name])

    def lookup(self, ids: Tensor, name: str) -> Tensor:
        """Rows float32 [n, size] of the table `name` for `ids` int32 [n]."""
        table, graph = self.arrays[name], ids.graph
        if self.storage == "float32" or table.size < MIN_QUANTIZED_ELEMENTS:
            return op.gather(graph.constant(name, table), ids)
        if self.storage == "float16":
            return _half_rows(graph, name, table, ids)
        return op.embedding_lookup(graph.constant(name, *quantize_rows(table)), ids)

    def positions(self, places: Tensor, name: str, table: FloatArray) -> Tensor:
        """Rows float32 [n, size] of the table of positions.

        Not below float16: it is 1 % of a model, and every token's states start with its rounding.
        """
        if self.storage == "float32":
            return op.gather(places.graph.constant(name, table), places)
        return _half_rows(places.graph, name, table, places)


def _half_rows(graph: Graph, name: str, table: FloatArray, places: Tensor) -> Tensor:
    # GATHER takes no float16, so its bits travel as int16. A float16 table behind a DEQUANTIZE
    # would be expanded to float32, whole, when the model is loaded.
    bits = graph.constant(name, table.astype(np.float16).view(np.int16))
    return op.cast(op.bitcast(op.gather(bits, places), "float16"), "float32")
