"""Operators on integers that give the same integers in LiteRT and in TensorFlow Lite Micro.

The two round differently where a scale is changed: by float64 or by multipliers of 15 or 31 bits,
ties upward or away from zero, with quotients of scales in float32 or in float64. Here every such
quotient is a number of few bits, which all of these compute without error, and no sum of products
lies half way between two integers. LOGISTIC and TANH on int16 read the same table in both, as long
as their input's scale is not one for which LiteRT has a polynomial (2**-12, 2**-11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.convert.tflite.quantization import Quantization

MULTIPLIER_BITS = 15
"""What TensorFlow Lite Micro multiplies the sums of an int16 product by."""
LABEL = Quantization((2.0**-7,), (0,))
"""The scale that int8 tensors are given: of states it is the true one; of embeddings only a name,
whose true scale is in the kernels that they are multiplied by."""
GATES = Quantization((3 * 2.0**-13,), (0,))
"""±12, in steps of 4.5 of the table's; no power of two."""
BOUNDED = Quantization((2.0**-15,), (0,))
"""What LOGISTIC and TANH on int16 give."""
POLYNOMIAL_SCALES = (2.0**-12, 2.0**-11)
COARSER_SCALE = 2.0**-10


@dataclass(frozen=True)
class Rows:
    """`weights` int8 [out, in], `bias` int [out] in units of a product, and what a product of two
    integers is worth: one step, or one a row."""

    weights: npt.NDArray[np.int8]
    bias: npt.NDArray[np.integer]
    steps: tuple[float, ...]


def widened(x: GraphTensor) -> GraphTensor:
    """x int8 doubled, as int16 without a zero point: with odd biases the sums of its products are
    odd, and so never half way between two integers."""
    if x.quantization is None:
        raise ValueError("the input of a product has no scale")
    return op.quantize(x, "int16", Quantization((x.quantization.scales[0] / 2,), (0,)))


def product(wide: GraphTensor, rows: Rows, into: Quantization) -> GraphTensor:
    """`wide` [1, in] of `widened` → int16 [1, out] on the scale `into`, a number of a few bits.

    The steps are rounded to `MULTIPLIER_BITS` bits of `into`, a change of at most 2**-14.
    """
    if wide.quantization is None:
        raise ValueError("the input of a product has no scale")
    graph, unit = wide.graph, wide.quantization.scales[0]
    multipliers = [few_bits(step / 2 / into.scales[0]) for step in rows.steps]
    scales = tuple(multiplier * into.scales[0] / unit for multiplier in multipliers)
    sums = tuple(scale * unit for scale in scales)
    zeros = (0,) * len(scales)
    weights = graph.constant("weights", rows.weights, Quantization(scales, zeros))
    odd = 2 * rows.bias.astype(np.int64) + 1
    bias = graph.constant("bias", odd, Quantization(sums, zeros))
    return op.fully_connected(wide, weights, bias, into)


def few_bits(multiplier: float) -> float:
    """The number next to it with an odd mantissa of `MULTIPLIER_BITS` bits."""
    mantissa, exponent = math.frexp(multiplier)
    odd = 2 * math.floor(mantissa * 2 ** (MULTIPLIER_BITS - 1)) + 1
    return math.ldexp(odd, exponent - MULTIPLIER_BITS)


def power_of_two(scale: float) -> float:
    """The smallest power of two that is not below `scale`."""
    return 2.0 ** math.ceil(math.log2(scale))


def cell_scale(scale: float) -> Quantization:
    """The scale of a cell state: the fused operator's, a power of two, if the table reads it."""
    return Quantization((COARSER_SCALE if scale in POLYNOMIAL_SCALES else scale,), (0,))


def lstm_step(
    x: GraphTensor,
    hidden: GraphTensor,
    cell: GraphTensor,
    kernels: Sequence[Rows],
    recurrent_kernels: Sequence[Rows],
) -> tuple[GraphTensor, GraphTensor]:
    """x int8 [1, in], hidden int8 [1, H] and cell int16 [1, H] → the new hidden and cell state.

    The kernels are of the gates input, forget, cell, output.
    """
    wide_x, wide_hidden = widened(x), widened(hidden)
    i, f, g, o = (
        op.add(product(wide_x, kernel, GATES), product(wide_hidden, recurrent, GATES), GATES)
        for kernel, recurrent in zip(kernels, recurrent_kernels, strict=True)
    )
    i, f, o = (op.unary("LOGISTIC", gate, BOUNDED) for gate in (i, f, o))
    added = op.multiply(i, op.unary("TANH", g, BOUNDED), cell.quantization)
    new_cell = op.add(op.multiply(f, cell, cell.quantization), added, cell.quantization)
    output = op.multiply(o, op.unary("TANH", new_cell, BOUNDED), LABEL)
    return op.quantize(output, "int8", LABEL), new_cell
