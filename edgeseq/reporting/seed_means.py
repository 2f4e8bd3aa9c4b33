"""Rows that differ in the training's seed alone, as a mean with two intervals.

The score of one training says nothing about the next one, so a claim about a recipe rests on the
mean over seeds. It is uncertain in two ways: other test examples, and other trainings.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from edgeseq.reporting.rows import ReportRow

SEED = re.compile(r"-seed-(\d+)")
"""How a sweep over seeds (`edgeseq.suite.sweeps`) names its models."""

_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % quantiles of Student's t with 1, 2, … 30 degrees of freedom."""


class SeedMean(NamedTuple):
    """The mean score of a recipe's trainings, and what it may be.

    `test_ci95` is for other test examples. All trainings answered the same ones, so the mean's
    deviation is at most the mean of theirs: the ends are the means of theirs. `training_ci95` is
    for other trainings: Student's t of the scores.
    """

    bundle: str
    seeds: int
    mean: float
    test_ci95: tuple[float, float]
    training_ci95: tuple[float, float]


def seed_means(rows: Sequence[ReportRow]) -> list[SeedMean]:
    """Those of the rows whose names differ in `SEED` alone, two or more, in the rows' order."""
    by_recipe: dict[tuple[str, str], list[ReportRow]] = {}
    for row in rows:
        if SEED.search(row.bundle) and row.score is not None and row.score_ci95 is not None:
            by_recipe.setdefault((SEED.sub("", row.bundle), row.runner), []).append(row)
    return [_mean(name, alike) for (name, _), alike in by_recipe.items() if len(alike) > 1]


def _mean(bundle: str, rows: Sequence[ReportRow]) -> SeedMean:
    scores = [row.score for row in rows if row.score is not None]
    ends = [row.score_ci95 for row in rows if row.score_ci95 is not None]
    mean, count = statistics.fmean(scores), len(scores)
    quantile = _T_975[min(count - 1, len(_T_975)) - 1]
    reach = quantile * statistics.stdev(scores) / math.sqrt(count)
    return SeedMean(
        bundle,
        count,
        mean,
        (statistics.fmean(low for low, _ in ends), statistics.fmean(high for _, high in ends)),
        (mean - reach, mean + reach),
    )
