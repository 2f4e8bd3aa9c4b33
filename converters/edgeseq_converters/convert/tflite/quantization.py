"""Scales and zero points, and the rounding of weights to them.

Formulas: TFLite's quantization specification (value = (stored − zero point) · scale; weights
symmetric in −127..127, zero point 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeseq_converters.models.arrays import FloatArray

WEIGHT_LIMIT = 127


@dataclass(frozen=True)
class Quantization:
    """One scale and zero point for a tensor, or one for each slice along `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int = 0


def quantize_rows(weights: FloatArray) -> tuple[npt.NDArray[np.int8], Quantization]:
    """`weights` [rows, size] as int8 with a scale a row (largest |value| / 127)."""
    largest = np.abs(weights.astype(np.float64)).max(axis=1)
    scales = np.maximum(largest / WEIGHT_LIMIT, float(np.finfo(np.float32).tiny)).astype(np.float32)
    rows = np.rint(weights / scales[:, None].astype(np.float64))
    stored = np.clip(rows, -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return stored, Quantization(tuple(scales.tolist()), (0,) * len(scales))


def quantize_whole(weights: FloatArray) -> tuple[npt.NDArray[np.int8], Quantization]:
    """`weights` of any shape as int8 with one scale (largest |value| / 127)."""
    largest = float(np.abs(weights).max(initial=0.0))
    scale = float(np.float32(max(largest / WEIGHT_LIMIT, float(np.finfo(np.float32).tiny))))
    stored = np.clip(np.rint(weights / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int8)
    return stored, Quantization((scale,), (0,))


def symmetric(largest: float, bits: int) -> Quantization:
    """Zero point 0, and a scale under which ±`largest` just fits `bits` bits."""
    limit = 2 ** (bits - 1) - 1
    return Quantization((float(np.float32(max(largest, 1e-8) / limit)),), (0,))


def asymmetric(low: float, high: float) -> Quantization:
    """int8 with a zero point, for values from `low` to `high`; 0 is exact (padding is 0)."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max(high - low, 1e-8) / 255))
    zero = int(np.clip(round(-128 - low / scale), -128, 127))
    return Quantization((scale,), (zero,))


def quantize(values: FloatArray, to: Quantization, dtype: str) -> npt.NDArray[np.integer]:
    """`values` as integers of `dtype` (int8, int16 or int32) under one scale and zero point."""
    limits = np.iinfo(dtype)
    rounded = np.rint(values.astype(np.float64) / to.scales[0]) + to.zero_points[0]
    clipped: npt.NDArray[np.integer] = np.clip(rounded, limits.min, limits.max).astype(dtype)
    return clipped


INT4_LIMIT = 7
_CLIPPING = np.linspace(0.6, 1.0, 21)
"""Fractions of the largest |value| that are tried as the end of the scale."""
_BLOCK_ELEMENTS = 65_536
"""Numbers that are rounded together: few enough to stay in the cache through all the scales."""


def quantize_rows_int4(
    weights: FloatArray, importance: npt.NDArray[np.float64] | None = None
) -> tuple[npt.NDArray[np.int8], Quantization]:
    """`weights` [rows, size] as numbers in −7..7 (in int8) with a scale a row.

    Of several scales a row takes the one with the least squared error, weighted by `importance`
    [size] if given: with 15 steps it pays to cut off a row's largest values.
    """
    stored = np.empty(weights.shape, np.int8)
    scales = np.empty(len(weights), np.float64)
    block = max(1, _BLOCK_ELEMENTS // weights.shape[1])
    for begin in range(0, len(weights), block):
        part = slice(begin, begin + block)
        stored[part], scales[part] = _rounded_int4(weights[part].astype(np.float64), importance)
    return stored, Quantization(tuple(scales.tolist()), (0,) * len(scales))


def _rounded_int4(
    values: npt.NDArray[np.float64], importance: npt.NDArray[np.float64] | None
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Numbers and scales of a few rows."""
    largest = np.maximum(np.abs(values).max(axis=1), float(np.finfo(np.float32).tiny))
    best = np.full(len(values), np.inf)
    scales = largest / INT4_LIMIT
    off = np.empty_like(values)
    for fraction in _CLIPPING:
        candidate = (largest * fraction / INT4_LIMIT).astype(np.float32).astype(np.float64)
        np.divide(values, candidate[:, None], out=off)
        np.rint(off, out=off)
        np.clip(off, -INT4_LIMIT, INT4_LIMIT, out=off)
        off *= candidate[:, None]
        off -= values
        np.square(off, out=off)
        errors = off.sum(axis=1) if importance is None else off @ importance
        scales = np.where(errors < best, candidate, scales)
        best = np.minimum(best, errors)
    stored = np.clip(np.rint(values / scales[:, None]), -INT4_LIMIT, INT4_LIMIT)
    return stored.astype(np.int8), scales


def pack_int4(stored: npt.NDArray[np.int8]) -> bytes:
    """Two numbers a byte, the first one in its lower half, as TFLite stores int4."""
    flat = stored.reshape(-1).astype(np.uint8) & 0xF
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    return bytes((flat[0::2] | (flat[1::2] << 4)).tobytes())
