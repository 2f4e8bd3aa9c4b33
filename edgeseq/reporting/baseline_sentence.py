"""What a linear model reaches on the examples that a group of models answered."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.linear_baseline import LinearBaseline
from edgeseq.reporting.rows import MeasuredModel, ModelGroup
from edgeseq.reporting.summary import GroupDecision
from edgeseq.tasks.examples import sample_positions
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import by_example, difference, metric_of, score


def check_baseline(groups: Sequence[ModelGroup], baseline: LinearBaseline) -> None:
    """Raises `InputError` unless a group was measured on the baseline's data set."""
    if not any(_is_of(group, baseline) for group in groups):
        raise InputError(
            "this linear baseline is of other data than the results",
            where="baseline",
            found=f"{baseline.data_name} {baseline.data_sha256[:12]}…",
            expected=" or ".join(
                dict.fromkeys(f"{group.data_name} {group.data_sha256[:12]}…" for group in groups)
            ),
            fix="give the baseline that was fitted to the same data set",
        )


def baseline_sentence(decision: GroupDecision, baseline: LinearBaseline) -> str:
    """The baseline's score, and how far the model that ships, or else the best one, is from it.

    Empty for a group of other data.
    """
    group = decision.group
    if not _is_of(group, baseline):
        return ""
    models = [model for model in group.models if model.run.predictions is not None]
    if not models:
        return ""
    metric = metric_of(group.task)
    model = _compared_model(models, decision.summary.verdict.winner)
    predictions = _of_examples(baseline.predictions, group, model)
    scored = score(metric, predictions, baseline.labels)
    reached = f"{metric.title} {metric.show(scored.value)} ({metric.show_interval(*scored.ci95)})"
    intro = f"A linear baseline ({baseline.method}), which does not ship, reaches {reached}"
    return f"{intro}; {_comparison(metric, model, predictions)}."


def _is_of(group: ModelGroup, baseline: LinearBaseline) -> bool:
    return (group.task, group.data_sha256) == (baseline.task, baseline.data_sha256)


def _compared_model(models: Sequence[MeasuredModel], winner: str | None) -> MeasuredModel:
    shipped = [model for model in models if model.row.bundle == winner]
    return shipped[0] if shipped else max(models, key=lambda model: model.row.rank)


def _of_examples(predictions: Predictions, group: ModelGroup, model: MeasuredModel) -> Predictions:
    """The predictions for those test examples that the model answered, in their order."""
    total, answered = len(predictions.sources), model.run.predictions
    positions = sample_positions(total, group.effective.examples)
    if answered is not None:
        # A quick run of a language model scores the first documents alone.
        positions = positions[: len(answered.sources)]
    if len(positions) == total:
        return predictions

    def chosen(column: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(column[position] for position in positions) if column else ()

    spans = by_example(predictions) if predictions.gold else []
    words = [index for position in positions if spans for index in _places(spans[position])]
    return msgspec.structs.replace(
        predictions,
        gold=tuple(predictions.gold[index] for index in words),
        predicted=tuple(predictions.predicted[index] for index in words),
        sources=tuple(predictions.sources[position] for position in positions),
        counts=chosen(predictions.counts),
        log_probabilities=chosen(predictions.log_probabilities),
    )


def _places(span: slice) -> range:
    return range(span.start, span.stop)


def _comparison(metric: Metric, model: MeasuredModel, baseline: Predictions) -> str:
    """How many points the model is better or worse, by a paired test."""
    name, answered = model.row.bundle, model.run.predictions
    if answered is None or not _same_answers(answered, baseline):
        return f"{name} answered other examples, so the two are not compared"
    interval = difference(metric, answered, baseline, model.run.bundle.labels).interval
    low, high = 100 * interval.low, 100 * interval.high
    points = 100 * interval.estimate
    if low <= 0 <= high:
        interval_text = f"({low:+.1f} to {high:+.1f})"
        return f"{name} differs by {points:+.1f} points {interval_text}, which may be chance"
    if points < 0:
        return f"{name} is {-points:.1f} points worse ({-high:.1f} to {-low:.1f})"
    return f"{name} is {points:.1f} points better ({low:.1f} to {high:.1f})"


def _same_answers(first: Predictions, second: Predictions) -> bool:
    return (first.gold, first.counts, len(first.sources)) == (
        second.gold,
        second.counts,
        len(second.sources),
    )
