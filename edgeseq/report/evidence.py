"""What the raw samples of a run say, through `edgeseq.percentiles`, `.metrics` and `.stats`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq import metrics, percentiles, stats
from edgeseq.results import Predictions, Run

Ci95 = tuple[float, float]
"""Low and high end of a 95 % interval."""
Floats = npt.NDArray[np.float64]


class ClassScore(msgspec.Struct, frozen=True):
    """How one class came out; fractions in 0..1, recall None for a class without an example."""

    label: str
    n_examples: int
    precision: float
    recall: float | None
    recall_ci95: Ci95 | None
    f1: float


class SourceScore(msgspec.Struct, frozen=True):
    """The score (a fraction in 0..1) on the examples of one source."""

    source: str
    n_examples: int
    score: float
    score_ci95: Ci95


class Scores(msgspec.Struct, frozen=True):
    """Everything that one run's answers say; fractions in 0..1."""

    score: float
    score_ci95: Ci95
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    per_source: tuple[SourceScore, ...]


class Timing(NamedTuple):
    """Percentiles of one series of samples in ms; None below their sample floor."""

    p50_ms: float | None
    p95_ms: float | None
    p50_ci95: Ci95 | None
    p95_ci95: Ci95 | None


class Gap(NamedTuple):
    """How far a model is below a better one, in points of the score.

    `worst_points` is the upper bound of a one-sided 95 % interval, None where the examples
    cannot be paired; `not_worse` says whether it stays within what may be given up.
    """

    points: float
    worst_points: float | None
    not_worse: bool


class Disagreement(NamedTuple):
    """Two models on the same examples, in counts, with the p-value of the exact McNemar test."""

    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float


def timing(samples_ns: Sequence[int]) -> Timing:
    """Median and p95 with their intervals, of samples in ns in the order of measuring.

    An interval is None where the samples depend on each other so much that it would not hold.
    """
    if not samples_ns:
        return Timing(None, None, None, None)
    samples_ms = np.asarray(samples_ns, dtype=np.float64) / 1e6
    p50 = percentiles.percentile_interval(samples_ms, 50)
    p95 = percentiles.percentile_interval(samples_ms, 95)
    return Timing(
        p50_ms=percentiles.percentile(samples_ms, 50),
        p95_ms=percentiles.percentile(samples_ms, 95),
        p50_ci95=(p50.low, p50.high) if p50 else None,
        p95_ci95=(p95.low, p95.high) if p95 else None,
    )


def percentile_ms(samples_ns: Sequence[int], percent: float) -> float | None:
    """A percentile in ms of samples in ns; None without samples or below the sample floor."""
    value = percentiles.percentile(samples_ns, percent) if samples_ns else None
    return None if value is None else value / 1e6


def scores(run: Run) -> Scores | None:
    """The scores of a run's answers, None when there are none.

    Raises `DataError` where the answers do not fit the labels or each other.
    """
    found = run.predictions
    if found is None or not found.gold:
        return None
    labels = run.bundle.labels
    whole = metrics.score(found.gold, found.predicted, labels)
    right = sum(whole.confusion[k][k] for k in range(len(labels)))
    by_source = metrics.score_by_source(found.gold, found.predicted, labels, found.sources)
    return Scores(
        score=whole.accuracy,
        score_ci95=_wilson(right, whole.n),
        macro_f1=whole.macro_f1,
        per_class=tuple(
            ClassScore(
                label=one.label,
                n_examples=one.support,
                precision=one.precision,
                recall=one.recall if one.support else None,
                recall_ci95=_wilson(whole.confusion[k][k], one.support) if one.support else None,
                f1=one.f1,
            )
            for k, one in enumerate(whole.per_class)
        ),
        per_source=tuple(
            SourceScore(
                source=source,
                n_examples=own.n,
                score=own.accuracy,
                score_ci95=_wilson(sum(own.confusion[k][k] for k in range(len(labels))), own.n),
            )
            for source, own in by_source.items()
            if len(by_source) > 1
        ),
    )


def _wilson(successes: int, n: int) -> Ci95:
    interval = stats.wilson(successes, n)
    return (interval.low, interval.high)


def gap(best: Run, other: Run, *, allowed_points: float) -> Gap | None:
    """The gap of two runs over the same examples, paired; None where they cannot be paired.

    "Not worse" is `edgeseq.stats.non_inferiority` of the other with `allowed_points` as margin;
    with 0 allowed, the whole one-sided interval has to lie at or above the better score.
    """
    first, second = best.predictions, other.predictions
    if first is None or second is None or not _paired(first, second):
        return None
    difference = stats.paired_bootstrap(
        first.gold, second.predicted, first.predicted, len(best.bundle.labels)
    )
    if allowed_points > 0:
        not_worse = stats.non_inferiority(difference, allowed_points / 100).holds
    else:
        not_worse = difference.lower_bound >= 0
    return Gap(
        points=-100 * difference.interval.estimate,
        worst_points=-100 * difference.lower_bound,
        not_worse=not_worse,
    )


def _paired(first: Predictions, second: Predictions) -> bool:
    return first.examples_sha256 == second.examples_sha256 and first.gold == second.gold


def paired_gaps(runs: Sequence[Run], *, allowed_points: float) -> Callable[[str, str], Gap]:
    """`gap` between bundles by name, each pair computed once.

    Where two runs cannot be paired the answer is "worse by the observed difference": what cannot
    be shown is not granted.
    """
    by_name = {run.bundle.name: run for run in runs}
    shares = {
        name: stats.wilson(_right(run.predictions), len(run.predictions.gold)).estimate
        for name, run in by_name.items()
        if run.predictions and run.predictions.gold
    }
    known = {(name, name): Gap(0.0, 0.0, not_worse=True) for name in by_name}

    def between(best: str, other: str) -> Gap:
        if (best, other) not in known:
            found = gap(by_name[best], by_name[other], allowed_points=allowed_points)
            points = 100 * (shares.get(best, 0.0) - shares.get(other, 0.0))
            known[best, other] = found or Gap(points, None, not_worse=False)
        return known[best, other]

    return between


def _right(found: Predictions) -> int:
    return sum(a == b for a, b in zip(found.gold, found.predicted, strict=True))


def disagreement(first: Run, second: Run) -> Disagreement | None:
    """Counts and test of two runs over the same examples; None where they cannot be paired."""
    one, two = first.predictions, second.predictions
    if one is None or two is None or not one.gold or not _paired(one, two):
        return None
    gold = np.asarray(one.gold)
    a, b = np.asarray(one.predicted) == gold, np.asarray(two.predicted) == gold
    test = stats.mcnemar_of_answers(one.gold, one.predicted, two.predicted)
    return Disagreement(
        both_right=int((a & b).sum()),
        only_first=test.only_a_right,
        only_second=test.only_b_right,
        both_wrong=int((~a & ~b).sum()),
        p_value=test.p_value,
    )
