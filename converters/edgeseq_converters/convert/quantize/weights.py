"""Matrices and tables as constants of a graph, in the storage that a recipe asks for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgeseq_converters.convert.quantize.gptq import (
    Moments,
    round_rows_int4,
    round_rows_int8,
)
from edgeseq_converters.convert.recipes import Recipe, Storage
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor
from edgeseq_converters.convert.tflite.quantization import (
    Quantization,
    quantize_rows,
    quantize_rows_int4,
    quantize_whole,
)
from edgeseq_converters.models.arrays import FloatArray

Rounded = tuple[npt.NDArray[np.int8], Quantization]
_UNIT = Quantization((1.0,), (0,))
"""Of a table whose per-row scales are stored as a second table."""


@dataclass(frozen=True)
class WeightFormat:
    """How weights are stored and multiplied when activations are float32: matrices in `storage`,
    the rows of words in `words` (None: as other tables are, which are int8 beside int4 matrices).

    int8, int4: matrices are quantized per channel and tables per row. `dynamic`: integer
    products, for which the runtime quantizes activations; otherwise weights are turned into
    float32 before use. Matrices are rounded for the `moments` of what flows into them
    (`edgeseq_converters.convert.quantize.gptq`); one that has none is rounded by itself.
    `row_scales` off is for
    runtimes that know one scale a matrix only, and tables looked up in parts; int4 needs newer
    ones in any case.
    """

    storage: Storage
    dynamic: bool = False
    words: Storage | None = None
    row_scales: bool = True
    moments: Moments = field(default_factory=dict)
    # Rounding takes a while, and an unrolled network asks for one matrix at every step.
    _rounded: dict[tuple[str | None, bytes], Rounded] = field(default_factory=dict)

    @classmethod
    def of(
        cls, recipe: Recipe, *, row_scales: bool = True, moments: Moments | None = None
    ) -> WeightFormat:
        """That of a recipe whose activations are float32."""
        return cls(recipe.weights, recipe.dynamic, recipe.embedding, row_scales, moments or {})

    def matrix(
        self,
        graph: Graph,
        name: str,
        kernel: FloatArray,
        inputs: str | None = None,
        *,
        shape: Sequence[int] = (),
    ) -> GraphTensor:
        """The second input [out, in] of a FULLY_CONNECTED for a kernel [in, out]; `inputs` is a
        product whose moments are those of this one, if not `name`. With `shape` that of another
        operator, whose first axis is `out`."""
        rows = np.ascontiguousarray(kernel.T)
        shape = shape or rows.shape
        if self.storage == "float32":
            return graph.constant(name, rows.reshape(shape))
        if self.storage == "float16":
            # XNNPACK expands a float16 weight when the model is loaded; it stays so in the file.
            return op.dequantize(graph.constant(name, rows.astype(np.float16).reshape(shape)))
        if self.storage == "int4":
            stored = graph.constant(name, *self._int4(rows, inputs or name), int4=True)
        else:
            numbers, scales = self._int8(rows, inputs or name)
            stored = graph.constant(name, numbers.reshape(shape), scales)
        return stored if self.dynamic else op.dequantize(stored)

    def product(
        self, x: GraphTensor, name: str, kernel: FloatArray, bias: FloatArray | None = None
    ) -> GraphTensor:
        """x [n, in] times `kernel` [in, out], plus `bias` [out] → [n, out]."""
        graph = x.graph
        added = None if bias is None else graph.constant(f"{name}/bias", bias)
        return op.fully_connected(x, self.matrix(graph, name, kernel), added)

    def convolution(
        self, x: GraphTensor, name: str, kernel: FloatArray, bias: FloatArray, stride: int = 1
    ) -> GraphTensor:
        """Windows of x [n, in], `stride` rows apart, times `kernel` [size, in, out], plus `bias`
        [out] → [rows, out]. Not for int4, which the operator has not."""
        size, inputs, outputs = kernel.shape
        flat = kernel.reshape(size * inputs, outputs)
        filters = self.matrix(x.graph, name, flat, shape=(outputs, 1, size, inputs))
        return op.convolve_rows(x, filters, x.graph.constant(f"{name}/bias", bias), stride)

    def lookup_words(
        self, ids: GraphTensor, name: str, table: FloatArray, decoder: str | None = None
    ) -> GraphTensor:
        """Rows float32 [n, size] of the words `ids` int32 [n]. `decoder` is a product that has
        them as its matrix: in int4 they are rounded for it, which costs the rows less than the
        logits gain, and are stored once."""
        storage = self.words or self._table_storage()
        return self._looked_up(ids, name, table, storage, decoder)

    def lookup(self, ids: GraphTensor, name: str, table: FloatArray) -> GraphTensor:
        """Rows float32 [n, size] of a table that is not that of words, for `ids` int32 [n].

        Never int4: the positions of a fine-tuned MiniLM-L6 in int4 cost a point (decision 72).
        """
        return self._looked_up(ids, name, table, self._table_storage())

    def _table_storage(self) -> Storage:
        return "int8" if self.storage == "int4" else self.storage

    def _looked_up(
        self,
        ids: GraphTensor,
        name: str,
        table: FloatArray,
        storage: Storage,
        decoder: str | None = None,
    ) -> GraphTensor:
        graph = ids.graph
        if storage == "float32":
            return op.gather(graph.constant(name, table), ids)
        if storage == "float16":
            # GATHER takes no float16: its bits travel as int16. DEQUANTIZE and not CAST, which
            # in tflite-runtime 2.14 does not know float16. A float16 table behind a DEQUANTIZE
            # would be expanded to float32, whole, when the model is loaded.
            bits = graph.constant(name, table.astype(np.float16).view(np.int16))
            return op.dequantize(op.bitcast(op.gather(bits, ids), "float16"))
        size = table.shape[1]
        odd = storage == "int4" and size % 2 == 1
        if decoder is not None and self.row_scales and not odd:
            # One tensor for the lookup and for the product, which needs a scale a row.
            rounded = self._int4(table, decoder) if storage == "int4" else quantize_rows(table)
            shared = graph.constant(name, *rounded, int4=storage == "int4")
            return op.embedding_lookup(shared, ids)
        if storage == "int4":
            # The runtime looks for a row at whole bytes: one of an odd size gets a zero behind it.
            stored, quantization = self._int4(np.pad(table, ((0, 0), (0, size % 2))))
            numbers = op.embedding_lookup(graph.constant(name, stored, _UNIT, int4=True), ids)
            numbers = op.columns(numbers, 0, size) if odd else numbers
        else:
            # Not EMBEDDING_LOOKUP: it turns int8 into float32 number by number.
            stored, quantization = quantize_rows(table)
            numbers = op.dequantize(op.gather(graph.constant(name, stored, _UNIT), ids))
        # A scale a row in the quantization would have a zero point of 8 bytes beside it.
        scales = np.asarray(quantization.scales, np.float32)[:, None]
        return op.multiply(numbers, op.gather(graph.constant(f"{name}/scales", scales), ids))

    def _int4(self, rows: FloatArray, inputs: str | None = None) -> Rounded:
        """`rows` rounded for the moments of the product `inputs`, if there are any."""
        moments = None if inputs is None else self.moments.get(inputs)
        key = (inputs if moments is not None else None, hashlib.sha256(rows.tobytes()).digest())
        if key not in self._rounded:
            self._rounded[key] = (
                quantize_rows_int4(rows) if moments is None else round_rows_int4(rows, moments)
            )
        return self._rounded[key]

    def _int8(self, rows: FloatArray, inputs: str) -> Rounded:
        """The same in int8."""
        moments = self.moments.get(inputs)
        if moments is None:
            return (quantize_rows if self.row_scales else quantize_whole)(rows)
        key = (inputs, hashlib.sha256(rows.tobytes()).digest())
        if key not in self._rounded:
            self._rounded[key] = round_rows_int8(rows, moments, row_scales=self.row_scales)
        return self._rounded[key]
