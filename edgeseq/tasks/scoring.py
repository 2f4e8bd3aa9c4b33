"""How answers are scored: one metric a task, its interval, and the comparison of two models.

A metric is told by two functions: `counts` of each example (for instance right answers and all
answers), and the `value` of their sums. Everything else follows from these, the same for all:
the interval and the paired comparison draw whole examples with replacement, because the words of
a sentence depend on each other (`edgeseq.stats.scores.cluster_bootstrap`). Only for one answer a
text
there is something better, Wilson's interval.

Two models are compared by `utility`, of which more is better and a hundredth is a "point": the
value itself where it is a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import DataError
from edgeseq.stats import scores as stats
from edgeseq.stats.classification import FloatArray
from edgeseq.tasks import coreference as gap_metrics
from edgeseq.tasks import language_model as perplexity
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import TASKS, MetricName
from edgeseq.tasks.tagging import entity_counts, entity_types
from edgeseq.units import format_share

Counts = Callable[[Predictions, Sequence[str]], FloatArray]
"""Answers and labels → counts [examples, k], which add up over examples."""


@dataclass(frozen=True)
class Metric:
    """A score of a task.

    - `title` is how it is called in a sentence, `unit` what stands behind its numbers on an axis.
    - `counts` [examples, k] and `value` of sums [..., k] → [...] define it.
    - `utility` [...] → [...]: more is better, a hundredth is a point.
    - `show` formats one value, `show_interval` its interval.
    """

    name: MetricName
    title: str
    unit: str
    higher_is_better: bool
    counts: Counts
    value: Callable[[FloatArray], FloatArray]
    utility: Callable[[FloatArray], FloatArray]
    show: Callable[[float], str]
    show_interval: Callable[[float, float], str]
    axis_scale: float = 100.0
    """Values times this are what a chart's axis shows."""

    @property
    def axis(self) -> str:
        """The title of a chart's axis."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def rank(self, value: float | None) -> float:
        """What models are ordered by: `utility`, and less than all of them without a value."""
        return -math.inf if value is None else float(self.utility(np.asarray(value)))

    def points(self, better: float, worse: float) -> float:
        """By how many points one value is better than another (negative: worse)."""
        return 100 * (self.rank(better) - self.rank(worse))


class Score(msgspec.Struct, frozen=True):
    """A value with its 95 % interval; `n` answers (texts or words) stand behind it."""

    value: float
    ci95: tuple[float, float]
    n: int


def metric_of(task: str) -> Metric:
    """The metric of a task by name; accuracy for a task of a newer version."""
    return METRICS[TASKS[task].metric if task in TASKS else "accuracy"]


def score(metric: Metric, found: Predictions, labels: Sequence[str]) -> Score:
    """The value of a metric over all answers, with its interval.

    Raises `DataError` where the answers do not fit the labels or each other.
    """
    counts = metric.counts(found, labels)
    sums = counts.sum(axis=0)
    value = float(metric.value(sums))
    if metric.name == "accuracy" and not found.counts:
        interval = stats.wilson(round(sums[0]), len(counts))
        return Score(interval.estimate, (interval.low, interval.high), len(counts))
    drawn = metric.value(stats.cluster_bootstrap(counts))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    if low == high and 0 <= value <= 1 and metric.higher_is_better:
        # All examples alike: drawing them again cannot show what others might be like.
        interval = stats.wilson(round(value * len(counts)), len(counts))
        low, high = min(interval.low, value), max(interval.high, value)
    return Score(value, (low, high), n_answers(found))


def n_answers(found: Predictions) -> int:
    """Number of answers that were scored: texts, or words where there is one for each."""
    return sum(found.counts) if found.counts else len(found.gold)


def difference(
    metric: Metric, a: Predictions, b: Predictions, labels: Sequence[str]
) -> stats.Difference:
    """The utility of model a minus that of model b on the same examples, by paired bootstrap.

    Raises `DataError` where the two have not answered the same examples.
    """
    if metric.name == "accuracy" and not a.counts:
        return stats.paired_bootstrap(a.gold, a.predicted, b.predicted, len(labels))
    ours, theirs = metric.counts(a, labels), metric.counts(b, labels)
    if ours.shape != theirs.shape:
        raise DataError("two models have answered other examples", found=len(ours))
    width = ours.shape[1]
    both = np.concatenate([ours, theirs], axis=1)

    def gained(sums: FloatArray) -> FloatArray:
        first = metric.utility(metric.value(sums[..., :width]))
        return np.asarray(first - metric.utility(metric.value(sums[..., width:])))

    return stats.bootstrap_difference(
        metric.name,
        float(gained(both.sum(axis=0))),
        gained(stats.cluster_bootstrap(both)),
        len(both),
    )


def by_example(found: Predictions) -> list[slice]:
    """For each example the places of its answers in the flat columns."""
    lengths = found.counts or (1,) * len(found.gold)
    ends = np.cumsum(lengths).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def subset(found: Predictions, chosen: Sequence[bool]) -> Predictions:
    """The answers of those examples that are `chosen` [examples]."""
    places = [own for own, keep in zip(by_example(found), chosen, strict=True) if keep]

    def some(column: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(one for one, keep in zip(column, chosen, strict=True) if keep)

    return msgspec.structs.replace(
        found,
        gold=tuple(number for own in places for number in found.gold[own]),
        predicted=tuple(number for own in places for number in found.predicted[own]),
        sources=some(found.sources),
        counts=some(found.counts) if found.counts else (),
        log_probabilities=some(found.log_probabilities) if found.log_probabilities else (),
        top1_correct=some(found.top1_correct) if found.top1_correct else (),
        top3_correct=some(found.top3_correct) if found.top3_correct else (),
    )


def _right_counts(found: Predictions, labels: Sequence[str]) -> FloatArray:
    """Right answers and answers of each example: [examples, 2]."""
    gold, predicted = np.asarray(found.gold), np.asarray(found.predicted)
    if gold.shape != predicted.shape or gold.max(initial=0) >= len(labels):
        raise DataError("answers do not fit the labels", found=f"{len(gold)}, {len(predicted)}")
    right = np.concatenate([[0], np.cumsum(gold == predicted)])
    places = by_example(found)
    rows = [[right[own.stop] - right[own.start], own.stop - own.start] for own in places]
    return np.asarray(rows, dtype=np.float64).reshape(-1, 2)


def _entity_counts(found: Predictions, labels: Sequence[str]) -> FloatArray:
    """Entities found exactly, there, and said, of each example: [examples, 3]."""
    return np.asarray(per_type_counts(found, labels).sum(axis=1))


def per_type_counts(found: Predictions, labels: Sequence[str]) -> FloatArray:
    """The same by entity type: [examples, types, 3], types as `tagging.entity_types` has them."""
    types = entity_types(labels)
    rows = [
        entity_counts(
            [labels[tag] for tag in found.gold[own]],
            [labels[tag] for tag in found.predicted[own]],
            types,
        )
        for own in by_example(found)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(types), 3)


def _gap_counts(found: Predictions, labels: Sequence[str]) -> FloatArray:
    """True positives, false positives and false negatives of each example: [examples, 3]."""
    if len(labels) != gap_metrics.N_CLASSES:
        raise DataError("GAP's scores need the classes A, B and neither", found=", ".join(labels))
    return np.asarray(gap_metrics.decisions(found.gold, found.predicted), np.float64)


def _share(sums: FloatArray) -> FloatArray:
    """Right over all, 0 of nothing."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def f1_of_counts(sums: FloatArray) -> FloatArray:
    """F1 from found, there, said: 2·found / (there + said) (van Rijsbergen 1979), 0 of nothing."""
    return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))


