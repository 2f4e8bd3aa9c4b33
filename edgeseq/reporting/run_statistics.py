"""What the raw samples of a run say, through `edgeseq.stats` and `edgeseq.tasks.scoring`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edgeseq.formats.result import EnergyWindow, Run
from edgeseq.stats import latency, scores
from edgeseq.stats.classification import score as class_scores
from edgeseq.stats.working_memory import WorkingMemory, working_memory
from edgeseq.tasks import scoring
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.predictions import Predictions

Ci95 = tuple[float, float]
"""Low and high end of a 95 % interval."""
OpenCi95 = tuple[float, float | None]
"""The same of a percentile, whose high end is None where the samples do not show it."""


class ClassScore(msgspec.Struct, frozen=True):
    """Scores of one class (or entity type), fractions in 0..1; recall is None for a class without
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


class SplitScores(msgspec.Struct, frozen=True):
    """Scores of one run over the test split; `score` is a value of the task's metric.

    `macro_f1` is None where the metric is not about classes; `per_class` then is by entity type.
    """

    score: float
    score_ci95: Ci95
    macro_f1: float | None
    per_class: tuple[ClassScore, ...]
    per_source: tuple[SourceScore, ...]


class LatencySummary(NamedTuple):
    """Percentiles of one series of samples in ms; None below their sample floor."""

    p50_ms: float | None
    p95_ms: float | None
    p50_ci95: OpenCi95 | None
    p95_ci95: OpenCi95 | None


class ScoreGap(NamedTuple):
    """How far a model is below a better one, in points of the score.

    `worst_points` is the upper bound of a one-sided 95 % interval, None where the examples
    cannot be paired; `not_worse` says whether it stays within the margin.
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


def latency_summary(samples_ns: Sequence[int]) -> LatencySummary:
    """Median and p95 with their intervals, of samples in ns in the order of measuring."""
    if not samples_ns:
        return LatencySummary(None, None, None, None)
    samples_ms = np.asarray(samples_ns, dtype=np.float64) / 1e6
    p50 = latency.percentile_interval(samples_ms, 50)
    p95 = latency.percentile_interval(samples_ms, 95)
    return LatencySummary(
        p50_ms=None if p50 is None else p50.estimate,
        p95_ms=None if p95 is None else p95.estimate,
        p50_ci95=_ends(p50),
        p95_ci95=_ends(p95),
    )


def _ends(interval: scores.Interval | None) -> OpenCi95 | None:
    if interval is None:
        return None
    return (interval.low, interval.high if math.isfinite(interval.high) else None)


def percentile_ms(samples_ns: Sequence[int], percent: float) -> float | None:
    """A percentile in ms of samples in ns; None without samples or below the sample floor."""
    value = latency.percentile(samples_ns, percent) if samples_ns else None
    return None if value is None else value / 1e6


def split_scores(run: Run) -> SplitScores | None:
    """The scores of a run's predictions, None without predictions.

    Raises `DataError` where the predictions do not fit the labels or each other.
    """
    predictions = run.predictions
    if predictions is None or not predictions.sources:
        return None
    labels, metric = run.bundle.labels, scoring.metric_of(run.bundle.task)
    total = scoring.score(metric, predictions, labels)
    sources = list(dict.fromkeys(predictions.sources))
    return SplitScores(
        score=total.value,
        score_ci95=total.ci95,
        macro_f1=class_scores(predictions.gold, predictions.predicted, labels).macro_f1
        if metric.is_accuracy
        else None,
        per_class=_per_class(metric, predictions, labels),
        per_source=tuple(
            _source_score(metric, predictions, labels, source)
            for source in sources
            if len(sources) > 1
        ),
    )


def _source_score(
    metric: Metric, predictions: Predictions, labels: Sequence[str], source: str
) -> SourceScore:
    subset = scoring.subset(predictions, [name == source for name in predictions.sources])
    score = scoring.score(metric, subset, labels)
    return SourceScore(source, len(subset.sources), score.value, score.ci95)


def _per_class(
    metric: Metric, predictions: Predictions, labels: Sequence[str]
) -> tuple[ClassScore, ...]:
    """By label, or by entity type where spans are scored."""
    if not predictions.gold or metric.class_counts is None:
        return ()
    classes = metric.class_counts(predictions, labels)
    return tuple(
        _class_score(name, *counts)
        for name, counts in zip(classes.names, classes.counts.tolist(), strict=True)
    )


def _class_score(label: str, n_right: int, n_gold: int, n_predicted: int) -> ClassScore:
    recall = scores.wilson(n_right, n_gold) if n_gold else None
    return ClassScore(
        label=label,
        n_examples=n_gold,
        precision=n_right / n_predicted if n_predicted else 0.0,
        recall=n_right / n_gold if n_gold else None,
        recall_ci95=None if recall is None else (recall.low, recall.high),
        f1=2 * n_right / (n_gold + n_predicted) if n_gold + n_predicted else 0.0,
    )


def score_gap(best: Run, other_run: Run, *, allowed_points: float) -> ScoreGap | None:
    """The gap of two runs over the same examples, paired; None where they cannot be paired.

    "Not worse" is `edgeseq.stats.scores.non_inferiority` with `allowed_points` as margin; with 0
    allowed, the whole one-sided interval has to lie at or above the better score.
    """
    first, second = best.predictions, other_run.predictions
    if first is None or second is None or not is_paired(first, second):
        return None
    metric = scoring.metric_of(best.bundle.task)
    difference = scoring.difference(metric, second, first, best.bundle.labels)
    if allowed_points > 0:
        not_worse = scores.non_inferiority(difference, allowed_points / 100).holds
    else:
        not_worse = difference.lower_bound >= 0
    return ScoreGap(
        points=-100 * difference.interval.estimate,
        worst_points=-100 * difference.lower_bound,
        not_worse=not_worse,
    )


def is_paired(first: Predictions, second: Predictions) -> bool:
    """Whether two models were scored on the same examples."""
    return (
        first.examples_sha256 == second.examples_sha256
        and first.gold == second.gold
        and first.counts == second.counts
    )


def paired_gaps(runs: Sequence[Run], *, allowed_points: float) -> Callable[[str, str], ScoreGap]:
    """`score_gap` between bundles by name, each pair computed once.

    Where two runs cannot be paired the gap is the observed one and counts as worse: what cannot
    be shown is not granted.
    """
    by_name = {run.bundle.name: run for run in runs}
    ranks = {name: _rank(run) for name, run in by_name.items()}
    gaps = {(name, name): ScoreGap(0.0, 0.0, not_worse=True) for name in by_name}

    def gap_between(best: str, other_name: str) -> ScoreGap:
        if (best, other_name) not in gaps:
            paired = score_gap(by_name[best], by_name[other_name], allowed_points=allowed_points)
            observed = ScoreGap(100 * (ranks[best] - ranks[other_name]), None, not_worse=False)
            gaps[best, other_name] = paired or observed
        return gaps[best, other_name]

    return gap_between


def _rank(run: Run) -> float:
    """The utility of a run's score, 0 without one."""
    predictions = run.predictions
    if predictions is None or not predictions.sources:
        return 0.0
    metric = scoring.metric_of(run.bundle.task)
    return metric.rank(
        float(metric.value(metric.counts(predictions, run.bundle.labels).sum(axis=0)))
    )


