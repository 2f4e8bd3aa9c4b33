"""How answers are scored: one metric a task, its interval, and the comparison of two models.

A metric is told by two functions: `counts` of each example (for instance right answers and all
answers), and the `value` of their sums. Everything else follows from these, the same for all:
the interval and the paired comparison draw whole examples with replacement, because the words of
a sentence depend on each other (`edgeseq.stats.scores.cluster_bootstrap`). For the accuracy of one
answer per text there is something better: Wilson's interval, and the exact distribution of the
drawn differences (`edgeseq.stats.scores.accuracy_difference`).

Two models are compared by `utility`, of which more is better and a hundredth is a "point": the
value itself where it is a fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgeseq.errors import DataError
from edgeseq.stats import scores as stats
from edgeseq.stats.classification import confusion_matrix
from edgeseq.tasks.metric import ClassCounts, FloatArray, Metric
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of


class Score(msgspec.Struct, frozen=True):
    """A value with its 95 % interval; from `n` answers (texts or words)."""

    value: float
    ci95: tuple[float, float]
    n: int


def metric_of(task: str) -> Metric:
    """The metric of a task; accuracy for a task of a newer version."""
    return task_of(task).load_metric()


def score(metric: Metric, predictions: Predictions, labels: Sequence[str]) -> Score:
    """The value of a metric over all answers, with its interval.

    Raises `DataError` where the answers do not fit the labels or each other.
    """
    counts = metric.counts(predictions, labels)
    return score_of_counts(metric, counts, predictions.counts or None)


def score_of_counts(metric: Metric, counts: FloatArray, word_counts: Sequence[int] | None) -> Score:
    """`score` from a metric's counts [examples, k]; `word_counts` [examples] is None for texts."""
    sums = counts.sum(axis=0)
    value = float(metric.value(sums))
    if metric.is_accuracy and word_counts is None:
        interval = stats.wilson(round(sums[0]), len(counts))
        return Score(interval.estimate, (interval.low, interval.high), len(counts))
    drawn = metric.value(stats.cluster_bootstrap(counts))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    if low == high and 0 <= value <= 1 and metric.higher_is_better:
        # All examples alike: drawing them again cannot show what others might be like.
        interval = stats.wilson(round(value * len(counts)), len(counts))
        low, high = min(interval.low, value), max(interval.high, value)
    return Score(value, (low, high), len(counts) if word_counts is None else sum(word_counts))


def n_answers(predictions: Predictions) -> int:
    """Number of answers that were scored: texts, or words where there is one for each."""
    return sum(predictions.counts) if predictions.counts else len(predictions.gold)


def difference(
    metric: Metric, a: Predictions, b: Predictions, labels: Sequence[str]
) -> stats.Difference:
    """The utility of model a minus that of model b on the same examples, by paired bootstrap.

    Raises `DataError` where the two have not answered the same examples.
    """
    ours, theirs = metric.counts(a, labels), metric.counts(b, labels)
    return difference_of_counts(metric, ours, theirs, is_text=not a.counts)


def difference_of_counts(
    metric: Metric, ours: FloatArray, theirs: FloatArray, *, is_text: bool
) -> stats.Difference:
    """`difference` from both models' counts [examples, k], one answer per example if `is_text`."""
    if ours.shape != theirs.shape:
        raise DataError("two models have answered other examples", found=len(ours))
    if metric.is_accuracy and is_text:
        ours_right, theirs_right = ours[:, 0] > 0, theirs[:, 0] > 0
        only_ours = int((ours_right & ~theirs_right).sum())
        only_theirs = int((theirs_right & ~ours_right).sum())
        return stats.accuracy_difference(only_ours, only_theirs, len(ours))
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


def is_paired(first: Predictions, second: Predictions) -> bool:
    """Whether two models were scored on the same examples."""
    return (
        first.examples_sha256 == second.examples_sha256
        and first.gold == second.gold
        and first.counts == second.counts
    )


def by_example(predictions: Predictions) -> list[slice]:
    """For each example the places of its answers in the flat columns."""
    lengths = predictions.counts or (1,) * len(predictions.gold)
    ends = np.cumsum(lengths).tolist()
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _right_counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    """Right answers and answers of each example: [examples, 2]."""
    gold, predicted = np.asarray(predictions.gold), np.asarray(predictions.predicted)
    if gold.shape != predicted.shape or gold.max(initial=0) >= len(labels):
        raise DataError("answers do not fit the labels", found=f"{len(gold)}, {len(predicted)}")
    right = np.concatenate([[0], np.cumsum(gold == predicted)])
    lengths = np.asarray(predictions.counts or np.ones(len(gold)), dtype=np.int64)
    ends = np.cumsum(lengths)
    return np.stack([right[ends] - right[ends - lengths], lengths], axis=1).astype(np.float64)


def _share(sums: FloatArray) -> FloatArray:
    """Right over all, 0 of nothing."""
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))


def label_counts(predictions: Predictions, labels: Sequence[str]) -> ClassCounts:
    """Right, present and predicted answers of each label."""
    confusion = confusion_matrix(predictions.gold, predictions.predicted, len(labels))
    columns = (confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0))
    return ClassCounts(tuple(labels), np.stack(columns, axis=1).astype(np.int64))


ACCURACY = Metric(
    name="accuracy",
    title="accuracy",
    counts=_right_counts,
    value=_share,
    is_accuracy=True,
    class_counts=label_counts,
)
