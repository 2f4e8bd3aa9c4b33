"""What the page needs to decide again when its two sliders move.

The page's script only filters and picks: all sentences, numbers and pairwise tests are made here,
by the functions that made the verdict, so that the two cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeseq.reporting.boundary import MAP_LIMITS
from edgeseq.reporting.budgets import LIMITS, Budget, BudgetLimit, limits_of
from edgeseq.reporting.format import LabelledFigure, format_limit, format_quantity, model_figures
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.verdict import (
    NO_LIMITS,
    ScoreGaps,
    blocking_reasons,
    by_cost,
    cost_reason,
    excess_reason,
    nothing_fits,
    overshoot,
    winner_reason,
    worse_reason,
)
from edgeseq.units import format_bytes

LIMITS_MARK = "\ue000"
"""The place of the limits in a sentence (a private-use character: no text holds it)."""
MAX_STEPS = 400


def decision_data(rows: Sequence[ReportRow], budget: Budget, gaps: ScoreGaps) -> dict[str, Any]:
    """The decision over `rows` as plain data: see `templates/report.js` for its reader."""
    order = by_cost(rows)
    by_score = sorted(rows, key=lambda row: (-row.rank, order.index(row.bundle)))
    index = {row.bundle: i for i, row in enumerate(rows)}
    fixed = fixed_limits(budget)
    can_ship = any(row.can_ship for row in rows)
    return {
        "limits": {limit.key: _slider(limit, rows, budget) for limit in LIMITS if _slides(limit)},
        "limitTexts": [_limit_text(limit, budget) for limit in LIMITS],
        "noLimits": NO_LIMITS,
        "mark": LIMITS_MARK,
        "cheapest": [index[bundle] for bundle in order],
        "best": [index[row.bundle] for row in by_score],
        "hopeless": None if can_ship else nothing_fits(rows, fixed, None),
        "rows": [_row_data(row, rows, budget, gaps) for row in rows],
    }


def fixed_limits(budget: Budget) -> Budget:
    """The budget without the limits that have a slider."""
    return msgspec.structs.replace(budget, memory_bytes=None, p95_ms=None)


def _slides(limit: BudgetLimit) -> bool:
    return limit.key in MAP_LIMITS


def _limit_text(limit: BudgetLimit, budget: Budget) -> dict[str, str] | None:
    """A limit in the list of limits: complete, or to be completed by its slider."""
    if _slides(limit):
        return {"slider": limit.key, "text": f"{limit.title} ≤ "}
    allowed = getattr(budget, limit.field)
    if allowed is None:
        return None
    return {"text": f"{limit.title} ≤ {format_limit(allowed, limit.unit)}"}


def _slider(limit: BudgetLimit, rows: Sequence[ReportRow], budget: Budget) -> dict[str, Any]:
    """The stops of a slider: round values around the rows' values, the budget's, and "no limit"."""
    values = [value for row in rows if (value := getattr(row, limit.row_field))]
    allowed = getattr(budget, limit.field)
    stops = _round_values([*values, *([allowed] if allowed else [])])
    if allowed is not None and allowed not in stops:
        stops = sorted([*stops, allowed])
    return {
        "title": limit.title,
        "stops": [*stops, None],
        "labels": [*(format_limit(stop, limit.unit) for stop in stops), "no limit"],
        "at": stops.index(allowed) if allowed is not None else len(stops),
    }


def _round_values(values: Sequence[float]) -> list[float]:
    """Values of two digits from a third below the smallest to half above the largest."""
    if not values:
        return []
    low, high = min(values) * 0.67, max(values) * 1.5
    round_values: list[float] = []
    decade = math.floor(math.log10(low))
    while 10.0**decade <= high:
        steps = (float(f"{digits}e{decade - 1}") for digits in range(10, 100))
        round_values += [step for step in steps if low <= step <= high]
        decade += 1
    # A slider over many decades would be too fine: keep every n-th stop.
    return round_values[:: max(1, math.ceil(len(round_values) / MAX_STEPS))]


def _row_data(
    row: ReportRow, rows: Sequence[ReportRow], budget: Budget, gaps: ScoreGaps
) -> dict[str, Any]:
    fixed = fixed_limits(budget)
    factor = max((overshoot(row, limit, v) for limit, v in limits_of(fixed)), default=0.0)
    return {
        "bundle": row.bundle,
        "arch": row.arch,
        "able": row.can_ship,
        "memory": row.peak_process_bytes,
        "p95": row.p95_ms,
        "reasons": _reasons(row, fixed),
        "factor": factor if math.isfinite(factor) else None,
        "figures": verdict_figures(row),
        # By the number of the other row: the sentence if it is the best and this one is not
        # good enough, if it ships and this one costs more, and if this one ships.
        "worse": [_worse_reason(best, row, budget, gaps) for best in rows] if row.can_ship else [],
        "costlier": [cost_reason(winner, row) for winner in rows],
        "why": [_winner_reasons(row, best, budget, gaps) for best in rows],
    }


def _reasons(row: ReportRow, fixed: Budget) -> list[str | dict[str, str]]:
    """Reasons in the order of `blocking_reasons`; a slider's is completed by the page."""
    keys = frozenset(limit.key for limit in LIMITS)
    reasons: list[str | dict[str, str]] = list(blocking_reasons(row, fixed, skip=keys))
    allowed = {limit.key: value for limit, value in limits_of(fixed)}
    for limit in LIMITS:
        if _slides(limit):
            value = getattr(row, limit.row_field)
            missing = f"{limit.title} was not measured"
            text = (
                missing if value is None else f"{limit.title} {format_quantity(value, limit.unit)}"
            )
            exact = f"{limit.title} {value} {'B' if limit.unit == 'bytes' else 'ms'}"
            reasons.append({"slider": limit.key, "text": text, "exact": exact})
        elif limit.key in allowed and (reason := excess_reason(row, limit, allowed[limit.key])):
            reasons.append(reason)
    return reasons


def _worse_reason(best: ReportRow, row: ReportRow, budget: Budget, gaps: ScoreGaps) -> str | None:
    if best is row or not best.can_ship:
        return None
    gap = gaps(best.bundle, row.bundle)
    return None if gap.not_worse else worse_reason(best, row, gap, budget)


def _winner_reasons(
    winner: ReportRow, best: ReportRow, budget: Budget, gaps: ScoreGaps
) -> list[str] | None:
    """The reason with and without limits; None where `winner` cannot win against `best`."""
    if not (winner.can_ship and best.can_ship):
        return None
    gap = gaps(best.bundle, winner.bundle)
    if winner is not best and not gap.not_worse:
        return None
    return [winner_reason(winner, best, gap, budget, limits) for limits in (LIMITS_MARK, NO_LIMITS)]


def verdict_figures(row: ReportRow) -> tuple[LabelledFigure, ...]:
    """The figures beside the verdict: what a model scores and costs, unmeasured ones left out."""
    score, median, p95, memory, _, cold_start = model_figures(row)
    latency = p95 if row.p95_ms is not None else median
    figures = [score]
    if row.p50_ms is not None:
        figures.append(latency._replace(title=f"{latency.title} latency"))
    if row.peak_process_bytes is not None:
        beyond = row.peak_memory_bytes
        remark = "" if beyond is None else f"{format_bytes(beyond)} beyond the runtime"
        figures.append(memory._replace(remark=remark))
    figures.append(LabelledFigure("size", format_bytes(row.size_bytes), "model, tokenizer, labels"))
    if row.cold_start_ms is not None:
        figures.append(cold_start._replace(remark="to the first answer"))
    return tuple(figures)
