"""Charts of scores: by class, by source, and where two models disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import altair as alt

from edgeseq.reporting.charts.chart_parts import (
    LayeredChart,
    inline_data,
    make_figure,
    model_colour,
    model_shape,
)
from edgeseq.reporting.charts.theme import ModelStyle, arch_colour, printable
from edgeseq.reporting.format import format_p_value
from edgeseq.reporting.rows import MeasuredModel, ModelGroup
from edgeseq.reporting.run_statistics import Disagreement, disagreement
from edgeseq.reporting.sections import ReportFigure
from edgeseq.tasks import scoring
from edgeseq.tasks.gap_f1 import bias_of
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.task import Task
from edgeseq.units import format_count, format_share

FEW_LABELS = 6
MAX_LABELS = 24
"""With more classes or sources than this a table is clearer."""


def class_chart(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """Recall of each class with its Wilson interval."""
    records = [
        _interval_record(styles[row.bundle], score.label, score.recall, score.recall_ci95, 100)
        for row in group.rows
        for score in row.per_class
        if score.recall is not None and score.recall_ci95 is not None
    ]
    if not 2 <= len({record["name"] for record in records}) <= MAX_LABELS:
        return None
    kind = group.rows[0].metric_definition.class_title
    extremes = _extremes_caption(records, kind, "recall")
    caption = f"{extremes} Recall: {_recall_of(task_of(group.task))}; bars are 95 % intervals."
    chart, height_px = _interval_chart(records, styles, "recall, %")
    return make_figure(chart, "accuracy-classes", f"Per {kind}", caption, height_px=height_px)


def _interval_record(
    style: ModelStyle, name: str, value: float, interval: tuple[float, float], scale: float
) -> dict[str, Any]:
    low, high = interval
    return {
        "model": style.label,
        "name": printable(name),
        "y": scale * value,
        "low": scale * low,
        "high": scale * high,
    }


def _recall_of(task: Task) -> str:
    """What the recall of a class is, in words."""
    if task.bio_labels:
        return "the share of a type's entities that were predicted exactly"
    if task.is_multilabel:
        return "the share of a label's texts for which it was predicted"
    return f"the share of a class's {task.scored_unit} that got its label"


def source_chart(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """The score on each source of the texts with its interval."""
    records = [
        _interval_record(
            styles[row.bundle],
            source.source,
            source.score,
            source.score_ci95,
            row.metric_definition.axis_scale,
        )
        for row in group.rows
        for source in row.per_source
    ]
    if not 2 <= len({record["name"] for record in records}) <= MAX_LABELS:
        return None
    metric = group.rows[0].metric_definition
    extremes = _extremes_caption(records, "source", metric.title, higher=metric.higher_is_better)
    top = 100.0 if metric.unit == "%" else None
    caption = f"{extremes}{_bias_caption(group, styles)} Bars are 95 % intervals."
    chart, height_px = _interval_chart(records, styles, metric.axis, top=top)
    return make_figure(chart, "accuracy-sources", "Per source", caption, height_px=height_px)


def _bias_caption(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> str:
    """GAP's bias of each model, where sources are the pronouns' genders; else empty."""
    ratios = [
        f"{bias:.2f} for {styles[row.bundle].label}"
        for row in group.rows
        if row.metric == "gap-f1"
        and (bias := bias_of({score.source: score.score for score in row.per_source})) is not None
    ]
    return f" F1 of feminine over masculine pronouns is {', '.join(ratios)}." if ratios else ""


def _extremes_caption(
    records: Sequence[Mapping[str, Any]], kind: str, metric: str, *, higher: bool = True
) -> str:
    values: dict[str, list[float]] = {}
    for record in records:
        values.setdefault(record["name"], []).append(record["y"])
    names = sorted(values, key=lambda name: fmean(values[name]), reverse=not higher)
    hardest = [record for record in records if record["name"] == names[0]]
    best = (max if higher else min)(hardest, key=lambda record: record["y"])
    return (
        f"The hardest {kind} is {names[0]}, where even {best['model']} reaches only "
        f"{best['y']:.1f}{' %' if higher else ''} {metric}; the easiest is {names[-1]}."
    )


def _interval_chart(
    records: Sequence[Mapping[str, Any]],
    styles: Mapping[str, ModelStyle],
    title: str,
    *,
    top: float | None = 100.0,
) -> tuple[LayeredChart, int]:
    names = list(dict.fromkeys(record["name"] for record in records))
    low = max(0.0, min(record["low"] for record in records) - 3)
    high = max(record["high"] for record in records) + 3
    high = high if top is None else min(top, high)
    base = alt.Chart(inline_data(records)).encode(
        y=alt.Y(
            "name:N",
            title=None,
            sort=names,
            scale=alt.Scale(paddingInner=0.3),
            axis=alt.Axis(labelLimit=110, grid=False),
        ),
        yOffset=alt.YOffset("model:N", sort=[style.label for style in styles.values()]),
        color=model_colour(styles),
    )
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.8).encode(
            x=alt.X("low:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False)),
            x2="high:Q",
        ),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            x="y:Q",
            shape=model_shape(styles),
            tooltip=["model:N", "name:N", alt.Tooltip("y:Q", format=".1f", title=title)],
        ),
    )
    return chart, max(120, len(names) * (14 + 11 * len(styles)))


def disagreement_counts(first: MeasuredModel, second: MeasuredModel) -> list[dict[str, Any]]:
    """How often each pair of labels was predicted by the two models."""
    predictions = [model.run.predictions for model in (first, second)]
    columns = [p.predicted for p in predictions if p is not None]
    if len(columns) < 2:
        return []
    labels = _class_names(first)
    counts = Counter(zip(*columns, strict=True))
    return [
        {"first": labels[a], "second": labels[b], "n": counts[a, b], "same": a == b}
        for a in range(len(labels))
        for b in range(len(labels))
    ]


def _class_names(model: MeasuredModel) -> list[str]:
    bundle = model.run.bundle
    return [printable(name) for name in task_of(bundle.task).class_names(bundle.labels)]


def confusion_chart(
    first: MeasuredModel, second: MeasuredModel, styles: Mapping[str, ModelStyle]
) -> ReportFigure | None:
    """The predictions of two models against each other, over all test examples."""
    records = disagreement_counts(first, second)
    labels = _class_names(first)
    counts = disagreement(first.run, second.run)
    if counts is None or len(labels) > MAX_LABELS:
        return None
    largest = max((r["n"] for r in records if not r["same"]), default=0) or 1
    is_large = len(labels) > FEW_LABELS
    for record in records:
        # Of many cells most are empty: their zeros would hide the rest.
        is_blank = is_large and not record["n"]
        record["text"] = "" if is_blank else format_count(record["n"])
        record["opacity"] = 0.08 if record["same"] else 0.1 + 0.75 * record["n"] / largest
    x_axis = alt.Axis(labelAngle=-45 if is_large else 0, labelLimit=90, labelOverlap=False)
    x_title, y_title = (f"{styles[model.row.bundle].label} predicts" for model in (second, first))
    base = alt.Chart(inline_data(records)).encode(
        x=alt.X("second:N", sort=labels, title=x_title, axis=x_axis),
        y=alt.Y("first:N", sort=labels, title=y_title, axis=alt.Axis(labelLimit=80)),
    )
    chart = alt.layer(
        base.mark_rect(color=arch_colour("bert"), cornerRadius=3).encode(
            opacity=alt.Opacity("opacity:Q", scale=None)
        ),
        base.mark_text(fontSize=10 if is_large else 13, fontWeight=600).encode(text="text:N"),
    )
    return make_figure(
        chart,
        "disagreement",
        "Where two models disagree",
        _disagreement_caption(first, second, records, counts),
        height_px=max(200, (26 if is_large else 52) * len(labels)),
    )


def _disagreement_caption(
    first: MeasuredModel,
    second: MeasuredModel,
    records: Sequence[Mapping[str, Any]],
    counts: Disagreement,
) -> str:
    n_different = sum(record["n"] for record in records if not record["same"])
    n_total = sum(record["n"] for record in records)
    return (
        f"The two disagree on {format_share(n_different / max(n_total, 1))} of "
        f"{format_count(n_total)} {task_of(first.run.bundle.task).scored_unit}: "
        f"only {first.row.bundle} is right on {format_count(counts.only_first)}, "
        f"only {second.row.bundle} on {format_count(counts.only_second)}; neither on "
        f"{format_count(counts.both_wrong)}, both on {format_count(counts.both_right)} "
        f"({_difference_text(first, second, counts)})."
    )


def _difference_text(first: MeasuredModel, second: MeasuredModel, counts: Disagreement) -> str:
    """How sure the difference is: McNemar's test, which takes answers as independent, or a
    bootstrap of whole sentences where answers are words."""
    a, b = first.run.predictions, second.run.predictions
    if a is None or b is None or not a.counts:
        return f"exact McNemar {format_p_value(counts.p_value)}"
    metric = first.row.metric_definition
    unit = "texts" if task_of(first.run.bundle.task).is_multilabel else "sentences"
    interval = scoring.difference(metric, a, b, first.run.bundle.labels).interval
    return (
        f"{metric.title} differs by {100 * interval.estimate:.1f} points, "
        f"{100 * interval.low:.1f} to {100 * interval.high:.1f} by a bootstrap of {unit}"
    )


def pair_to_compare(
    group: ModelGroup, winner: str | None
) -> tuple[MeasuredModel, MeasuredModel] | None:
    """The winner (or the best) and the best of the other architecture, else the next best.

    None unless two models predicted the same examples.
    """
    scored = [
        model for model in group.models if model.run.predictions and model.row.score is not None
    ]
    if len(scored) < 2:
        return None
    scored.sort(key=lambda model: -model.row.rank)
    first = next((model for model in scored if model.row.bundle == winner), scored[0])
    rest = [model for model in scored if model is not first]
    second = next((model for model in rest if model.row.arch != first.row.arch), rest[0])
    return first, second
