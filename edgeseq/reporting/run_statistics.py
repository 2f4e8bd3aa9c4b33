"""What the raw samples of a run say, through `edgeseq.stats` and `edgeseq.tasks.scoring`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from edgeseq.formats.result import EnergyWindow, Run
from edgeseq.stats import latency, scores
from edgeseq.stats.classification import FloatArray, IntArray, confusion_matrix
from edgeseq.stats.classification import macro_f1 as macro_f1_of
from edgeseq.stats.working_memory import WorkingMemory, working_memory
from edgeseq.tasks import scoring
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.multilabel_f1 import MACRO_F1
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


class FurtherScore(msgspec.Struct, frozen=True):
    """The value of another metric of the same predictions, with its interval; fractions in 0..1."""

    metric: str
    title: str
    score: float
    score_ci95: Ci95


class SplitScores(msgspec.Struct, frozen=True):
    """Scores of one run over the test split; `score` is a value of the task's metric, `further`
    those of others.

    `macro_f1` is None where the metric is not about classes; `per_class` then is by entity type.
    """

    score: float
    score_ci95: Ci95
    macro_f1: float | None
    per_class: tuple[ClassScore, ...]
    per_source: tuple[SourceScore, ...]
    further: tuple[FurtherScore, ...] = ()


class LatencySummary(NamedTuple):
    """Percentiles of one series of samples in ms; None below their sample floor."""

    p50_ms: float | None
    p95_ms: float | None
    p50_ci95: OpenCi95 | None
    p95_ci95: OpenCi95 | None
    p50_at_most_ms: float | None
    p95_at_most_ms: float | None


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
        return LatencySummary(None, None, None, None, None, None)
    samples_ms = latency.SampleSeries(np.asarray(samples_ns, dtype=np.float64) / 1e6)
    p50 = latency.percentile_interval(samples_ms, 50)
    p95 = latency.percentile_interval(samples_ms, 95)
    return LatencySummary(
        p50_ms=None if p50 is None else p50.estimate,
        p95_ms=None if p95 is None else p95.estimate,
        p50_ci95=_ends(p50),
        p95_ci95=_ends(p95),
        p50_at_most_ms=_at_most(samples_ms, 50),
        p95_at_most_ms=_at_most(samples_ms, 95),
    )


def _at_most(samples_ms: latency.SampleSeries, percent: float) -> float | None:
    """The upper end of a one-sided interval of 99 %, which is that of a two-sided one of 98 %."""
    ends = _ends(latency.percentile_interval(samples_ms, percent, level=0.98))
    return None if ends is None else ends[1]


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
    counts = metric.counts(predictions, labels)
    total = scoring.score_of_counts(metric, counts, predictions.counts or None)
    macro_f1 = total.value if metric.name == MACRO_F1.name else None
    if metric.is_accuracy:
        confusion = confusion_matrix(predictions.gold, predictions.predicted, len(labels))
        macro_f1 = float(macro_f1_of(confusion))
    return SplitScores(
        score=total.value,
        score_ci95=total.ci95,
        macro_f1=macro_f1,
        per_class=_per_class(metric, predictions, labels),
        per_source=_per_source(metric, predictions, counts),
        further=tuple(_further_score(other, predictions, labels) for other in metric.others),
    )


def _further_score(metric: Metric, predictions: Predictions, labels: Sequence[str]) -> FurtherScore:
    total = scoring.score(metric, predictions, labels)
    return FurtherScore(metric.name, metric.title, total.value, total.ci95)


def _per_source(
    metric: Metric, predictions: Predictions, counts: FloatArray
) -> tuple[SourceScore, ...]:
    """The score on the examples of each source, in the order of first appearance; () for one."""
    names, source_of = _number_sources(predictions.sources)
    if len(names) < 2:
        return ()
    words = np.asarray(predictions.counts, dtype=np.int64)
    scores_by_source = []
    for number, source in enumerate(names):
        chosen = source_of == number
        word_counts = words[chosen].tolist() if len(words) else None
        total = scoring.score_of_counts(metric, counts[chosen], word_counts)
        scores_by_source.append(SourceScore(source, int(chosen.sum()), total.value, total.ci95))
    return tuple(scores_by_source)


@functools.lru_cache(maxsize=4)
def _number_sources(sources: tuple[str, ...]) -> tuple[tuple[str, ...], IntArray]:
    """The distinct sources in the order of first appearance, and each example's index in them."""
    numbers: dict[str, int] = {}
    indices = [numbers.setdefault(source, len(numbers)) for source in sources]
    return tuple(numbers), np.array(indices, dtype=np.int64)


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


def disagreement(first: Run, second: Run) -> Disagreement | None:
    """Counts and test of two runs over the same examples; None where they cannot be paired."""
    one, two = first.predictions, second.predictions
    if one is None or two is None or not one.gold or not scoring.is_paired(one, two):
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
