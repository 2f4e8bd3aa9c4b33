"""Scales and zero points, and the rounding of weights to them.

Formulas: TFLite's quantization specification (value = (stored − zero point) · scale; weights
symmetric in −127..127, zero point 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeseq_converters.arrays import FloatArray

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
