"""Tables whose rows are looked up (embeddings), in the storage that a recipe asks for.

int8: a row is stored as int8 with one scale a row (scale = largest |value| / 127), because
TensorFlow's converter would give the whole table a single scale: one outlying row would then cost
every other row its precision. Scales are float16 fractions of the largest scale: a float32
[rows, 1] table would itself be taken for a weight by the converter and quantized. Rows are
quantized against the rounded scale, so that its rounding costs nothing.

float16: cast after the lookup; a float16 constant behind a DEQUANTIZE would be expanded to
float32, whole, when the model is loaded. TFLite's GATHER takes no float16, so float16 constants
are held as their bits in int16 and turned back by BITCAST (measured: 0.01 ms for 32 rows of 384).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.recipes import Storage

INT8_LIMIT = 127  # symmetric, as TFLite's quantization specification has it for weights


def quantize_rows(
    table: FloatArray,
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float16], float]:
    """`table` [rows, size] as int8 [rows, size], row scales float16 [rows, 1] in 0..1, and the
    scale of scales: table ≈ rows · scales · unit."""
    values = table.astype(np.float64)
    largest = np.abs(values).max(axis=1, keepdims=True) / INT8_LIMIT
    # Not below float32's smallest normal number, which is what the unit is stored as.
    unit = float(np.float32(max(largest.max(), np.finfo(np.float32).tiny)))
    # Nor a fraction below float16's: rows that small are zero beside the largest one.
    scales = np.maximum((largest / unit).astype(np.float16), np.finfo(np.float16).tiny)
    rows = np.rint(values / (scales.astype(np.float64) * unit))
    return np.clip(rows, -INT8_LIMIT, INT8_LIMIT).astype(np.int8), scales, unit


def variables(table: FloatArray, storage: Storage) -> dict[str, Any]:
    """The table as `tf.Variable`s by name, for `lookup`."""
    if storage == "int8":
        rows, scales, unit = quantize_rows(table)
        return {
            "int8": tf.Variable(rows, trainable=False),
            "scales": half(scales),
            "unit": tf.Variable(np.float32(unit), trainable=False),
        }
    if storage == "float16":
        return {"float16": half(table)}
    return {"float32": tf.Variable(table, trainable=False)}


def lookup(table: dict[str, Any], ids: Any) -> Any:
    """Rows float32 [n, size] for `ids` int32 [n]."""
    if "float32" in table:
        return tf.gather(table["float32"], ids)
    if "float16" in table:
        return from_half(tf.gather(table["float16"], ids))
    rows = tf.cast(tf.gather(table["int8"], ids), tf.float32)
    return rows * (from_half(tf.gather(table["scales"], ids)) * table["unit"])


def half(array: npt.NDArray[Any]) -> Any:
    """A variable that holds `array` as the bits of float16 numbers."""
    return tf.Variable(array.astype(np.float16).view(np.int16), trainable=False)


def from_half(bits: Any) -> Any:
    """float32 numbers from the bits of float16 ones."""
    return tf.cast(tf.bitcast(bits, tf.float16), tf.float32)
