"""The charts of a search: the frontier of all that was trained, and the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from edgeseq.formats.search_record import SearchRecord, SearchTrial
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.charts.chart_parts import (
    MB,
    capitalize,
    inline_data,
    limit_rule,
    log_axis,
    make_figure,
)
from edgeseq.reporting.charts.theme import arch_colour, arch_title, archs_of, colour
from edgeseq.reporting.search_section import frontier
from edgeseq.reporting.sections import ReportFigure
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_duration_ms

_HEIGHT_PX = 300


def search_charts(record: SearchRecord) -> tuple[ReportFigure, ...]:
    """Score over memory, score over p95, and score by trial; () when nothing was trained."""
    trained = [trial for trial in record.trials if trial.dev_score is not None]
    if not trained:
        return ()
    budget = parse_budget(record.budget)
    costs = (
        ("memory", "required_memory_bytes", MB, "memory, MB", budget.memory_bytes),
        ("p95", "p95_ms", 1.0, "p95 latency of a whole query, ms", budget.p95_ms),
    )
    return (
        *(_cost_chart(record, trained, cost) for cost in costs if _has_cost(trained, cost[1])),
        _history_chart(record),
    )


def _has_cost(trials: Sequence[SearchTrial], field: str) -> bool:
    return any(trial.costs.get(field) for trial in trials)


def _cost_chart(
    record: SearchRecord,
    trained: Sequence[SearchTrial],
    cost: tuple[str, str, float, str, float | None],
) -> ReportFigure:
    """`cost` is its name, field, unit, axis title and limit."""
    name, field, unit, title, limit = cost
    metric = metric_of(record.task)
    known = [trial for trial in trained if trial.costs.get(field)]
    numbers = {trial.number for trial in frontier(trained)}
    records = [_point(record, trial) | {"x": (trial.costs[field] or 0.0) / unit} for trial in known]
    limit_x = 0.0 if limit is None else limit / unit
    edges = [point["x"] for point in records]
    x = log_axis(title, [*edges, *([limit_x] if limit_x else [])])
    base = alt.Chart(inline_data(records)).encode(
        x=x.x("x:Q"),
        y=alt.Y("y:Q", title=f"{metric.axis}, development split", scale=alt.Scale(zero=False)),
    )
    front, best = [], float("-inf")
    for point in sorted(records, key=lambda point: (point["x"], -point["y"])):
        if point["y"] > best:
            best = point["y"]
            front.append({"x": point["x"], "y": best})
    chart = alt.layer(
        alt.Chart(inline_data(front))
        .mark_line(interpolate="step-after", strokeDash=[4, 3], color=colour("muted"))
        .encode(x="x:Q", y="y:Q"),
        limit_rule("x"),
        base.mark_point(filled=True, size=70, opacity=0.85).encode(
            color=_family_colour(record), tooltip=_tooltip()
        ),
    )
    return make_figure(
        chart,
        f"search-{name}",
        f"{capitalize(metric.title)} against {name} of all trained candidates",
        f"{len(known)} trained models; {len(numbers)} of them are beaten by none in score, memory, "
        "p95 and size together. The dashed line is the best score up to each cost.",
        height_px=_HEIGHT_PX,
        limits={"limit_x": (name, limit_x)},
    )


def _history_chart(record: SearchRecord) -> ReportFigure:
    """The score of each trial that was trained, and the best so far."""
    metric = metric_of(record.task)
    points, best_so_far, best = [], [], float("-inf")
    for trial in record.trials:
        if trial.dev_score is None and not trial.dev_scores:
            continue
        points.append(_point(record, trial) | {"outcome": trial.outcome})
        if trial.dev_score is not None:
            best = max(best, metric.axis_scale * trial.dev_score)
            best_so_far.append({"x": trial.number, "y": best})
    last = record.trials[-1].number
    best_so_far.append({"x": last, "y": best})
    scale = alt.Scale(domain=[0, max(last, 1)], nice=False)
    whole = alt.Axis(tickMinStep=1, format="d")
    x = alt.X("x:Q", title="trial", scale=scale, axis=whole)
    y = alt.Y("y:Q", title=f"{metric.axis}, development split", scale=alt.Scale(zero=False))
    base = alt.Chart(inline_data(points)).encode(x=x, y=y)
    chart = alt.layer(
        alt.Chart(inline_data(best_so_far))
        .mark_line(interpolate="step-after", color=colour("muted"))
        .encode(x="x:Q", y="y:Q"),
        base.transform_filter("datum.outcome == 'trained'")
        .mark_point(filled=True, size=60, opacity=0.9)
        .encode(color=_family_colour(record), tooltip=_tooltip()),
        base.transform_filter("datum.outcome != 'trained'")
        .mark_point(filled=False, size=40, opacity=0.7)
        .encode(color=_family_colour(record), tooltip=_tooltip()),
    )
    return make_figure(
        chart,
        "search-history",
        "History of the search",
        "Filled points were trained to the end, open ones ended early with their best score so "
        "far; the line is the best model so far. Candidates over the budget have no score.",
        height_px=_HEIGHT_PX,
    )


def _point(record: SearchRecord, trial: SearchTrial) -> dict[str, Any]:
    metric = metric_of(record.task)
    score = trial.dev_score if trial.dev_score is not None else max(trial.dev_scores)
    memory, p95 = trial.costs.get("required_memory_bytes"), trial.costs.get("p95_ms")
    return {
        "x": trial.number,
        "y": metric.axis_scale * score,
        "family": arch_title(trial.arch, record.task),
        "model": f"{trial.model} {trial.recipe}, trial {trial.number}",
        "score": metric.show(score),
        "memory": format_bytes(memory) if memory else "",
        "p95": format_duration_ms(p95) if p95 else "",
    }


def _family_colour(record: SearchRecord) -> alt.Color:
    archs = archs_of(trial.arch for trial in record.trials)
    return alt.Color(
        "family:N",
        scale=alt.Scale(
            domain=[arch_title(arch, record.task) for arch in archs],
            range=[arch_colour(arch) for arch in archs],
        ),
        legend=alt.Legend(title=None, symbolOpacity=1),
    )


def _tooltip() -> list[alt.Tooltip]:
    titles = ("model", "score", "memory", "p95")
    return [alt.Tooltip(f"{title}:N", title=title) for title in titles]
