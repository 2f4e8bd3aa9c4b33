"""Under which memory and latency limits an LSTM wins, a BERT wins, or nothing fits.

Winners change only where a limit passes a row's own value, so deciding once between each two
neighbouring values covers every limit there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.formats.trained_model import Arch
from edgeseq.report.budgets import Budget
from edgeseq.report.rows import Row
from edgeseq.report.verdict import Gaps, blocking_reasons, decide
from edgeseq.tasks.registry import head_of
from edgeseq.units import format_bytes, format_duration_ms

Corner = tuple[int, int]
LEFT_OUT = frozenset({"memory", "p95"})
_MODELS: dict[Arch, str] = {"lstm": "an LSTM", "bert": "a BERT"}
_NEXT_WORD_MODELS: dict[Arch, str] = {"lstm": "an LSTM", "bert": "a transformer"}
"""What was a BERT and only sees the words before is none any more."""


class WinnerMap(msgspec.Struct, frozen=True):
    """`winners[i][j]` ships when memory may reach `memory_bytes[i]` and p95 `p95_ms[j]` (and not
    the next larger value of either); None where nothing fits.

    An axis that some row lacks has one entry, None: it is not asked for.
    """

    memory_bytes: tuple[int | None, ...]
    p95_ms: tuple[float | None, ...]
    winners: tuple[tuple[str | None, ...], ...]


def winner_map(rows: Sequence[Row], budget: Budget, gaps: Gaps) -> WinnerMap:
    """Decides under every combination of limits; the budget's other limits hold throughout."""
    able = [row for row in rows if not blocking_reasons(row, budget, leave_out=LEFT_OUT)]
    memory_bytes: tuple[int | None, ...] = (None,)
    p95_ms: tuple[float | None, ...] = (None,)
    if able and all(row.peak_process_bytes for row in able):
        memory_bytes = tuple(sorted({row.peak_process_bytes or 0 for row in able}))
    if able and all(row.p95_ms for row in able):
        p95_ms = tuple(sorted({row.p95_ms or 0.0 for row in able}))
    return WinnerMap(
        memory_bytes=memory_bytes,
        p95_ms=p95_ms,
        winners=tuple(
            tuple(
                decide(
                    able,
                    msgspec.structs.replace(budget, memory_bytes=memory, p95_ms=p95),
                    gaps,
                ).winner
                for p95 in p95_ms
            )
            for memory in memory_bytes
        ),
    )


def boundary_sentence(rows: Sequence[Row], winners: WinnerMap) -> str:
    """The map in words, with the numbers at which the answer changes."""
    by_name = {row.bundle: row for row in rows}
    a_model = _names(rows)
    cells = {
        (i, j): by_name[winner].arch
        for i, column in enumerate(winners.winners)
        for j, winner in enumerate(column)
        if winner is not None
    }
    if not cells:
        return "No memory or latency limit makes a model fit: see the reasons for each."
    top_corner = (len(winners.memory_bytes) - 1, len(winners.p95_ms) - 1)
    top = cells[top_corner]
    lowest = _say_corners(winners, rows, set(cells))
    region = {cell for cell, arch in cells.items() if arch == top}
    others = sorted({row.arch for row in rows} - {top})
    if len(region) == len(cells):
        sentence = f"From {lowest} on, {a_model[top]} is what to ship; below that nothing fits."
        if others:
            sentence += f" No limit makes {a_model[others[0]]} the better choice."
        return sentence
    if not _upward_closed(region, top_corner):
        return _walks(winners, cells, a_model)
    other = others[0]
    below = next(
        winners.winners[i][j] for (i, j), arch in sorted(cells.items(), reverse=True) if arch != top
    )
    best = by_name[winners.winners[-1][-1] or ""]
    instead = by_name[below or ""]
    points = best.by.points(best.score or 0.0, instead.score or 0.0)
    gained = f", {points:.1f} points better ({best.score_text} against {instead.score_text})"
    return (
        f"{_capital(a_model[top])} is what to ship from {_say_corners(winners, rows, region)}"
        f" on{gained if points > 0 else ''}. Below that {a_model[other]} is, down to {lowest}; "
        "under that nothing fits."
    )


def _names(rows: Sequence[Row]) -> dict[Arch, str]:
    """What the architectures are called in a sentence about these rows."""
    next_word = bool(rows) and head_of(rows[0].task) == "language-modeling"
    return _NEXT_WORD_MODELS if next_word else _MODELS


def _corners(region: set[Corner]) -> list[Corner]:
    """The cells of a region that no other of its cells undercuts on both axes."""
    return sorted(
        cell
        for cell in region
        if not any(o != cell and o[0] <= cell[0] and o[1] <= cell[1] for o in region)
    )


def _upward_closed(region: set[Corner], top: Corner) -> bool:
    return all(
        (i, j) in region
        for low in _corners(region)
        for i in range(low[0], top[0] + 1)
        for j in range(low[1], top[1] + 1)
    )


def _say_corners(winners: WinnerMap, rows: Sequence[Row], region: set[Corner]) -> str:
    corners = _told_apart(winners, rows, _corners(region))
    said = [_say_corner(winners.memory_bytes[i], winners.p95_ms[j]) for i, j in corners]
    return " or from ".join(said)


def _told_apart(winners: WinnerMap, rows: Sequence[Row], corners: Sequence[Corner]) -> list[Corner]:
    """The corners, from the least memory up, without those whose p95 is not known to be lower than
    that of the corner before: the other one's lies within their interval of confidence."""
    high_ms = {row.p95_ms: row.p95_ms_ci95[1] for row in rows if row.p95_ms_ci95 is not None}
    kept: list[Corner] = []
    for corner in corners:
        p95_ms = winners.p95_ms[corner[1]]
        before_ms = winners.p95_ms[kept[-1][1]] if kept else None
        if before_ms is not None and p95_ms in high_ms:
            high = high_ms[p95_ms]
            if high is None or before_ms <= high:
                continue
        kept.append(corner)
    return kept


def _say_corner(memory: int | None, p95: float | None) -> str:
    parts = [] if memory is None else [f"{format_bytes(memory)} of process memory"]
    parts += [] if p95 is None else [f"a p95 of {format_duration_ms(p95)}"]
    return " and ".join(parts) or "any limit"


def _walks(winners: WinnerMap, cells: dict[Corner, Arch], a_model: dict[Arch, str]) -> str:
    """Each axis alone, the other without a limit: true whatever shape the regions have."""
    columns, rows = len(winners.memory_bytes), len(winners.p95_ms)
    memory = [(winners.memory_bytes[i], cells.get((i, rows - 1))) for i in range(columns)]
    latency = [(winners.p95_ms[j], cells.get((columns - 1, j))) for j in range(rows)]
    sentences = []
    if memory[0][0] is not None:
        steps = _steps([(format_bytes(value or 0), arch) for value, arch in memory], a_model)
        sentences.append(f"With any latency allowed: {steps}.")
    if latency[0][0] is not None:
        steps = _steps(
            [(format_duration_ms(value or 0.0), arch) for value, arch in latency], a_model
        )
        sentences.append(f"With any memory allowed: {steps}.")
    return " ".join(sentences)


def _steps(walk: Sequence[tuple[str, Arch | None]], a_model: dict[Arch, str]) -> str:
    said, last = [], None
    for value, arch in walk:
        if arch is not None and arch != last:
            said.append(f"{a_model[arch]} from {value}")
            last = arch
    return ", ".join(said)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
