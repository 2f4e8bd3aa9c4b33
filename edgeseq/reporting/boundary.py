"""Under which memory and latency limits an LSTM wins, a BERT wins, or nothing fits.

Winners change only where a limit passes a row's own value, so deciding once between each two
neighbouring values covers every possible limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.budgets import LIMITS, Budget
from edgeseq.reporting.format import format_point_difference
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.score_gaps import ScoreGaps
from edgeseq.reporting.verdict import blocking_reasons, by_cost
from edgeseq.tasks.registry import task_of
from edgeseq.units import format_bytes, format_duration_ms

GridCell = tuple[int, int]
Region = npt.NDArray[np.bool_]
"""Which cells of a map belong to something: [memory, p95]."""
MAP_LIMITS = frozenset({"memory", "p95"})
"""Keys of the limits that span the map."""
_MEMORY, _P95 = (limit for limit in LIMITS if limit.key in MAP_LIMITS)


class WinnerMap(msgspec.Struct, frozen=True):
    """`winners[i][j]` ships when memory may reach `memory_bytes[i]` and p95 `p95_ms[j]` (and not
    the next larger value of either); None where nothing fits.

    An axis that some row lacks has one entry, None: that limit is not set.
    """

    memory_bytes: tuple[int | None, ...]
    p95_ms: tuple[float | None, ...]
    winners: tuple[tuple[str | None, ...], ...]


def winner_map(rows: Sequence[ReportRow], budget: Budget, gaps: ScoreGaps) -> WinnerMap:
    """What `edgeseq.reporting.verdict.decide` says under every combination of limits; the budget's
    other limits hold throughout.

    All cells are decided together, with as few paired tests as they need.
    """
    candidates = [row for row in rows if not blocking_reasons(row, budget, skip=MAP_LIMITS)]
    memory_bytes, first_columns = _axis(candidates, _MEMORY.row_field)
    p95_ms, first_lines = _axis(candidates, _P95.row_field)
    shape = len(memory_bytes), len(p95_ms)
    cost_order = {bundle: cost for cost, bundle in enumerate(by_cost(candidates))}
    # Where each row fits: from its own values up.
    fits = [np.s_[i:, j:] for i, j in zip(first_columns, first_lines, strict=True)]
    by_score = sorted(
        range(len(candidates)),
        key=lambda k: (-candidates[k].rank, cost_order[candidates[k].bundle]),
    )
    best = np.full(shape, -1)
    for index in reversed(by_score):
        best[fits[index]] = index
    winner = np.full(shape, -1)
    cheapest_first = sorted(range(len(candidates)), key=lambda k: cost_order[candidates[k].bundle])
    for best_index in np.unique(best[best >= 0]).tolist():
        undecided = best == best_index
        for index in cheapest_first:
            if index != best_index and not (
                undecided[fits[index]].any()
                and gaps(candidates[best_index].bundle, candidates[index].bundle).not_worse
            ):
                continue
            winner[fits[index]][undecided[fits[index]]] = index
            undecided[fits[index]] = False
            if index == best_index:
                break
    names = [row.bundle for row in candidates]
    return WinnerMap(
        memory_bytes=memory_bytes,
        p95_ms=p95_ms,
        winners=tuple(
            tuple(None if index < 0 else names[index] for index in column)
            for column in winner.tolist()
        ),
    )


def _axis(rows: Sequence[ReportRow], field: str) -> tuple[tuple[Any, ...], list[int]]:
    """The distinct values of `field`, or None alone where a row lacks it; and each row's index."""
    values = [getattr(row, field) for row in rows]
    if not rows or not all(values):
        return (None,), [0] * len(rows)
    distinct = sorted(set(values))
    index = {value: place for place, value in enumerate(distinct)}
    return tuple(distinct), [index[value] for value in values]


