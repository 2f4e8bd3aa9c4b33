"""An encoder's arrays as constants of a graph, in the storage that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.encoder import static
from edgeseq_converters.encoder.rounding import Moments, round_rows_int4
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Graph, Tensor
from edgeseq_converters.tflite_writer.quantization import (
    pack_int4,
    quantize_rows,
    quantize_rows_int4,
    quantize_whole,
)

Storage = Literal["float32", "float16", "int8", "int4"]


@dataclass(frozen=True)
class Arrays:
    """The arrays of a model by name, and how to store them.

    int8, int4: every row of a matrix or table has a scale of its own. `dynamic`: integer products,
    for which the runtime quantizes activations; otherwise weights are turned into float32 before
    use. Vectors are float32 whatever the recipe. `moments` are those of the inputs of each linear
    layer, for int4 (`edgeseq_converters.encoder.rounding`); what has none is rounded by itself.
    Products of layers that have `ranges` are static (`edgeseq_converters.encoder.static`).
    `row_scales` off: one scale a matrix, and tables looked up in parts, for older runtimes.
    """

    arrays: dict[str, FloatArray]
    storage: Storage
    dynamic: bool
    moments: Moments = field(default_factory=dict)
    ranges: dict[str, static.LinearRange] = field(default_factory=dict)
    row_scales: bool = True

    def matrix(self, graph: Graph, name: str, rows: FloatArray, inputs: str) -> Tensor:
        """`rows` [out, in] as the second input of a FULLY_CONNECTED; `inputs` is a linear layer
        that has the same inputs."""
        rows = np.ascontiguousarray(rows)
        if self.storage == "float32":
            return graph.constant(name, rows)
        if self.storage == "float16":
            # XNNPACK expands a float16 weight when the model is loaded; it stays so in the file.
            return op.dequantize(graph.constant(name, rows.astype(np.float16)))
        if self.row_scales or self.storage == "int4":
            stored = _integers(graph, name, rows, self.storage, self.moments.get(inputs))
        else:
            stored = graph.constant(name, *quantize_whole(rows))
        return stored if self.dynamic else op.dequantize(stored)

    def linear(self, x: Tensor, name: str) -> Tensor:
        """x [n, in] through the linear layer `name` → [n, out]."""
        return self.product(x, name, self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"])

    def product(
        self,
        x: Tensor,
        name: str,
        rows: FloatArray,
        bias: FloatArray,
        *,
        inputs: str | None = None,
        factor: float = 1.0,
    ) -> Tensor:
        """x [n, in] times `rows` [out, in], plus `bias` [out] → [n, out]; `inputs` is a linear
        layer that has the same inputs, if not `name`, and `factor` what `rows` and `bias` are
        multiplied by."""
        if self.ranges and (inputs or name) in self.ranges:
            of = self.ranges[inputs or name]
            stored = quantize_rows(rows) if self.row_scales else quantize_whole(rows)
            return static.product(x, name, stored, bias, of, factor=factor)
        added = x.graph.constant(f"{name}.bias", bias)
        matrix = self.matrix(x.graph, f"{name}.weight", rows, inputs or name)
        return op.fully_connected(x, matrix, added)

    def vector(self, graph: Graph, name: str) -> Tensor:
        """A scale or shift."""
        return graph.constant(name, self.arrays[name])

    def lookup(self, ids: Tensor, name: str) -> Tensor:
        """Rows float32 [n, size] of the table `name` for `ids` int32 [n]."""
        return self.rows(ids, name, self.arrays[name])

    def rows(self, ids: Tensor, name: str, table: FloatArray) -> Tensor:
        """Rows float32 [n, size] of `table` for `ids` int32 [n].

        Tables beside int4 matrices have int8 rows: a fine-tuned MiniLM-L6 agrees with its float
        answers on 94.4 % of 800 customer sentences so, on 92.3 % with int4 rows.
        """
        graph = ids.graph
        if self.storage == "float32":
            return op.gather(graph.constant(name, table), ids)
        if self.storage == "float16":
            # GATHER takes no float16, so its bits travel as int16. A float16 table behind a
            # DEQUANTIZE would be expanded to float32, whole, when the model is loaded.
            bits = graph.constant(name, table.astype(np.float16).view(np.int16))
            return op.dequantize(op.bitcast(op.gather(bits, ids), "float16"))
        if self.row_scales:
            return op.embedding_lookup(_integers(graph, name, table, "int8"), ids)
        stored, quantization = quantize_rows(table)
        integers = op.cast(op.gather(graph.constant(name, stored), ids), "float32")
        scales = np.asarray(quantization.scales, np.float32)[:, None]
        return op.multiply(integers, op.gather(graph.constant(f"{name}/scales", scales), ids))


def _integers(
    graph: Graph,
    name: str,
    rows: FloatArray,
    storage: Storage,
    moments: npt.NDArray[np.float64] | None = None,
) -> Tensor:
    if storage == "int8":
        return graph.constant(name, *quantize_rows(rows))
    if moments is None:
        stored, quantization = quantize_rows_int4(rows)
    else:
        stored, quantization = round_rows_int4(rows, moments)
    place = graph.writer.buffer(pack_int4(stored))
    return graph.tensor(name, "int4", rows.shape, quantization, buffer=place)
