"""The numeric sequences that a bare file is compared and calibrated on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeseq.datasets.sequence_arrays import read_arrays
from edgeseq.errors import DataError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import FloatInput


def read_sequences(path: Path, entry: FloatInput, steps: int | None) -> list[FloatArray]:
    """The sequences [n, features] in a file of arrays (`edgeseq.datasets.sequence_arrays`).

    Raises `DataError` as `read_arrays` does, and for sequences that the model does not take: of
    other features, or with `steps` of another length.
    """
    arrays = read_arrays(path)
    check_sequences(arrays.rows.shape[1], set(arrays.lengths), entry.features, steps, where=path)
    return arrays.sequences()


def check_sequences(
    features: int, lengths: set[int], expected: int, steps: int | None, *, where: str | Path
) -> None:
    """Raises `DataError` for sequences that a model of `expected` features, and of a fixed length
    if it has `steps`, does not take."""
    if features != expected:
        raise DataError(
            "has another number of features than the model takes",
            where=where,
            found=features,
            expected=expected,
        )
    if steps is not None and lengths != {steps}:
        raise DataError(
            "has sequences that do not have the model's fixed length",
            where=where,
            found=", ".join(map(str, sorted(lengths)[:4])),
            expected=steps,
            fix="choose another --length, or --lowering loop without one",
        )


def random_sequences(entry: FloatInput, lengths: tuple[int, ...]) -> list[FloatArray]:
    """Four sequences of each length, of independent standard normal numbers."""
    rng = np.random.default_rng(0)
    shapes = [(length, entry.features) for length in lengths for _ in range(4)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
