"""Operators that encoders need beside those of `operators`: each gives its output tensor.

The version of an operator says which runtimes can load it; the rules are those of LiteRT's
converter (tflite/converter/tools/versioning/op_version.cc), for the inputs that occur here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor


def transpose(x: GraphTensor, order: Sequence[int]) -> GraphTensor:
    """The axes of `x` in another order; up to four axes."""
    shape = [x.shape[axis] for axis in order]
    output = x.graph.tensor("transposed", x.dtype, shape, x.quantization)
    version = {"int8": 2, "int16": 5}.get(x.dtype, 1)
    options = schema.TransposeOptionsT()
    x.graph.operator("TRANSPOSE", version, [x, x.graph.ints(*order)], [output], options)
    return output


def gelu(x: GraphTensor, *, tanh_form: bool) -> GraphTensor:
    """x·Φ(x) (Hendrycks and Gimpel 2016): exact by erf, or their tanh form; float32."""
    output = x.graph.tensor("gelu", x.dtype, x.shape)
    x.graph.operator("GELU", 1, [x], [output], schema.GeluOptionsT(approximate=tanh_form))
    return output


def rsqrt(x: GraphTensor) -> GraphTensor:
    """1/√x by element; float32."""
    output = x.graph.tensor("rsqrt", x.dtype, x.shape)
    x.graph.operator("RSQRT", 1, [x], [output])
    return output


def matmul(a: GraphTensor, b: GraphTensor, *, transpose_b: bool = False) -> GraphTensor:
    """a [h, i, k] times b [h, k, j] (or [h, j, k] with `transpose_b`) → [h, i, j]; float32."""
    columns = b.shape[1] if transpose_b else b.shape[2]
    output = a.graph.tensor("matmul", a.dtype, (a.shape[0], a.shape[1], columns))
    options = schema.BatchMatMulOptionsT(adjY=transpose_b)
    a.graph.operator("BATCH_MATMUL", 1, [a, b], [output], options)
    return output


def l2_normalize(x: GraphTensor) -> GraphTensor:
    """Rows of length 1; float32. A row shorter than 1e-6 keeps its direction only (the runtime's
    own bound)."""
    output = x.graph.tensor("normalized", x.dtype, x.shape)
    x.graph.operator("L2_NORMALIZATION", 1, [x], [output], schema.L2NormOptionsT())
    return output


def pad_rows(x: GraphTensor, before: int, after: int) -> GraphTensor:
    """x [n, f] with rows of zeros around it; float32."""
    rows = -1 if x.shape[0] == -1 else x.shape[0] + before + after
    output = x.graph.tensor("padded", x.dtype, (rows, x.shape[1]))
    amounts = x.graph.constant("amounts", np.asarray([[before, after], [0, 0]], np.int32))
    x.graph.operator("PAD", 1, [x, amounts], [output], schema.PadOptionsT())
    return output


def layer_norm(
    x: GraphTensor, scale: GraphTensor, shift: GraphTensor, epsilon: float
) -> GraphTensor:
    """Ba et al. 2016: (x − mean)/√(variance + ε) · scale + shift over the last axis of [n, f].

    In elementwise operators and MEAN, all of which run inside XNNPACK.
    """
    graph = x.graph
    centred = op.elementwise("SUB", x, op.reduce("MEAN", x, 1))
    variance = op.reduce("MEAN", op.multiply(centred, centred), 1)
    small = graph.constant("epsilon", np.asarray([epsilon], np.float32))
    normal = op.multiply(centred, rsqrt(op.add(variance, small)))
    return op.add(op.multiply(normal, scale), shift)
