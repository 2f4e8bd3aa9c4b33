"""The two frontiers: what a point of accuracy costs in latency and in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from edgeseq.report.chart_parts import (
    MB,
    Figure,
    by_model,
    capital,
    finish,
    limit_rule,
    log_axis,
    shape_by_model,
    values,
)
from edgeseq.report.rows import Group, Row
from edgeseq.report.theme import (
    AXIS_WIDTH_PX,
    IS_NARROW,
    LABEL_WIDTH_PX,
    NARROW_WIDTH_PX,
    Style,
    colour,
    place_labels,
)
from edgeseq.units import format_bytes, format_duration_ms


def frontier(
    group: Group, styles: Mapping[str, Style], *, over: str, limit: float | None
) -> Figure | None:
    """Score over p95 latency (`over="p95"`) or over process memory (`over="memory"`).

    None when fewer than one row has both numbers.
    """
    rows = [row for row in group.rows if row.score is not None and _cost(row, over) is not None]
    if not rows:
        return None
    title = f"p95 latency of {group.timed}, ms" if over == "p95" else "peak process memory, MB"
    edges = [edge for row in rows for edge in _cost_interval(row, over)]
    shown_limit = _shown_limit(limit, over)
    # A limit near the models belongs in the picture; one far off would squeeze them.
    if min(edges) / 3 < shown_limit < max(edges) * 3:
        edges.append(shown_limit)
    x = log_axis(over, title, edges)
    metric = rows[0].by
    scale = metric.axis_scale
    scores = [scale * edge for row in rows for edge in (row.score_ci95 or (row.score or 0.0,) * 2)]
    margin = max(1.0, 0.12 * (max(scores) - min(scores)))
    low, high = max(0.0, min(scores) - margin), max(scores) + margin
    if scale == 100:
        high = min(100.0, high)
    height_px = 320
    records = _frontier_records(rows, styles, over)
    for suffix, width_px in (("", LABEL_WIDTH_PX), ("_narrow", NARROW_WIDTH_PX)):
        inner_px = width_px - AXIS_WIDTH_PX
        points = [
            (x.px(r["x"], inner_px), height_px * (high - r["y"]) / (high - low)) for r in records
        ]
        bars = [
            (px - 2, height_px * (high - r["y_high"]) / (high - low),
             px + 2, height_px * (high - r["y_low"]) / (high - low))
            for r, (px, _) in zip(records, points, strict=True)
        ]  # fmt: skip
        placed = place_labels(
            points,
            [record["model"] for record in records],
            bars=bars,
            width_px=inner_px,
            height_px=height_px,
        )
        for record, place in zip(records, placed, strict=True):
            record |= {f"{key}{suffix}": part for key, part in place._asdict().items()}
    y = alt.Y(
        "y:Q",
        title=metric.axis,
        # Better is higher up, whichever way the metric counts.
        scale=alt.Scale(
            domain=[low, high],
            nice=False,
            zero=False,
            reverse=not metric.higher_is_better,
        ),
    )
    base = alt.Chart(values(records)).encode(
        x=alt.X("x:Q", title=x.title, scale=x.scale(), axis=x.axis()), y=y
    )
    front = pareto(rows, over)
    steps = [{"x": _cost(row, over), "y": scale * (row.score or 0.0)} for row in front]
    chart = alt.layer(
        alt.Chart(values(steps))
        .mark_line(interpolate="step-after", strokeDash=[4, 3], color=colour("muted"))
        .encode(x="x:Q", y="y:Q"),
        limit_rule("x"),
        base.mark_rule(strokeWidth=1.6).encode(
            y=alt.Y("y_low:Q"), y2="y_high:Q", color=by_model(styles, legend=False)
        ),
        base.mark_rule(strokeWidth=1.6).encode(
            x=alt.X("x_low:Q"), x2="x_high:Q", color=by_model(styles, legend=False)
        ),
        base.mark_point(filled=True, size=110, opacity=1).encode(
            color=by_model(styles, legend=False),
            shape=shape_by_model(styles, legend=False),
            tooltip=[
                alt.Tooltip("bundle:N", title="model"),
                alt.Tooltip("x_text:N", title=x.title.split(",")[0]),
                alt.Tooltip("y_text:N", title=metric.title),
            ],
        ),
        *_labels(base, styles),
    ).add_params(alt.param(name="limit_x", value=shown_limit))
    said = "latency" if over == "p95" else "memory"
    return Figure(
        name=f"frontier-{said}",
        title=f"{capital(metric.title)} against {said}",
        caption=_frontier_caption(rows, front, over),
        spec=finish(
            chart,
            height_px=height_px,
            description=f"{metric.title} over {x.title}",
            limits={"limit_x": over},
        ),
    )


def _cost(row: Row, over: str) -> float | None:
    if over == "p95":
        return row.p95_ms
    return None if row.peak_process_bytes is None else row.peak_process_bytes / MB


def _cost_interval(row: Row, over: str) -> tuple[float, float]:
    cost = _cost(row, over) or 0.0
    if over != "p95" or row.p95_ms_ci95 is None:
        return (cost, cost)
    low, high = row.p95_ms_ci95
    return (low, cost if high is None else high)


def _cost_text(row: Row, over: str) -> str:
    if over == "p95":
        return format_duration_ms(row.p95_ms or 0.0)
    return format_bytes(row.peak_process_bytes or 0)


def _shown_limit(limit: float | None, over: str) -> float:
    return 0.0 if limit is None else limit / (1.0 if over == "p95" else MB)


def _frontier_records(
    rows: Sequence[Row], styles: Mapping[str, Style], over: str
) -> list[dict[str, Any]]:
    records = []
    for row in rows:
        score, scale = row.score or 0.0, row.by.axis_scale
        low, high = row.score_ci95 or (score, score)
        x_low, x_high = _cost_interval(row, over)
        note = "" if row.valid else " (not valid)"
        records.append(
            {
                "model": styles[row.bundle].label,
                "bundle": row.bundle + note,
                "x": _cost(row, over),
                "x_low": x_low,
                "x_high": x_high,
                "y": scale * score,
                "y_low": scale * low,
                "y_high": scale * high,
                "x_text": _cost_text(row, over),
                "y_text": f"{row.by.show(score)} ({row.by.show_interval(low, high)})",
            }
        )
    return records


def _labels(base: alt.Chart, styles: Mapping[str, Style]) -> list[alt.Chart]:
    """Labels beside their points, one place for wide pictures and one for narrow ones."""
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
            marks.append(mark if halo else mark.encode(color=by_model(styles, legend=False)))
    return marks


def pareto(rows: Sequence[Row], over: str) -> list[Row]:
    """Valid rows that no other valid row beats in score at no higher cost, cheapest first."""
    front: list[Row] = []
    able = [row for row in rows if row.valid]
    for row in sorted(able, key=lambda row: (_cost(row, over) or 0.0, -row.rank)):
        if not front or row.rank > front[-1].rank:
            front.append(row)
    return front


def _frontier_caption(rows: Sequence[Row], front: Sequence[Row], over: str) -> str:
    what = "latency" if over == "p95" else "memory"
    if not front:
        return "No measurement is valid, so there is no frontier."
    if len(front) == 1:
        return f"{front[0].bundle} is the best and the cheapest in {what}: nothing else pays off."
    cheap, best = front[0], front[-1]
    factor = (_cost(best, over) or 0.0) / (_cost(cheap, over) or 1.0)
    points = best.by.points(best.score or 0.0, cheap.score or 0.0)
    off = len([row for row in rows if row.valid]) - len(front)
    rest = f"; {off} of {off + len(front)} models lie off the dashed frontier" if off else ""
    return (
        f"From {cheap.bundle} to {best.bundle}, {points:.1f} points of {rows[0].by.title} cost "
        f"{factor:.3g} times the {what} ({_cost_text(cheap, over)} to {_cost_text(best, over)})"
        f"{rest}. Bars are 95 % intervals."
    )
