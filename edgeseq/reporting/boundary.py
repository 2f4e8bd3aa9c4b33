"""Under which memory and latency limits an LSTM wins, a BERT wins, or nothing fits.

Winners change only where a limit passes a row's own value, so deciding once between each two
neighbouring values covers every possible limit.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.format import format_point_difference
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.verdict import ScoreGaps, blocking_reasons, decide
from edgeseq.tasks.registry import task_of
from edgeseq.units import format_bytes, format_duration_ms

GridCell = tuple[int, int]
MAP_LIMITS = frozenset({"memory", "p95"})
"""Keys of the limits that span the map."""
"""A causal encoder is not a BERT."""


class WinnerMap(msgspec.Struct, frozen=True):
    """`winners[i][j]` ships when memory may reach `memory_bytes[i]` and p95 `p95_ms[j]` (and not
    the next larger value of either); None where nothing fits.

    An axis that some row lacks has one entry, None: that limit is not set.
    """

    memory_bytes: tuple[int | None, ...]
    p95_ms: tuple[float | None, ...]
    winners: tuple[tuple[str | None, ...], ...]


def winner_map(rows: Sequence[ReportRow], budget: Budget, gaps: ScoreGaps) -> WinnerMap:
    """Decides under every combination of limits; the budget's other limits hold throughout."""
    candidates = [row for row in rows if not blocking_reasons(row, budget, skip=MAP_LIMITS)]
    memory_bytes: tuple[int | None, ...] = (None,)
    p95_ms: tuple[float | None, ...] = (None,)
    if candidates and all(row.peak_process_bytes for row in candidates):
        memory_bytes = tuple(sorted({row.peak_process_bytes or 0 for row in candidates}))
    if candidates and all(row.p95_ms for row in candidates):
        p95_ms = tuple(sorted({row.p95_ms or 0.0 for row in candidates}))

    def winner(memory: int | None, p95: float | None) -> str | None:
        limits = msgspec.structs.replace(budget, memory_bytes=memory, p95_ms=p95)
        return decide(candidates, limits, gaps).winner

    return WinnerMap(
        memory_bytes=memory_bytes,
        p95_ms=p95_ms,
        winners=tuple(tuple(winner(memory, p95) for p95 in p95_ms) for memory in memory_bytes),
    )


def boundary_sentence(rows: Sequence[ReportRow], winners: WinnerMap) -> str:
    """The map in words, with the limits at which the winner changes."""
    by_name = {row.bundle: row for row in rows}
    names = _arch_names(rows)
    cells = {
        (i, j): by_name[winner].arch
        for i, column in enumerate(winners.winners)
        for j, winner in enumerate(column)
        if winner is not None
    }
    if not cells:
        return "No model fits under any memory and latency limit: see the reasons for each."
    top_corner = (len(winners.memory_bytes) - 1, len(winners.p95_ms) - 1)
    top_arch = cells[top_corner]
    region = {cell for cell, arch in cells.items() if arch == top_arch}
    other_archs = sorted({row.arch for row in rows} - {top_arch})
    if len(region) < len(cells) and not _is_upward_closed(region, top_corner):
        return _walk_axes(winners, cells, names)
    sentence = f"Ship {names[top_arch]} if you can spare {_format_corners(winners, rows, region)}"
    if len(region) == len(cells):
        sentence += ". Nothing fits below."
        if other_archs:
            sentence += f" No limit makes {names[other_archs[0]]} the better choice."
        return sentence
    best = by_name[winners.winners[-1][-1] or ""]
    runner_up = next(
        by_name[winners.winners[i][j] or ""]
        for (i, j), arch in sorted(cells.items(), reverse=True)
        if arch != top_arch
    )
    points = best.metric_definition.points(best.score or 0.0, runner_up.score or 0.0)
    gain = f" (+{format_point_difference(points)})" if points > 0 else ""
    lowest = _format_corners(winners, rows, set(cells))
    return (
        f"{sentence}{gain}. Below that ship {names[other_archs[0]]}, down to {lowest}. "
        "Nothing fits below."
    )


def _arch_names(rows: Sequence[ReportRow]) -> dict[Arch, str]:
    """Architectures with their article, for a sentence about these rows."""
    encoder = task_of(rows[0].task if rows else "").bert_title
    return {"lstm": "an LSTM", "bert": f"a {encoder}"}


def _corners(region: set[GridCell]) -> list[GridCell]:
    """The cells of a region that no other of its cells undercuts on both axes."""
    return sorted(
        cell
        for cell in region
        if not any(c != cell and c[0] <= cell[0] and c[1] <= cell[1] for c in region)
    )


def _is_upward_closed(region: set[GridCell], top_corner: GridCell) -> bool:
    return all(
        (i, j) in region
        for corner in _corners(region)
        for i in range(corner[0], top_corner[0] + 1)
        for j in range(corner[1], top_corner[1] + 1)
    )


def _format_corners(winners: WinnerMap, rows: Sequence[ReportRow], region: set[GridCell]) -> str:
    texts: list[str] = []
    for i, j in _distinct_corners(winners, rows, _corners(region)):
        memory, p95 = winners.memory_bytes[i], winners.p95_ms[j]
        parts = [] if memory is None else [format_bytes(memory)]
        if p95 is not None:
            name = "" if texts and parts else "a p95 of "
            parts.append(f"{name}{format_duration_ms(p95)}")
        texts.append(" and ".join(parts) or "the resources of this device")
    return ", or ".join(texts)


def _distinct_corners(
    winners: WinnerMap, rows: Sequence[ReportRow], corners: Sequence[GridCell]
) -> list[GridCell]:
    """The corners, from the least memory up, without those whose p95 is not known to be lower than
    that of the corner before: the other one's lies within their confidence interval."""
    high_ms = {row.p95_ms: row.p95_ms_ci95[1] for row in rows if row.p95_ms_ci95 is not None}
    distinct: list[GridCell] = []
    for corner in corners:
        p95_ms = winners.p95_ms[corner[1]]
        before_ms = winners.p95_ms[distinct[-1][1]] if distinct else None
        if before_ms is not None and p95_ms in high_ms:
            high = high_ms[p95_ms]
            if high is None or before_ms <= high:
                continue
        distinct.append(corner)
    return distinct


def _walk_axes(winners: WinnerMap, cells: dict[GridCell, Arch], names: dict[Arch, str]) -> str:
    """Each axis alone, the other without a limit: true whatever shape the regions have."""
    n_columns, n_rows = len(winners.memory_bytes), len(winners.p95_ms)
    memory = [
        (format_bytes(value), cells.get((i, n_rows - 1)))
        for i, value in enumerate(winners.memory_bytes)
        if value is not None
    ]
    latency = [
        (format_duration_ms(value), cells.get((n_columns - 1, j)))
        for j, value in enumerate(winners.p95_ms)
        if value is not None
    ]
    return " ".join(
        f"With any {free_limit}: {_format_steps(walk, names)}."
        for free_limit, walk in (("latency", memory), ("memory", latency))
        if walk
    )


def _format_steps(walk: Sequence[tuple[str, Arch | None]], names: dict[Arch, str]) -> str:
    steps, last = [], None
    for value, arch in walk:
        if arch is not None and arch != last:
            steps.append(f"{names[arch]} from {value}")
            last = arch
    return ", ".join(steps)
