"""How far models of a group are below better ones: paired tests, each made once and on demand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseq.formats.result import Run
from edgeseq.stats import scores
from edgeseq.tasks import scoring
from edgeseq.tasks.metric import FloatArray


class ScoreGap(NamedTuple):
    """How far a model is below a better one, in points of the score.

    `worst_points` is the upper bound of a one-sided 95 % interval, None where the examples
    cannot be paired; `not_worse` says whether it stays within the margin.
    """

    points: float
    worst_points: float | None
    not_worse: bool


ScoreGaps = Callable[[str, str], ScoreGap]
"""The gap of (better bundle, other bundle) at the budget's margin; usually `paired_gaps`."""


class _ScoredRun:
    """A run with the counts of its metric, which every comparison with it needs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.metric = scoring.metric_of(run.bundle.task)

    @functools.cached_property
    def counts(self) -> FloatArray | None:
        """The metric's counts [examples, k]; None without predictions."""
        predictions = self.run.predictions
        if predictions is None or not predictions.sources:
            return None
        return self.metric.counts(predictions, self.run.bundle.labels)

    @functools.cached_property
    def rank(self) -> float:
        """The utility of the score, 0 without one."""
        if self.counts is None:
            return 0.0
        return self.metric.rank(float(self.metric.value(self.counts.sum(axis=0))))


def score_gap(best: Run, other_run: Run, *, allowed_points: float) -> ScoreGap | None:
    """The gap of two runs over the same examples, paired; None where they cannot be paired.

    "Not worse" is `edgeseq.stats.scores.non_inferiority` with `allowed_points` as margin; with 0
    allowed, the whole one-sided interval has to lie at or above the better score.
    """
    return _gap(_ScoredRun(best), _ScoredRun(other_run), allowed_points)


def paired_gaps(runs: Sequence[Run], *, allowed_points: float) -> ScoreGaps:
    """`score_gap` between bundles by name, each pair computed once and only when it is asked for.

    Where two runs cannot be paired the gap is the observed one and counts as worse: what cannot
    be shown is not granted.
    """
    by_name = {run.bundle.name: _ScoredRun(run) for run in runs}
    gaps = {(name, name): ScoreGap(0.0, 0.0, not_worse=True) for name in by_name}

    def gap_between(best: str, other_name: str) -> ScoreGap:
        if (best, other_name) not in gaps:
            first, second = by_name[best], by_name[other_name]
            gap = _gap(first, second, allowed_points)
            if gap is None:
                gap = ScoreGap(100 * (first.rank - second.rank), None, not_worse=False)
            gaps[best, other_name] = gap
        return gaps[best, other_name]

    return gap_between


def _gap(best: _ScoredRun, candidate: _ScoredRun, allowed_points: float) -> ScoreGap | None:
    first, second = best.run.predictions, candidate.run.predictions
    if first is None or second is None or not scoring.is_paired(first, second):
        return None
    if best.counts is None or candidate.counts is None:
        return None
    difference = scoring.difference_of_counts(
        best.metric, candidate.counts, best.counts, is_text=not first.counts
    )
    if allowed_points > 0:
        not_worse = scores.non_inferiority(difference, allowed_points / 100).holds
    else:
        not_worse = difference.lower_bound >= 0
    return ScoreGap(
        points=-100 * difference.interval.estimate,
        worst_points=-100 * difference.lower_bound,
        not_worse=not_worse,
    )
