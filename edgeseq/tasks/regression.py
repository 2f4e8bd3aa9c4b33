"""The error of predicted numbers: how far they are from the true ones.

    MAE = Σ |predicted − target| / n        RMSE = √(Σ (predicted − target)² / n)

over the n numbers of all examples, in the unit of the targets. Only numpy is used, so that a device
computes the very same numbers as a workstation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgeseq.errors import DataError
from edgeseq.tasks.metric import FloatArray, Metric
from edgeseq.tasks.predictions import Predictions

_SMALLEST = 1e-12
"""An error below it is as good as none: its logarithm is that of this."""


def _counts(predictions: Predictions, _labels: Sequence[str]) -> FloatArray:
    """Absolute errors, squared errors and numbers of each example: [examples, 3].

    Raises `DataError` when the predictions are not numbers.
    """
    columns = (predictions.absolute_errors, predictions.squared_errors, predictions.counts)
    if len({len(column) for column in columns}) > 1:
        raise DataError(
            "answers are not predicted numbers",
            found=f"{len(predictions.absolute_errors)} errors",
            expected=f"one for each of {len(predictions.counts)} examples",
        )
    return np.stack([np.asarray(column, np.float64) for column in columns], axis=1)


def _mae(sums: FloatArray) -> FloatArray:
    """0 of nothing."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 2], 1))


def _rmse(sums: FloatArray) -> FloatArray:
    """0 of nothing."""
    return np.sqrt(sums[..., 1] / np.maximum(sums[..., 2], 1))


def _utility(errors: FloatArray) -> FloatArray:
    """−ln error: more is better, and a hundredth is about a percent of the error."""
    return np.asarray(-np.log(np.maximum(errors, _SMALLEST)))


def _show(error: float) -> str:
    """Four significant digits, as the unit may be anything."""
    return f"{error:.4g}"


def _show_interval(low: float, high: float) -> str:
    """Both ends as `_show` has them."""
    return f"{low:.4g} to {high:.4g}"


RMSE = Metric(
    name="rmse",
    title="RMSE",
    unit="",
    higher_is_better=False,
    counts=_counts,
    value=_rmse,
    utility=_utility,
    show=_show,
    show_interval=_show_interval,
    axis_scale=1.0,
)
MAE = dataclasses.replace(RMSE, name="mae", title="MAE", value=_mae, others=(RMSE,))
