"""What the page needs to decide again when its two sliders move.

The page's script only filters and picks: all sentences, numbers and pairwise tests are made here,
by the functions that made the verdict, so that both can say nothing different.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeseq.report.boundary import LEFT_OUT
from edgeseq.report.budgets import LIMITS, Budget, Limit, format_limit, limits_of
from edgeseq.report.rows import Row
from edgeseq.report.verdict import (
    NO_LIMITS,
    Gaps,
    blocking_reasons,
    by_cost,
    cost_reason,
    nothing_fits,
    over_reason,
    overshoot,
    why,
    worse_reason,
)
from edgeseq.units import format_bytes, format_duration_ms, format_interval

LIMITS_MARK = "\ue000"
"""Stands in a sentence where the limits go (a private-use character: no text holds it)."""
MAX_STEPS = 400


def decision_data(rows: Sequence[Row], budget: Budget, gaps: Gaps) -> dict[str, Any]:
    """The decision over `rows` as plain data: see `templates/report.js` for its reader."""
    order = by_cost(rows)
    by_score = sorted(rows, key=lambda row: (-row.rank, order.index(row.bundle)))
    index = {row.bundle: i for i, row in enumerate(rows)}
    fixed = msgspec.structs.replace(budget, memory_bytes=None, p95_ms=None)
    able = [row for row in rows if row.valid and row.score is not None]
    return {
        "limits": {limit.key: _slider(limit, rows, budget) for limit in LIMITS if _slides(limit)},
        "said": [_said(limit, budget) for limit in LIMITS],
        "noLimits": NO_LIMITS,
        "mark": LIMITS_MARK,
        "cheapest": [index[bundle] for bundle in order],
        "best": [index[row.bundle] for row in by_score],
        "hopeless": None if able else nothing_fits(rows, fixed, None),
        "rows": [_row(row, rows, fixed, budget, gaps) for row in rows],
    }


def _slides(limit: Limit) -> bool:
    return limit.key in LEFT_OUT


def _said(limit: Limit, budget: Budget) -> dict[str, str] | None:
    """How a limit is said in the list of limits: as it stands, or with what the slider says."""
    if _slides(limit):
        return {"slider": limit.key, "text": f"{limit.title} ≤ "}
    allowed = getattr(budget, limit.field)
    if allowed is None:
        return None
    return {"text": f"{limit.title} ≤ {format_limit(allowed, unit=limit.unit)}"}


def _slider(limit: Limit, rows: Sequence[Row], budget: Budget) -> dict[str, Any]:
    """The stops of a slider: round values around the rows' own, the budget's, and "no limit"."""
    values = [value for row in rows if (value := getattr(row, limit.row_field))]
    given = getattr(budget, limit.field)
    stops = _round_values([*values, *([given] if given else [])])
    if given is not None and given not in stops:
        stops = sorted([*stops, given])
    return {
        "title": limit.title,
        "stops": [*stops, None],
        "labels": [*(format_limit(stop, unit=limit.unit) for stop in stops), "no limit"],
        "at": stops.index(given) if given is not None else len(stops),
    }


def _round_values(values: Sequence[float]) -> list[float]:
    """Values of two digits from a third below the smallest to half above the largest."""
    if not values:
        return []
    low, high = min(values) * 0.67, max(values) * 1.5
    found: list[float] = []
    decade = math.floor(math.log10(low))
    while 10.0**decade <= high:
        steps = (float(f"{digits}e{decade - 1}") for digits in range(10, 100))
        found += [step for step in steps if low <= step <= high]
        decade += 1
    # Over many decades so fine a slider cannot be held: keep every n-th stop.
    return found[:: max(1, math.ceil(len(found) / MAX_STEPS))]


def _row(
    row: Row, rows: Sequence[Row], fixed: Budget, budget: Budget, gaps: Gaps
) -> dict[str, Any]:
    able = row.valid and row.score is not None
    comparable = [other for other in rows if able and other.valid and other.score is not None]
    factors = [overshoot(row, limit, allowed) for limit, allowed in limits_of(fixed)]
    factor = max(factors, default=0.0)
    return {
        "bundle": row.bundle,
        "arch": row.arch,
        "able": able,
        "memory": row.peak_process_bytes,
        "p95": row.p95_ms,
        "reasons": _reasons(row, fixed),
        "factor": factor if math.isfinite(factor) else None,
        "tiles": tiles(row),
        # By the number of the other row: the sentence if it is the best and this one is not
        # good enough, if it ships and this one costs more, and if this one ships.
        "worse": [_worse(other, row, budget, gaps) for other in rows] if able else [],
        "dearer": [cost_reason(other, row) for other in rows],
        "why": [_why(row, other, budget, gaps) if other in comparable else None for other in rows],
    }


def _reasons(row: Row, fixed: Budget) -> list[str | dict[str, str]]:
    """Reasons in the order of `blocking_reasons`; a slider's is filled in by the page."""
    keys = frozenset(limit.key for limit in LIMITS)
    found: list[str | dict[str, str]] = list(blocking_reasons(row, fixed, leave_out=keys))
    allowed = {limit.key: value for limit, value in limits_of(fixed)}
    for limit in LIMITS:
        if _slides(limit):
            value = getattr(row, limit.row_field)
            show = format_bytes if limit.unit == "bytes" else format_duration_ms
            missing = f"{limit.title} was not measured"
            text = missing if value is None else f"{limit.title} {show(value)}"
            unit = "B" if limit.unit == "bytes" else "ms"
            found.append(
                {"slider": limit.key, "text": text, "exact": f"{limit.title} {value} {unit}"}
            )
        elif limit.key in allowed and (reason := over_reason(row, limit, allowed[limit.key])):
            found.append(reason)
    return found


def _worse(best: Row, row: Row, budget: Budget, gaps: Gaps) -> str | None:
    if best is row or not best.valid or best.score is None:
        return None
    gap = gaps(best.bundle, row.bundle)
    return None if gap.not_worse else worse_reason(best, row, gap, budget)


def _why(winner: Row, best: Row, budget: Budget, gaps: Gaps) -> list[str] | None:
    if winner is not best and not gaps(best.bundle, winner.bundle).not_worse:
        return None
    gap = gaps(best.bundle, winner.bundle)
    return [why(winner, best, gap, budget, limits) for limits in (LIMITS_MARK, NO_LIMITS)]


def tiles(row: Row) -> list[tuple[str, str, str]]:
    """The figures that matter of one row: (title, value, remark), all as text."""
    known = [(row.by.title, row.score_text, row.interval_text)]
    ms = (("p95 latency", row.p95_ms, row.p95_ms_ci95), ("median", row.p50_ms, row.p50_ms_ci95))
    for title, value, interval in ms:
        if value is not None:
            known.append((title, format_duration_ms(value), format_interval(interval)))
            break
    if row.peak_process_bytes is not None:
        beyond = row.peak_memory_bytes
        remark = "" if beyond is None else f"{format_bytes(beyond)} beyond the runtime"
        known.append(("process memory", format_bytes(row.peak_process_bytes), remark))
    known.append(("to store", format_bytes(row.size_bytes), "model, tokenizer, labels"))
    if row.cold_start_ms is not None:
        known.append(("cold start", format_duration_ms(row.cold_start_ms), "to the first answer"))
    return known
