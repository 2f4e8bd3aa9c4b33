"""A metric: how a task's predictions are counted, summed up and shown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.tasks.predictions import Predictions
from edgeseq.units import format_share

FloatArray = npt.NDArray[np.float64]

Counts = Callable[[Predictions, Sequence[str]], FloatArray]
"""Predictions and labels → counts [examples, k], which add up over examples."""


class ClassCounts(NamedTuple):
    """Of each class: predicted right, present, and predicted, in `counts` [classes, 3]."""

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64]


def _identity(value: FloatArray) -> FloatArray:
    return value


def format_share_interval(low: float, high: float) -> str:
    """Both ends of an interval of fractions, in percent."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


@dataclass(frozen=True)
class Metric:
    """The score of a task.

    - `title` is its name in a sentence, `unit` follows its numbers on an axis.
    - `counts` [examples, k] and `value` of sums [..., k] → [...] define it.
    - `is_accuracy`: the first of two counts over the second is the share of right answers.
    - `class_counts`: the same by class, None without classes; `class_title` is what one
      of them is called.
    - `utility` [...] → [...]: more is better, a hundredth is a point.
    - `show` formats one value, `show_interval` its interval.
    """

    name: str
    title: str
    counts: Counts
    value: Callable[[FloatArray], FloatArray]
    unit: str = "%"
    higher_is_better: bool = True
    is_accuracy: bool = False
    class_counts: Callable[[Predictions, Sequence[str]], ClassCounts] | None = None
    class_title: str = "class"
    utility: Callable[[FloatArray], FloatArray] = _identity
    show: Callable[[float], str] = format_share
    show_interval: Callable[[float, float], str] = format_share_interval
    axis_scale: float = 100.0
    """Values times this are what a chart's axis shows."""
    others: tuple[Metric, ...] = ()
    """Further metrics of the same predictions, shown beside this one."""

    @property
    def axis(self) -> str:
        """The title of a chart's axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def rank(self, value: float | None) -> float:
        """What models are ordered by: `utility`, and less than all of them without a value."""
        return -math.inf if value is None else float(self.utility(np.asarray(value)))

    def points(self, first: float, second: float) -> float:
        """By how many points one value is better than another (negative: worse)."""
        return 100 * (self.rank(first) - self.rank(second))
