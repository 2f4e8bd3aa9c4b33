"""Sums of the errors of predicted numbers, without NumPy: the process that measures has none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from edgeseq.errors import DataError


class ErrorSums(NamedTuple):
    """For each example the sum of the absolute errors of its numbers, and of the squared ones."""

    absolute: tuple[float, ...]
    squared: tuple[float, ...]


def error_sums(
    predicted: Sequence[Sequence[float]], targets: Sequence[Sequence[float]]
) -> ErrorSums:
    """The errors of predicted numbers [examples][outputs].

    Raises `DataError` where the two differ in shape or a prediction is NaN or infinite.
    """
    absolute, squared = [], []
    for row, target in zip(predicted, targets, strict=True):
        if len(row) != len(target):
            raise DataError(
                "predictions do not go with the targets", found=len(row), expected=len(target)
            )
        errors = [float(value) - number for value, number in zip(row, target, strict=True)]
        if not all(map(math.isfinite, errors)):
            raise DataError("the model returned NaN or infinity")
        absolute.append(math.fsum(map(abs, errors)))
        squared.append(math.fsum(error * error for error in errors))
    return ErrorSums(tuple(absolute), tuple(squared))
