"""Arrays of a network as constants of a graph, in the storage that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.network import Embedding
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Graph, Tensor
from edgeseq_converters.tflite_writer.quantization import quantize_rows, quantize_whole

Storage = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored and multiplied when activations are float32.

    `storage` int8: every row of a matrix and of the table has a scale of its own, unless
    `scale_per_row` is off, for runtimes that know one scale a matrix only. `dynamic`: int8
    products, for which the runtime quantizes activations; otherwise weights are turned into
    float32 before use.
    """

    storage: Storage
    dynamic: bool = False
    scale_per_row: bool = True

    def matrix(self, graph: Graph, name: str, kernel: FloatArray) -> Tensor:
        """The second input [out, in] of a FULLY_CONNECTED for a kernel [in, out]."""
        rows = np.ascontiguousarray(kernel.T)
        if self.storage == "float32":
            return graph.constant(name, rows)
        if self.storage == "float16":
            # XNNPACK expands a float16 weight when the model is loaded; it stays so in the file.
            return op.dequantize(graph.constant(name, rows.astype(np.float16)))
        quantized = quantize_rows if self.scale_per_row else quantize_whole
        stored = graph.constant(name, *quantized(rows))
        return stored if self.dynamic else op.dequantize(stored)

    def product(
        self, x: Tensor, name: str, kernel: FloatArray, bias: FloatArray | None = None
    ) -> Tensor:
        """x [n, in] times `kernel` [in, out], plus `bias` [out] → [n, out]."""
        graph = x.graph
        added = None if bias is None else graph.constant(f"{name}/bias", bias)
        return op.fully_connected(x, self.matrix(graph, name, kernel), added)

    def lookup(self, embedding: Embedding, ids: Tensor) -> Tensor:
        """Rows float32 [n, size] of the table for `ids` int32 [n]."""
        graph, table = ids.graph, embedding.table
        if self.storage == "float32":
            return op.gather(graph.constant(embedding.name, table), ids)
        if self.storage == "float16":
            # GATHER takes no float16: its bits travel as int16. DEQUANTIZE and not CAST, which
            # in tflite-runtime 2.14 does not know float16.
            bits = graph.constant(embedding.name, table.astype(np.float16).view(np.int16))
            return op.dequantize(op.bitcast(op.gather(bits, ids), "float16"))
        stored, scales = quantize_rows(table)
        if self.scale_per_row:
            return op.embedding_lookup(graph.constant(embedding.name, stored, scales), ids)
        # Runtimes that know no scale a row: the scales are a table of their own.
        rows = op.cast(op.gather(graph.constant(embedding.name, stored), ids), "float32")
        column = np.asarray(scales.scales, np.float32)[:, None]
        return op.multiply(rows, op.gather(graph.constant("scales", column), ids))
