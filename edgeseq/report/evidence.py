"""What the raw samples of a run say, through `edgeseq.stats.latency`, `.metrics` and `.stats`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.formats.result import Run
from edgeseq.stats import classification as metrics
from edgeseq.stats import latency as percentiles
from edgeseq.stats import scores as stats
from edgeseq.tasks import scoring
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.tagging import entity_types

Ci95 = tuple[float, float]
"""Low and high end of a 95 % interval."""
OpenCi95 = tuple[float, float | None]
"""The same of a percentile, whose high end is None where the samples do not show it."""
Floats = npt.NDArray[np.float64]


class ClassScore(msgspec.Struct, frozen=True):
    """How one class (or entity type) came out; fractions in 0..1, recall None for a class without
    an example. `n_examples` counts texts, words or entities."""

    label: str
    n_examples: int
    precision: float
    recall: float | None
    recall_ci95: Ci95 | None
    f1: float


class SourceScore(msgspec.Struct, frozen=True):
    """The score (a value of the task's metric) on the examples of one source."""

    source: str
    n_examples: int
    score: float
    score_ci95: Ci95


class Scores(msgspec.Struct, frozen=True):
    """Everything that one run's answers say; `score` is a value of the task's metric.

    `macro_f1` is None where the metric is not about classes; `per_class` then is by entity type.
    """

    score: float
    score_ci95: Ci95
    macro_f1: float | None
    per_class: tuple[ClassScore, ...]
    per_source: tuple[SourceScore, ...]


class Timing(NamedTuple):
    """Percentiles of one series of samples in ms; None below their sample floor."""

    p50_ms: float | None
    p95_ms: float | None
    p50_ci95: OpenCi95 | None
    p95_ci95: OpenCi95 | None


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
    """Median and p95 with their intervals, of samples in ns in the order of measuring."""
    if not samples_ns:
        return Timing(None, None, None, None)
    samples_ms = np.asarray(samples_ns, dtype=np.float64) / 1e6
    p50 = percentiles.percentile_interval(samples_ms, 50)
    p95 = percentiles.percentile_interval(samples_ms, 95)
    return Timing(
        p50_ms=percentiles.percentile(samples_ms, 50),
        p95_ms=percentiles.percentile(samples_ms, 95),
        p50_ci95=_ends(p50),
        p95_ci95=_ends(p95),
    )


def _ends(interval: stats.Interval | None) -> OpenCi95 | None:
    if interval is None:
        return None
    return (interval.low, interval.high if math.isfinite(interval.high) else None)


def percentile_ms(samples_ns: Sequence[int], percent: float) -> float | None:
    """A percentile in ms of samples in ns; None without samples or below the sample floor."""
    value = percentiles.percentile(samples_ns, percent) if samples_ns else None
    return None if value is None else value / 1e6


def scores(run: Run) -> Scores | None:
    """The scores of a run's answers, None when there are none.

    Raises `DataError` where the answers do not fit the labels or each other.
    """
    found = run.predictions
    if found is None or not found.sources:
        return None
    labels, metric = run.bundle.labels, scoring.metric_of(run.bundle.task)
    whole = scoring.score(metric, found, labels)
    sources = list(dict.fromkeys(found.sources))
    return Scores(
        score=whole.value,
        score_ci95=whole.ci95,
        macro_f1=metrics.score(found.gold, found.predicted, labels).macro_f1
        if metric.name == "accuracy"
        else None,
        per_class=_per_class(metric, found, labels),
        per_source=tuple(
            _of_source(metric, found, labels, source) for source in sources if len(sources) > 1
        ),
    )


def _of_source(
    metric: scoring.Metric, found: Predictions, labels: Sequence[str], source: str
) -> SourceScore:
    own = scoring.subset(found, [one == source for one in found.sources])
    score = scoring.score(metric, own, labels)
    return SourceScore(source, len(own.sources), score.value, score.ci95)


def _per_class(
    metric: scoring.Metric, found: Predictions, labels: Sequence[str]
) -> tuple[ClassScore, ...]:
    """By label, or by entity type where spans are what is scored."""
    if not found.gold:
        return ()
    if metric.name == "entity-f1":
        sums = scoring.per_type_counts(found, labels).sum(axis=0).astype(int).tolist()
        return tuple(
            _class_score(kind, *counts)
            for kind, counts in zip(entity_types(labels), sums, strict=True)
        )
    confusion = metrics.confusion_matrix(found.gold, found.predicted, len(labels))
    return tuple(
        _class_score(
            label, int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
        )
        for k, label in enumerate(labels)
    )


def _class_score(label: str, right: int, there: int, said: int) -> ClassScore:
    return ClassScore(
        label=label,
        n_examples=there,
        precision=right / said if said else 0.0,
        recall=right / there if there else None,
        recall_ci95=_wilson(right, there) if there else None,
        f1=2 * right / (there + said) if there + said else 0.0,
    )


def _wilson(successes: int, n: int) -> Ci95:
    interval = stats.wilson(successes, n)
    return (interval.low, interval.high)


def gap(best: Run, other: Run, *, allowed_points: float) -> Gap | None:
    """The gap of two runs over the same examples, paired; None where they cannot be paired.

    "Not worse" is `edgeseq.stats.scores.non_inferiority` of the other with `allowed_points` as
    margin;
    with 0 allowed, the whole one-sided interval has to lie at or above the better score.
    """
    first, second = best.predictions, other.predictions
    if first is None or second is None or not _paired(first, second):
        return None
    metric = scoring.metric_of(best.bundle.task)
    difference = scoring.difference(metric, second, first, best.bundle.labels)
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
    return (
        first.examples_sha256 == second.examples_sha256
        and first.gold == second.gold
        and first.counts == second.counts
    )


def paired_gaps(runs: Sequence[Run], *, allowed_points: float) -> Callable[[str, str], Gap]:
    """`gap` between bundles by name, each pair computed once.

    Where two runs cannot be paired the answer is "worse by the observed difference": what cannot
    be shown is not granted.
    """
    by_name = {run.bundle.name: run for run in runs}
    ranks = {name: _rank(run) for name, run in by_name.items()}
    known = {(name, name): Gap(0.0, 0.0, not_worse=True) for name in by_name}

    def between(best: str, other: str) -> Gap:
        if (best, other) not in known:
            found = gap(by_name[best], by_name[other], allowed_points=allowed_points)
            points = 100 * (ranks[best] - ranks[other])
            known[best, other] = found or Gap(points, None, not_worse=False)
        return known[best, other]

    return between


def _rank(run: Run) -> float:
    """The utility of a run's score, 0 without one."""
    found = run.predictions
    if found is None or not found.sources:
        return 0.0
    metric = scoring.metric_of(run.bundle.task)
    sums = metric.counts(found, run.bundle.labels).sum(axis=0)
    return metric.rank(float(metric.value(sums)))


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
