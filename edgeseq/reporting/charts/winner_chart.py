"""The map of winners: which model ships under which memory and p95 limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from edgeseq.reporting.boundary import WinnerMap
from edgeseq.reporting.charts.chart_parts import (
    MB,
    LogAxis,
    inline_data,
    limit_rule,
    log_axis,
    make_figure,
)
from edgeseq.reporting.charts.label_placement import CHARACTER_WIDTH_PX
from edgeseq.reporting.charts.theme import (
    AXIS_WIDTH_PX,
    IS_NARROW,
    LABEL_WIDTH_PX,
    NARROW_WIDTH_PX,
    ModelStyle,
    arch_colour,
    arch_title,
    archs_of,
    colour,
)
from edgeseq.reporting.rows import ModelGroup
from edgeseq.reporting.sections import ReportFigure
from edgeseq.reporting.summary import GroupDecision
from edgeseq.units import format_bytes, format_duration_ms

HEIGHT_PX = 340
LINE_HEIGHT_PX = 14
MARK_RADIUS_PX = 6
NO_WINNER = "nothing fits"


class _Rectangle(NamedTuple):
    """A region of limits with one winner (None: nothing fits), in MB and ms, or in px."""

    x: float
    x2: float
    y: float
    y2: float
    winner: str | None

    @property
    def area(self) -> float:
        return (self.x2 - self.x) * (self.y2 - self.y)


class _MapGrid(NamedTuple):
    """The map between its axes: edges in MB and ms, and the winner in each cell [x][y]."""

    x: LogAxis
    y: LogAxis
    memory_mb: tuple[float, ...]
    p95_ms: tuple[float, ...]
    cells: tuple[tuple[str | None, ...], ...]


def winner_chart(decision: GroupDecision, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """The map; None unless both memory and p95 of some model that could ship were measured."""
    group, winners = decision.group, decision.summary.winner_map
    verdict = decision.summary.verdict
    memory_mb = [value / MB for value in winners.memory_bytes if value is not None]
    p95_ms = [value for value in winners.p95_ms if value is not None]
    if not memory_mb or not p95_ms or winners.winners[-1][-1] is None:
        return None
    grid = _map_grid(winners, memory_mb, p95_ms, group.memory_title)
    limit_mb, limit_ms = (verdict.budget.memory_bytes or 0) / MB, verdict.budget.p95_ms or 0.0
    chart = alt.layer(
        _cells_layer(grid, group),
        *_name_layers(grid, styles, _obstacles(group, styles, limit_ms), limit_mb),
        _models_layer(group, styles),
        limit_rule("x"),
        limit_rule("y"),
    )
    return make_figure(
        chart,
        "winners",
        "Which model wins under which limits",
        f"Under the limits of this report {verdict.winner or 'nothing'} ships. Each mark "
        f"is a model at its {group.memory_title} and p95. Limits within the picture are dashed; in "
        "the page a click sets both.",
        height_px=HEIGHT_PX,
        limits={"limit_x": ("memory", limit_mb), "limit_y": ("p95", limit_ms)},
    )


def _map_grid(
    winners: WinnerMap, memory_mb: list[float], p95_ms: list[float], memory_title: str
) -> _MapGrid:
    x = log_axis(f"limit on {memory_title}, MB", memory_mb, low=1.25, high=1.5)
    y = log_axis("limit on p95 latency, ms", p95_ms, low=1.9, high=2.5)
    # Below the cheapest model nothing fits: an empty column and an empty line.
    cells = ((None,) * (len(p95_ms) + 1), *((None, *column) for column in winners.winners))
    # Where nothing changes at a limit, its column or line goes with the one before.
    columns = [i for i in range(len(cells)) if i == 0 or cells[i] != cells[i - 1]]
    cells = tuple(cells[i] for i in columns)
    by_line = list(zip(*cells, strict=True))
    lines = [j for j in range(len(by_line)) if j == 0 or by_line[j] != by_line[j - 1]]
    x_edges, y_edges = (x.low, *memory_mb), (y.low, *p95_ms)
    return _MapGrid(
        x,
        y,
        (*(x_edges[i] for i in columns), x.high),
        (*(y_edges[j] for j in lines), y.high),
        tuple(tuple(column[j] for j in lines) for column in cells),
    )


def _cells_layer(grid: _MapGrid, group: ModelGroup) -> alt.Chart:
    kinds = {row.bundle: arch_title(row.arch, row.task) for row in group.rows}
    records = [
        {
            "x": r.x, "x2": r.x2, "y": r.y, "y2": r.y2,
            "kind": kinds[r.winner] if r.winner else NO_WINNER,
            "bundle": r.winner or NO_WINNER,
        }
        for r in _rectangles(grid)
    ]  # fmt: skip
    archs = archs_of(row.arch for row in group.rows)
    colours = {arch_title(arch, group.task): arch_colour(arch) for arch in archs}
    colours[NO_WINNER] = colour("none")
    present = [kind for kind in colours if any(record["kind"] == kind for record in records)]
    scale = alt.Scale(domain=present, range=[colours[kind] for kind in present])
    legend = alt.Legend(title=None, symbolType="square", columns=3)
    chart: alt.Chart = (
        alt.Chart(inline_data(records))
        .mark_rect(opacity=0.3, clip=True)
        .encode(
            x=grid.x.x("x:Q"),
            x2="x2:Q",
            y=grid.y.y("y:Q"),
            y2="y2:Q",
            color=alt.Color("kind:N", scale=scale, legend=legend),
            tooltip=[alt.Tooltip("bundle:N", title="ships")],
        )
    )
    return chart


def _rectangles(grid: _MapGrid) -> list[_Rectangle]:
    """The regions, each run of equal winners along memory in one piece, so that no seam shows."""
    rectangles = []
    for j, (y, y2) in enumerate(zip(grid.p95_ms, grid.p95_ms[1:], strict=False)):
        line = [column[j] for column in grid.cells]
        start = 0
        for i in range(1, len(line) + 1):
            if i == len(line) or line[i] != line[start]:
                x, x2 = grid.memory_mb[start], grid.memory_mb[i]
                rectangles.append(_Rectangle(x, x2, y, y2, line[start]))
                start = i
    return rectangles


def _models_layer(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> alt.Chart:
    records = [
        {
            "x": row.required_memory_bytes / MB,
            "y": row.p95_ms,
            "bundle": row.bundle,
            "shape": styles[row.bundle].shape if row.bundle in styles else "circle",
            "colour": styles[row.bundle].colour if row.bundle in styles else colour("muted"),
            "size": 70 if row.bundle in styles else 16,
            "memory": format_bytes(row.required_memory_bytes),
            "p95": format_duration_ms(row.p95_ms),
        }
        for row in group.rows
        if row.required_memory_bytes and row.p95_ms
    ]
    chart: alt.Chart = (
        alt.Chart(inline_data(records))
        .mark_point(filled=True, opacity=1)
        .encode(
            x="x:Q",
            y="y:Q",
            shape=alt.Shape("shape:N", scale=None, legend=None),
            fill=alt.Fill("colour:N", scale=None, legend=None),
            size=alt.Size("size:Q", scale=None, legend=None),
            tooltip=[
                alt.Tooltip("bundle:N", title="model"),
                alt.Tooltip("memory:N", title=group.memory_title),
                alt.Tooltip("p95:N"),
            ],
        )
    )
    return chart


def _obstacles(
    group: ModelGroup, styles: Mapping[str, ModelStyle], limit_ms: float
) -> list[tuple[float | None, float]]:
    """Marks that names must not cover, in MB and ms; without MB a line across the picture."""
    marks: list[tuple[float | None, float]] = [
        (row.required_memory_bytes / MB, row.p95_ms)
        for row in group.rows
        if row.required_memory_bytes and row.p95_ms and row.bundle in styles
    ]
    return [*marks, (None, limit_ms)] if limit_ms else marks


def _name_layers(
    grid: _MapGrid,
    styles: Mapping[str, ModelStyle],
    obstacles: Sequence[tuple[float | None, float]],
    limit_mb: float,
) -> list[alt.Chart]:
    """Each winner's name in the largest rectangle of its region, where it fits, clear of marks."""
    layers = []
    for width_px, condition in ((LABEL_WIDTH_PX, f"!({IS_NARROW})"), (NARROW_WIDTH_PX, IS_NARROW)):
        present = {winner for column in grid.cells for winner in column}
        winners = sorted(name for name in styles if name in present)
        records = [
            record
            for winner in (*winners, None)
            if (
                record := _name_record(
                    grid, winner, styles, (obstacles, limit_mb), width_px - AXIS_WIDTH_PX
                )
            )
        ]
        if records:
            layers.append(
                alt.Chart(inline_data(records))
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
    return layers


def _name_record(
    grid: _MapGrid,
    winner: str | None,
    styles: Mapping[str, ModelStyle],
    obstacles: tuple[Sequence[tuple[float | None, float]], float],
    width_px: float,
) -> dict[str, Any] | None:
    """A name with its position; None where it does not fit. `obstacles` are marks, and the limit on
    memory in MB (0: none), a line down the picture."""
    x, y = grid.x, grid.y
    xs = [x.px(value, width_px) for value in grid.memory_mb]
    ys = [y.px(value, HEIGHT_PX) for value in grid.p95_ms]
    box = _largest_rectangle(grid.cells, winner, xs, ys)
    lines = _wrap(styles[winner].label if winner else NO_WINNER, box.x2 - box.x - 8)
    if lines is None or len(lines) * LINE_HEIGHT_PX > box.y2 - box.y - 4:
        return None
    marks, limit_mb = obstacles
    clearance = max(map(len, lines)) * CHARACTER_WIDTH_PX * 1.08 / 2 + MARK_RADIUS_PX
    limit_px = [x.px(limit_mb, width_px)] if limit_mb else []
    # `clear_middle` adds the radius of a mark itself.
    centre = clear_middle(box.x, box.x2, 2 * (clearance - MARK_RADIUS_PX), limit_px)
    near = [
        y.px(ms, HEIGHT_PX)
        for mb, ms in marks
        if mb is None or abs(x.px(mb, width_px) - centre) < clearance
    ]
    middle = clear_middle(box.y, box.y2, len(lines) * LINE_HEIGHT_PX, near)
    return {
        "text": lines,
        "x": x.value(centre, width_px),
        "y": y.value(middle, HEIGHT_PX),
        "dy": -LINE_HEIGHT_PX / 2 * (len(lines) - 1),
    }


def clear_middle(low: float, high: float, height: float, marks: Sequence[float]) -> float:
    """Where between `low` and `high` the middle of a name of `height` is clear of the marks (all
    px along one axis): as near to the centre as possible, and at the centre if nowhere."""
    centre, room = (low + high) / 2, (high - low - height) / 2 - 2
    clearance = height / 2 + MARK_RADIUS_PX
    for distance in range(int(max(room, 0)) + 1):
        for middle in (centre + distance, centre - distance):
            if all(abs(middle - mark) >= clearance for mark in marks):
                return middle
    return centre


def _largest_rectangle(
    cells: Sequence[Sequence[str | None]],
    winner: str | None,
    xs: Sequence[float],
    ys: Sequence[float],
) -> _Rectangle:
    """The largest rectangle in px won by `winner` alone."""
    largest = _Rectangle(0.0, 0.0, 0.0, 0.0, winner)
    for i in range(len(cells)):
        for j in range(len(ys) - 1):
            top = len(ys) - 1
            for i2 in range(i, len(cells)):
                end = j
                while end < top and cells[i2][end] == winner:
                    end += 1
                top = end
                if top <= j:
                    break
                box = _Rectangle(xs[i], xs[i2 + 1], ys[j], ys[top], winner)
                largest = max(largest, box, key=lambda rectangle: rectangle.area)
    return largest


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
