"""Pictures of accuracy: by class, by source, and where two models disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from edgeseq.report.chart_parts import Figure, by_model, finish, shape_by_model, values
from edgeseq.report.evidence import Disagreement, disagreement
from edgeseq.report.rows import Entry, Group
from edgeseq.report.theme import Style, arch_colour, plain
from edgeseq.tasks import scoring
from edgeseq.tasks.coreference import bias_of
from edgeseq.units import format_count, format_share

FEW_LABELS = 6
MAX_LABELS = 24
"""With more classes or sources than this the table says it better."""


def classes(group: Group, styles: Mapping[str, Style]) -> Figure | None:
    """Recall of each class with its Wilson interval."""
    records = [
        {
            "model": styles[row.bundle].label,
            "what": plain(score.label),
            "y": 100 * score.recall,
            "low": 100 * score.recall_ci95[0],
            "high": 100 * score.recall_ci95[1],
        }
        for row in group.rows
        for score in row.per_class
        if score.recall is not None and score.recall_ci95 is not None
    ]
    if not 2 <= len({record["what"] for record in records}) <= MAX_LABELS:
        return None
    entities = group.rows[0].metric == "entity-f1"
    return Figure(
        name="accuracy-classes",
        title="Per type of entity" if entities else "Per class",
        caption=_extremes_caption(records, "type of entity" if entities else "class", "recall")
        + " Recall: the share of "
        + (
            "a type's entities that were found exactly; "
            if entities
            else f"a class's {_answers(group.entries[0])} that got its label; "
        )
        + "bars are 95 % intervals.",
        spec=_intervals(records, styles, "recall, %"),
    )


def _answers(entry: Entry) -> str:
    """What one answer is about."""
    found = entry.run.predictions
    return "words" if found is not None and found.counts else "texts"


def sources(group: Group, styles: Mapping[str, Style]) -> Figure | None:
    """The score on each source of the texts with its Wilson interval."""
    records = [
        {
            "model": styles[row.bundle].label,
            "what": plain(score.source),
            "y": row.by.axis_scale * score.score,
            "low": row.by.axis_scale * score.score_ci95[0],
            "high": row.by.axis_scale * score.score_ci95[1],
        }
        for row in group.rows
        for score in row.per_source
    ]
    if not 2 <= len({record["what"] for record in records}) <= MAX_LABELS:
        return None
    metric = group.rows[0].by
    return Figure(
        name="accuracy-sources",
        title="Per source",
        caption=_extremes_caption(records, "source", metric.title, higher=metric.higher_is_better)
        + _bias_caption(group, styles)
        + " Bars are 95 % intervals.",
        spec=_intervals(records, styles, metric.axis, top=100.0 if metric.unit == "%" else None),
    )


def _bias_caption(group: Group, styles: Mapping[str, Style]) -> str:
    """GAP's bias of each model, where sources are the pronouns' genders; else nothing."""
    ratios = [
        f"{bias:.2f} for {styles[row.bundle].label}"
        for row in group.rows
        if row.metric == "gap-f1"
        and (bias := bias_of({one.source: one.score for one in row.per_source})) is not None
    ]
    return f" F1 of feminine over masculine pronouns is {', '.join(ratios)}." if ratios else ""


def _extremes_caption(
    records: Sequence[Mapping[str, Any]], kind: str, metric: str, *, higher: bool = True
) -> str:
    means: dict[str, list[float]] = {}
    for record in records:
        means.setdefault(record["what"], []).append(record["y"])
    order = sorted(means, key=lambda what: float(np.mean(means[what])), reverse=not higher)
    hard = [record for record in records if record["what"] == order[0]]
    best = (max if higher else min)(hard, key=lambda record: record["y"])
    return (
        f"The hardest {kind} is {order[0]}, where even {best['model']} reaches only "
        f"{best['y']:.1f}{' %' if higher else ''} {metric}; the easiest is {order[-1]}."
    )


def _intervals(
    records: Sequence[Mapping[str, Any]],
    styles: Mapping[str, Style],
    title: str,
    *,
    top: float | None = 100.0,
) -> dict[str, Any]:
    whats = list(dict.fromkeys(record["what"] for record in records))
    low = max(0.0, min(record["low"] for record in records) - 3)
    high = max(record["high"] for record in records) + 3
    high = high if top is None else min(top, high)
    base = alt.Chart(values(records)).encode(
        y=alt.Y(
            "what:N",
            title=None,
            sort=whats,
            scale=alt.Scale(paddingInner=0.3),
            axis=alt.Axis(labelLimit=110, grid=False),
        ),
        yOffset=alt.YOffset("model:N", sort=[style.label for style in styles.values()]),
        color=by_model(styles, legend=True),
    )
    chart = alt.layer(
        base.mark_rule(strokeWidth=1.8).encode(
            x=alt.X("low:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False)),
            x2="high:Q",
        ),
        base.mark_point(filled=True, size=52, opacity=1).encode(
            x="y:Q",
            shape=shape_by_model(styles, legend=True),
            tooltip=["model:N", "what:N", alt.Tooltip("y:Q", format=".1f", title=title)],
        ),
    )
    return finish(
        chart,
        height_px=max(120, len(whats) * (14 + 11 * len(styles))),
        description=f"{title} with intervals",
    )


def disagreement_counts(first: Entry, second: Entry) -> list[dict[str, Any]]:
    """How often each pair of labels was answered, with how often either was right."""
    one, two = first.run.predictions, second.run.predictions
    if one is None or two is None:
        return []
    labels = [plain(label) for label in first.run.bundle.labels]
    counts: dict[tuple[int, int], int] = {}
    for a, b in zip(one.predicted, two.predicted, strict=True):
        counts[a, b] = counts.get((a, b), 0) + 1
    return [
        {"first": labels[a], "second": labels[b], "n": counts.get((a, b), 0), "same": a == b}
        for a in range(len(labels))
        for b in range(len(labels))
    ]


def confusion(first: Entry, second: Entry, styles: Mapping[str, Style]) -> Figure | None:
    """The answers of two models against each other, over all test examples."""
    records = disagreement_counts(first, second)
    labels = [plain(label) for label in first.run.bundle.labels]
    found = disagreement(first.run, second.run)
    if found is None or len(labels) > MAX_LABELS:
        return None
    most = max((r["n"] for r in records if not r["same"]), default=0) or 1
    many = len(labels) > FEW_LABELS
    for record in records:
        # Of many cells most are empty: their zeros would be all that is seen.
        empty = many and not record["n"]
        record["text"] = "" if empty else format_count(record["n"])
        record["opacity"] = 0.08 if record["same"] else 0.1 + 0.75 * record["n"] / most
    base = alt.Chart(values(records)).encode(
        x=alt.X(
            "second:N",
            sort=labels,
            title=f"{styles[second.row.bundle].label} says",
            axis=alt.Axis(labelAngle=-45 if many else 0, labelLimit=90, labelOverlap=False),
        ),
        y=alt.Y(
            "first:N",
            sort=labels,
            title=f"{styles[first.row.bundle].label} says",
            axis=alt.Axis(labelLimit=80),
        ),
    )
    chart = alt.layer(
        base.mark_rect(color=arch_colour("bert"), cornerRadius=3).encode(
            opacity=alt.Opacity("opacity:Q", scale=None)
        ),
        base.mark_text(fontSize=10 if many else 13, fontWeight=600).encode(text="text:N"),
    )
    differ = sum(record["n"] for record in records if not record["same"])
    total = sum(record["n"] for record in records)
    return Figure(
        name="disagreement",
        title="Where two models disagree",
        caption=(
            f"The two answer {format_share(differ / max(total, 1))} of "
            f"{format_count(total)} {_answers(first)} "
            f"differently: only {first.row.bundle} is right on {format_count(found.only_first)}, "
            f"only {second.row.bundle} on {format_count(found.only_second)}; neither on "
            f"{format_count(found.both_wrong)}, both on {format_count(found.both_right)} "
            f"({_difference(first, second, found)})."
        ),
        spec=finish(
            chart,
            height_px=max(200, (26 if many else 52) * len(labels)),
            description="Answers of two models against each other",
        ),
    )


def _difference(first: Entry, second: Entry, found: Disagreement) -> str:
    """How sure it is that two models differ: by McNemar's test, which takes every answer for
    itself, or with sentences drawn whole where answers are words."""
    one, two = first.run.predictions, second.run.predictions
    if one is None or two is None or not one.counts:
        return f"exact McNemar p {_say_p(found.p_value)}"
    metric = first.row.by
    ends = scoring.difference(metric, one, two, first.run.bundle.labels).interval
    return (
        f"{metric.title} differs by {100 * ends.estimate:.1f} points, "
        f"{100 * ends.low:.1f} to {100 * ends.high:.1f} with sentences drawn whole"
    )


def _say_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def pair_to_compare(group: Group, ship: str | None) -> tuple[Entry, Entry] | None:
    """The model to ship (or the best) and the best of the other architecture, else the next best.

    None unless two models answered the same examples.
    """
    able = [
        entry for entry in group.entries if entry.run.predictions and entry.row.score is not None
    ]
    if len(able) < 2:
        return None
    able.sort(key=lambda entry: -entry.row.rank)
    first = next((entry for entry in able if entry.row.bundle == ship), able[0])
    others = [entry for entry in able if entry is not first]
    second = next((entry for entry in others if entry.row.arch != first.row.arch), others[0])
    return first, second
