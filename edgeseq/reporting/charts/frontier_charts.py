"""The two frontiers: what a point of the score costs in latency and in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt

from edgeseq.reporting.charts.chart_parts import (
    MB,
    LogAxis,
    capitalize,
    inline_data,
    limit_rule,
    log_axis,
    make_figure,
    model_colour,
    model_shape,
)
from edgeseq.reporting.charts.label_placement import place_labels
from edgeseq.reporting.charts.theme import (
    AXIS_WIDTH_PX,
    IS_NARROW,
    LABEL_WIDTH_PX,
    NARROW_WIDTH_PX,
    ModelStyle,
    colour,
)
from edgeseq.reporting.format import format_point_difference, format_score, format_score_interval
from edgeseq.reporting.rows import ModelGroup, ReportRow
from edgeseq.reporting.sections import ReportFigure
from edgeseq.units import format_bytes, format_duration_ms, format_factor

CostName = Literal["p95", "memory"]
_HEIGHT_PX = 320
_COST_TITLES: dict[CostName, str] = {"p95": "latency", "memory": "memory"}


def frontier_chart(
    group: ModelGroup, styles: Mapping[str, ModelStyle], *, cost: CostName, limit: float | None
) -> ReportFigure | None:
    """Score over p95 latency or over memory; None when no row has both numbers.

    Models without a style are grey points without a name.
    """
    rows = [row for row in group.rows if row.score is not None and _cost(row, cost) is not None]
    if not rows:
        return None
    metric = rows[0].metric_definition
    unit_title = f"p95 latency of {group.timed_scope}, ms"
    edges = [edge for row in rows for edge in _cost_interval(row, cost)]
    limit_x = 0.0 if limit is None else limit / (1.0 if cost == "p95" else MB)
    # A limit near the models belongs in the picture; one far off would squeeze them.
    if min(edges) / 3 < limit_x < max(edges) * 3:
        edges.append(limit_x)
    x = log_axis(unit_title if cost == "p95" else f"{group.memory_title}, MB", edges)
    low, high = _score_domain(rows)
    records = _records([row for row in rows if row.bundle in styles], styles, cost)
    unnamed = _records([row for row in rows if row.bundle not in styles], styles, cost)
    _add_label_positions(records, x, low, high)
    # Better is higher up, whichever way the metric counts.
    scale = alt.Scale(
        domain=[low, high], nice=False, zero=False, reverse=not metric.higher_is_better
    )
    base = alt.Chart(inline_data(records)).encode(
        x=x.x("x:Q"), y=alt.Y("y:Q", title=metric.axis, scale=scale)
    )
    front = pareto(rows, cost)
    steps = [{"x": _cost(row, cost), "y": metric.axis_scale * (row.score or 0.0)} for row in front]
    colour_channel = model_colour(styles, legend=False)
    chart = alt.layer(
        alt.Chart(inline_data(steps))
        .mark_line(interpolate="step-after", strokeDash=[4, 3], color=colour("muted"))
        .encode(x="x:Q", y="y:Q"),
        *_unnamed_points(unnamed),
        limit_rule("x"),
        base.mark_rule(strokeWidth=1.6).encode(
            y=alt.Y("y_low:Q"), y2="y_high:Q", color=colour_channel
        ),
        base.mark_rule(strokeWidth=1.6).encode(
            x=alt.X("x_low:Q"), x2="x_high:Q", color=colour_channel
        ),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            color=colour_channel,
            shape=model_shape(styles, legend=False),
            tooltip=[
                alt.Tooltip("bundle:N", title="model"),
                alt.Tooltip("x_text:N", title=x.title.split(",")[0]),
                alt.Tooltip("y_text:N", title=metric.title),
            ],
        ),
        *_labels(base, styles),
    )
    title = _COST_TITLES[cost]
    return make_figure(
        chart,
        f"frontier-{title}",
        f"{capitalize(metric.title)} against {title}",
        _frontier_caption(rows, front, cost),
        height_px=_HEIGHT_PX,
        limits={"limit_x": (cost, limit_x)},
    )


def _cost(row: ReportRow, cost: CostName) -> float | None:
    if cost == "p95":
        return row.p95_ms
    return None if row.required_memory_bytes is None else row.required_memory_bytes / MB


def _cost_interval(row: ReportRow, cost: CostName) -> tuple[float, float]:
    value = _cost(row, cost) or 0.0
    if cost != "p95" or row.p95_ms_ci95 is None:
        return (value, value)
    low, high = row.p95_ms_ci95
    return (low, value if high is None else high)


def _cost_text(row: ReportRow, cost: CostName) -> str:
    if cost == "p95":
        return format_duration_ms(row.p95_ms or 0.0)
    return format_bytes(row.required_memory_bytes or 0)


def _score_domain(rows: Sequence[ReportRow]) -> tuple[float, float]:
    """Ends of the axis of scores: all intervals and a margin."""
    scale = rows[0].metric_definition.axis_scale
    edges = [scale * edge for row in rows for edge in (row.score_ci95 or (row.score or 0.0,) * 2)]
    margin = max(1.0, 0.12 * (max(edges) - min(edges)))
    low, high = max(0.0, min(edges) - margin), max(edges) + margin
    return low, min(100.0, high) if scale == 100 else high


def _records(
    rows: Sequence[ReportRow], styles: Mapping[str, ModelStyle], cost: CostName
) -> list[dict[str, Any]]:
    records = []
    for row in rows:
        score, scale = row.score or 0.0, row.metric_definition.axis_scale
        low, high = row.score_ci95 or (score, score)
        x_low, x_high = _cost_interval(row, cost)
        note = "" if row.valid else " (not valid)"
        records.append(
            {
                "model": styles[row.bundle].label if row.bundle in styles else "",
                "bundle": row.bundle + note,
                "x": _cost(row, cost),
                "x_low": x_low,
                "x_high": x_high,
                "y": scale * score,
                "y_low": scale * low,
                "y_high": scale * high,
                "x_text": _cost_text(row, cost),
                "y_text": f"{format_score(row)} ({format_score_interval(row)})",
            }
        )
    return records


def _unnamed_points(records: list[dict[str, Any]]) -> list[alt.Chart]:
    """Models of a large group that are not named."""
    if not records:
        return []
    kept = ("bundle", "x", "y", "x_text", "y_text")
    points = alt.Chart(inline_data([{key: r[key] for key in kept} for r in records]))
    tooltip = [alt.Tooltip("bundle:N", title="model"), "x_text:N", "y_text:N"]
    mark = points.mark_point(filled=True, size=22, opacity=0.55, color=colour("muted"))
    return [mark.encode(x="x:Q", y="y:Q", tooltip=tooltip)]


def _add_label_positions(
    records: list[dict[str, Any]], x: LogAxis, low: float, high: float
) -> None:
    """Adds to each record where its label goes in wide and in narrow pictures."""

    def y_px(score: float) -> float:
        return _HEIGHT_PX * (high - score) / (high - low)

    for suffix, width_px in (("", LABEL_WIDTH_PX), ("_narrow", NARROW_WIDTH_PX)):
        inner_px = width_px - AXIS_WIDTH_PX
        points = [(x.px(r["x"], inner_px), y_px(r["y"])) for r in records]
        bars = [
            (px - 2, y_px(r["y_high"]), px + 2, y_px(r["y_low"]))
            for r, (px, _) in zip(records, points, strict=True)
        ]
        positions = place_labels(
            points,
            [record["model"] for record in records],
            bars=bars,
            width_px=inner_px,
            height_px=_HEIGHT_PX,
        )
        for record, position in zip(records, positions, strict=True):
            record |= {f"{key}{suffix}": value for key, value in position._asdict().items()}


def _labels(base: alt.Chart, styles: Mapping[str, ModelStyle]) -> list[alt.Chart]:
    """Labels beside their points, placed once for wide pictures and once for narrow ones."""
    marks = []
    for suffix, condition in (("", f"!({IS_NARROW})"), ("_narrow", IS_NARROW)):
        text = base.transform_filter(condition).encode(text="model:N")
        # A halo of the paper's colour keeps a label readable where it has to cross a line.
        for halo in (True, False):
            mark = text.mark_text(
                align=alt.ExprRef(f"datum.align{suffix}"),
                dx=alt.ExprRef(f"datum.dx{suffix}"),
                dy=alt.ExprRef(f"datum.dy{suffix}"),
                baseline="middle",
                fontWeight=600,
                stroke=colour("paper") if halo else alt.Undefined,
                strokeWidth=3 if halo else 0,
                strokeJoin="round",
            )
            marks.append(mark if halo else mark.encode(color=model_colour(styles, legend=False)))
    return marks


def pareto(rows: Sequence[ReportRow], cost: CostName) -> list[ReportRow]:
    """Valid rows that no other valid row beats in score at no higher cost, cheapest first."""
    front: list[ReportRow] = []
    valid = [row for row in rows if row.valid]
    for row in sorted(valid, key=lambda row: (_cost(row, cost) or 0.0, -row.rank)):
        if not front or row.rank > front[-1].rank:
            front.append(row)
    return front


def _frontier_caption(rows: Sequence[ReportRow], front: Sequence[ReportRow], cost: CostName) -> str:
    title = _COST_TITLES[cost]
    if not front:
        return "Without a valid measurement there is no frontier."
    if len(front) == 1:
        return f"{front[0].bundle} has the best score at the lowest {title}."
    cheapest, best = front[0], front[-1]
    metric = best.metric_definition
    factor = (_cost(best, cost) or 0.0) / (_cost(cheapest, cost) or 1.0)
    points = metric.points(best.score or 0.0, cheapest.score or 0.0)
    n_valid = sum(row.valid for row in rows)
    n_dominated = n_valid - len(front)
    dominated = f"; {n_dominated} of {n_valid} models lie off the dashed frontier"
    dominated = dominated if n_dominated else ""
    return (
        f"From {cheapest.bundle} to {best.bundle}, {format_point_difference(points)} of "
        f"{metric.title} cost {format_factor(factor)} times the {title} "
        f"({_cost_text(cheapest, cost)} to {_cost_text(best, cost)}){dominated}. "
        "Bars are 95 % intervals."
    )