def _itself(value: FloatArray) -> FloatArray:
    return value


def _show_shares(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {100 * high:.1f}"


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        name="accuracy",
        title="accuracy",
        unit="%",
        higher_is_better=True,
        counts=_right_counts,
        value=_share,
        utility=_itself,
        show=format_share,
        show_interval=_show_shares,
    ),
    "entity-f1": Metric(
        name="entity-f1",
        title="entity F1",
        unit="%",
        higher_is_better=True,
        counts=_entity_counts,
        value=f1_of_counts,
        utility=_itself,
        show=format_share,
        show_interval=_show_shares,
    ),
    "gap-f1": Metric(
        name="gap-f1",
        title="F1 of pronouns",
        unit="%",
        higher_is_better=True,
        counts=_gap_counts,
        value=gap_metrics.f1_of_counts,
        utility=_itself,
        show=format_share,
        show_interval=_show_shares,
    ),
    "perplexity": Metric(
        name="perplexity",
        title="perplexity",
        unit="a word",
        higher_is_better=False,
        counts=perplexity.counts,
        value=perplexity.value,
        utility=perplexity.utility,
        show=perplexity.show,
        show_interval=perplexity.show_interval,
        axis_scale=1.0,
    ),
}
"""By name; every metric that a task of `edgeseq.tasks.registry` names."""
