"""The map of who wins: which model ships under which memory and p95 limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from edgeseq.formats.trained_model import Arch
from edgeseq.report.boundary import WinnerMap
from edgeseq.report.budgets import Budget
from edgeseq.report.chart_parts import MB, Axis, Figure, finish, limit_rule, log_axis, values
from edgeseq.report.rows import Group
from edgeseq.report.theme import (
    AXIS_WIDTH_PX,
    CHARACTER_WIDTH_PX,
    IS_NARROW,
    LABEL_WIDTH_PX,
    NARROW_WIDTH_PX,
    Style,
    arch_colour,
    arch_title,
    colour,
)
from edgeseq.units import format_bytes, format_duration_ms

HEIGHT_PX = 340
LINE_HEIGHT_PX = 14
MARK_RADIUS_PX = 6
NOTHING = "nothing fits"
ARCHS: tuple[Arch, ...] = ("lstm", "bert")


_Mark = tuple[float | None, float]
"""A model at what it needs, in MB and ms; without MB a line across the picture."""


class _Rectangle(NamedTuple):
    """A region of limits with one winner (None: nothing fits), in MB and ms."""

    x: float
    x2: float
    y: float
    y2: float
    winner: str | None


def winner_chart(
    group: Group, winners: WinnerMap, styles: Mapping[str, Style], budget: Budget, ships: str | None
) -> Figure | None:
    """The map; None unless both memory and p95 of some model that could ship were measured."""
    memory = [value / MB for value in winners.memory_bytes if value is not None]
    p95 = [value for value in winners.p95_ms if value is not None]
    if not memory or not p95 or winners.winners[-1][-1] is None:
        return None
    x = log_axis("memory", "limit on process memory, MB", memory, low=1.25, high=1.5)
    y = log_axis("p95", "limit on p95 latency, ms", p95, low=1.9, high=2.5)
    rectangles = _rectangles(winners, memory, p95, x, y)
    who = {row.bundle: arch_title(row.arch, row.task) for row in group.rows}
    kinds = [*(arch_title(arch, group.task) for arch in ARCHS), NOTHING]
    kinds_present = {who[r.winner] if r.winner else NOTHING for r in rectangles}
    colours = [*(arch_colour(arch) for arch in ARCHS), colour("none")]
    records = [
        {
            "x": r.x, "x2": r.x2, "y": r.y, "y2": r.y2,
            "who": who[r.winner] if r.winner else NOTHING,
            "bundle": r.winner or NOTHING,
        }
        for r in rectangles
    ]  # fmt: skip
    fill = alt.Color(
        "who:N",
        scale=alt.Scale(
            domain=[kind for kind in kinds if kind in kinds_present],
            range=[c for kind, c in zip(kinds, colours, strict=True) if kind in kinds_present],
        ),
        legend=alt.Legend(title=None, symbolType="square", columns=3),
    )
    cells = (
        alt.Chart(values(records))
        .mark_rect(opacity=0.3, clip=True)
        .encode(
            x=alt.X("x:Q", title=x.title, scale=x.scale(), axis=x.axis()),
            x2="x2:Q",
            y=alt.Y("y:Q", title=y.title, scale=y.scale(), axis=y.axis()),
            y2="y2:Q",
            color=fill,
            tooltip=[alt.Tooltip("bundle:N", title="ships")],
        )
    )
    models = [
        {
            "x": (row.peak_process_bytes or 0) / MB,
            "y": row.p95_ms,
            "bundle": row.bundle,
            "shape": styles[row.bundle].shape,
            "colour": styles[row.bundle].colour,
            "memory": format_bytes(row.peak_process_bytes or 0),
            "p95": format_duration_ms(row.p95_ms or 0.0),
        }
        for row in group.rows
        if row.peak_process_bytes and row.p95_ms
    ]
    points = (
        alt.Chart(values(models))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x="x:Q",
            y="y:Q",
            shape=alt.Shape("shape:N", scale=None, legend=None),
            fill=alt.Fill("colour:N", scale=None, legend=None),
            tooltip=[
                alt.Tooltip("bundle:N", title="model"),
                alt.Tooltip("memory:N", title="process memory"),
                alt.Tooltip("p95:N"),
            ],
        )
    )
    in_the_way: list[_Mark] = [
        (row.peak_process_bytes / MB, row.p95_ms)
        for row in group.rows
        if row.peak_process_bytes and row.p95_ms
    ]
    if budget.p95_ms:
        in_the_way.append((None, budget.p95_ms))
    chart = alt.layer(
        cells,
        *_names(winners, x, y, styles, in_the_way),
        points,
        limit_rule("x"),
        limit_rule("y"),
    ).add_params(
        alt.param(name="limit_x", value=(budget.memory_bytes or 0) / MB),
        alt.param(name="limit_y", value=budget.p95_ms or 0.0),
    )
    return Figure(
        name="winners",
        title="Who wins under which limits",
        caption=f"Under this report's limits {ships or 'nothing'} ships. Each mark is a model at "
        "what it needs; limits within the picture are dashed, and in the page a click sets both.",
        spec=finish(
            chart,
            height_px=HEIGHT_PX,
            description="Map of the model to ship over memory and latency limits",
            limits={"limit_x": "memory", "limit_y": "p95"},
        ),
    )


def _rectangles(
    winners: WinnerMap, memory: Sequence[float], p95: Sequence[float], x: Axis, y: Axis
) -> list[_Rectangle]:
    """The regions, each run of equal winners along memory in one piece, so that no seam shows."""
    xs, ys = [x.low, *memory, x.high], [y.low, *p95, y.high]
    found = []
    for j in range(len(ys) - 1):
        run_start = 0
        line = [None, *(column[j - 1] if j else None for column in winners.winners)]
        for i in range(1, len(line) + 1):
            if i == len(line) or line[i] != line[run_start]:
                found.append(_Rectangle(xs[run_start], xs[i], ys[j], ys[j + 1], line[run_start]))
                run_start = i
    return found


def _names(
    winners: WinnerMap,
    x: Axis,
    y: Axis,
    styles: Mapping[str, Style],
    in_the_way: Sequence[_Mark],
) -> list[alt.Chart]:
    """Each winner's name in the largest rectangle that is all its own, where it fits, above or
    below what is in the way."""
    memory = [value / MB for value in winners.memory_bytes if value is not None]
    p95 = [value for value in winners.p95_ms if value is not None]
    charts = []
    for width_px, condition in ((LABEL_WIDTH_PX, f"!({IS_NARROW})"), (NARROW_WIDTH_PX, IS_NARROW)):
        xs = [x.px(v, width_px - AXIS_WIDTH_PX) for v in (x.low, *memory, x.high)]
        ys = [y.px(v, HEIGHT_PX) for v in (y.low, *p95, y.high)]
        grid = [[None] * (len(ys) - 1)] + [[None, *column] for column in winners.winners]
        records: list[dict[str, Any]] = []
        for winner in [*sorted({w for column in grid for w in column if w}), None]:
            left, right, low, high = _largest(grid, winner, xs, ys)
            text = styles[winner].label if winner else NOTHING
            lines = _wrap(text, right - left - 8)
            height = 0 if lines is None else len(lines) * LINE_HEIGHT_PX
            if lines is None or height > high - low - 4:
                continue
            half_width = max(map(len, lines)) * CHARACTER_WIDTH_PX * 1.08 / 2
            near = [
                y.px(ms, HEIGHT_PX)
                for mb, ms in in_the_way
                if mb is None
                or abs(x.px(mb, width_px - AXIS_WIDTH_PX) - (left + right) / 2)
                < half_width + MARK_RADIUS_PX
            ]
            middle = clear_middle(low, high, height, near)
            records.append(
                {
                    "text": lines,
                    "x": _value(x, (left + right) / 2, width_px - AXIS_WIDTH_PX),
                    "y": _value(y, middle, HEIGHT_PX),
                    "dy": -LINE_HEIGHT_PX / 2 * (len(lines) - 1),
                }
            )
        if records:
            charts.append(
                alt.Chart(values(records))
                .transform_filter(condition)
                .mark_text(
                    fontWeight=600,
                    fontSize=12,
                    lineHeight=LINE_HEIGHT_PX,
                    baseline="middle",
                    dy=alt.ExprRef("datum.dy"),
                )
                .encode(x="x:Q", y="y:Q", text="text:N")
            )
    return charts


def clear_middle(low: float, high: float, height: float, in_the_way: Sequence[float]) -> float:
    """Where between `low` and `high` the middle of a name of `height` stands clear of the marks
    at `in_the_way` (all px along one axis): as near to the centre as it can, and at the centre if
    it can nowhere."""
    centre, room = (low + high) / 2, (high - low - height) / 2 - 2
    apart = height / 2 + MARK_RADIUS_PX
    for away in range(int(max(room, 0)) + 1):
        for place in (centre + away, centre - away):
            if all(abs(place - one) >= apart for one in in_the_way):
                return place
    return centre


def _largest(
    grid: Sequence[Sequence[str | None]],
    winner: str | None,
    xs: Sequence[float],
    ys: Sequence[float],
) -> tuple[float, float, float, float]:
    """Left, right, low and high edge in px of the largest rectangle won by `winner` alone."""
    best = (0.0, 0.0, 0.0, 0.0)
    for i in range(len(grid)):
        top = len(ys) - 1
        for j in range(len(ys) - 1):
            for i2 in range(i, len(grid)):
                top = len(ys) - 1
                heights = []
                for column in grid[i : i2 + 1]:
                    run = j
                    while run < len(ys) - 1 and column[run] == winner:
                        run += 1
                    heights.append(run)
                top = min(heights)
                if top <= j:
                    break
                box = (xs[i], xs[i2 + 1], ys[j], ys[top])
                if (box[1] - box[0]) * (box[3] - box[2]) > (best[1] - best[0]) * (
                    best[3] - best[2]
                ):
                    best = box
    return best


def _value(axis: Axis, px: float, length_px: float) -> float:
    return float(axis.low * (axis.high / axis.low) ** (px / length_px))


def _wrap(text: str, width_px: float) -> list[str] | None:
    """`text` in lines of at most `width_px`, broken at spaces; None when a word does not fit."""
    limit = width_px / (CHARACTER_WIDTH_PX * 1.08)
    lines: list[str] = []
    for word in text.split():
        if len(word) > limit:
            return None
        if lines and len(lines[-1]) + 1 + len(word) <= limit:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