def disagreement(first: Run, second: Run) -> Disagreement | None:
    """Counts and test of two runs over the same examples; None where they cannot be paired."""
    one, two = first.predictions, second.predictions
    if one is None or two is None or not one.gold or not is_paired(one, two):
        return None
    gold = np.asarray(one.gold)
    a, b = np.asarray(one.predicted) == gold, np.asarray(two.predicted) == gold
    test = scores.mcnemar_of_answers(one.gold, one.predicted, two.predicted)
    return Disagreement(
        both_right=int((a & b).sum()),
        only_first=test.only_a_right,
        only_second=test.only_b_right,
        both_wrong=int((~a & ~b).sum()),
        p_value=test.p_value,
    )


def joules_per_query(busy: EnergyWindow | None, idle: EnergyWindow | None) -> float | None:
    """(E_busy - P_idle * t_busy) / queries, in joules: what answering takes above the idle machine.

    None where either was not measured, or by different readers, or where nothing was answered.
    May be below 0 where the difference is within the sensor's noise.
    """
    if busy is None or idle is None or busy.reader != idle.reader:
        return None
    if not busy.queries or idle.duration_s <= 0:
        return None
    idle_w = idle.joules / idle.duration_s
    return (busy.joules - idle_w * busy.duration_s) / busy.queries


def top_k_shares(predictions: Predictions) -> tuple[float, float]:
    """The share of all words that were predicted first, and among the first three."""
    n_words = max(1, sum(predictions.counts))
    return sum(predictions.top1_correct) / n_words, sum(predictions.top3_correct) / n_words


def working_memory_of(run: Run) -> WorkingMemory:
    """The minimum working memory of a run; nothing is known where it was not searched for."""
    search = run.working_memory
    return WorkingMemory() if search is None else working_memory(search.references, search.runs)


def length_medians_ms(run: Run) -> dict[int, float]:
    """The median inference time in ms of each length in tokens that was timed."""
    return {
        point.tokens: latency.median(point.inference_ns) / 1e6
        for point in run.lengths
        if point.inference_ns
    }