def boundary_sentence(rows: Sequence[ReportRow], winners: WinnerMap) -> str:
    """The map in words, with the limits at which the winner changes."""
    by_name = {row.bundle: row for row in rows}
    names = _arch_names(rows)
    arch_of = [
        [None if winner is None else by_name[winner].arch for winner in column]
        for column in winners.winners
    ]
    if not any(any(column) for column in arch_of):
        return "No model fits under any memory and latency limit: see the reasons for each."
    top_arch = arch_of[-1][-1] or "lstm"
    region = np.array([[arch == top_arch for arch in column] for column in arch_of])
    anything = np.array([[arch is not None for arch in column] for column in arch_of])
    below = sorted({arch for column in arch_of for arch in column if arch} - {top_arch})
    if len(below) > 1 or (below and not _is_upward_closed(region)):
        return _walk_axes(winners, arch_of, names)
    sentence = f"Ship {names[top_arch]} if you can spare {_format_corners(winners, rows, region)}"
    if not below:
        sentence += ". Nothing fits below."
        others = [names[arch] for arch in names if arch in {row.arch for row in rows} - {top_arch}]
        if others:
            sentence += f" No limit makes {' or '.join(others)} the better choice."
        return sentence
    best = by_name[winners.winners[-1][-1] or ""]
    i, j = np.argwhere(anything & ~region)[-1].tolist()
    runner_up = by_name[winners.winners[i][j] or ""]
    points = best.metric_definition.points(best.score or 0.0, runner_up.score or 0.0)
    gain = f" (+{format_point_difference(points)})" if points > 0 else ""
    lowest = _format_corners(winners, rows, anything)
    return (
        f"{sentence}{gain}. Below that ship {names[below[0]]}, down to {lowest}. "
        "Nothing fits below."
    )


def _arch_names(rows: Sequence[ReportRow]) -> dict[Arch, str]:
    """Architectures with their article, for a sentence about these rows."""
    encoder = task_of(rows[0].task if rows else "").bert_title
    return {"bag": "a bag of embeddings", "lstm": "an LSTM", "bert": f"a {encoder}"}


def _corners(region: Region) -> list[GridCell]:
    """The cells of a region that no other of its cells undercuts on both axes."""
    corners: list[GridCell] = []
    for i in np.flatnonzero(region.any(axis=1)).tolist():
        j = int(region[i].argmax())
        if not corners or j < corners[-1][1]:
            corners.append((i, j))
    return corners


def _is_upward_closed(region: Region) -> bool:
    """Whether a larger limit never leaves the region."""
    reached = np.logical_or.accumulate(np.logical_or.accumulate(region, axis=0), axis=1)
    return bool((reached == region).all())


def _format_corners(winners: WinnerMap, rows: Sequence[ReportRow], region: Region) -> str:
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
        if distinct and _memory_text(winners, distinct[-1]) == _memory_text(winners, corner):
            distinct.pop()
        distinct.append(corner)
    return distinct


def _memory_text(winners: WinnerMap, corner: GridCell) -> str:
    memory = winners.memory_bytes[corner[0]]
    return "" if memory is None else format_bytes(memory)


def _walk_axes(
    winners: WinnerMap, arch_of: Sequence[Sequence[Arch | None]], names: dict[Arch, str]
) -> str:
    """Each axis alone, the other without a limit: true whatever shape the regions have."""
    memory = [
        (format_bytes(value), column[-1])
        for value, column in zip(winners.memory_bytes, arch_of, strict=True)
        if value is not None
    ]
    latency = [
        (format_duration_ms(value), arch)
        for value, arch in zip(winners.p95_ms, arch_of[-1], strict=True)
        if value is not None
    ]
    return " ".join(
        f"With any {free_limit}: {_format_steps(walk, names)}."
        for free_limit, walk in (("latency", memory), ("memory", latency))
        if walk
    )


def _format_steps(walk: Sequence[tuple[str, Arch | None]], names: dict[Arch, str]) -> str:
    # Of limits that print alike the last one decides: the step between them cannot be seen.
    visible = list(dict(walk).items())
    steps, last = [], None
    for value, arch in visible:
        if arch is not None and arch != last:
            steps.append(f"{names[arch]} from {value}")
            last = arch
    return ", ".join(steps)
