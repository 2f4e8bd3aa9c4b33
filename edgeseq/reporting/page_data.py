"""What the page needs to decide again when its two sliders move.

The page's script only filters and picks: all sentences, numbers and pairwise tests are made here,
by the functions that made the verdict, so that the two cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from edgeseq.reporting.boundary import MAP_LIMITS
from edgeseq.reporting.budgets import LIMITS, Budget, BudgetLimit, limits_of
from edgeseq.reporting.format import LabelledFigure, format_limit, format_quantity, model_figures
from edgeseq.reporting.limit_proof import (
    certain_sentence,
    proof_sentence,
    proof_steps,
    time_doubts,
)
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.score_gaps import ScoreGaps
from edgeseq.reporting.verdict import (
    COSTS_MORE,
    NO_CHEAPER,
    NO_LIMITS,
    blocking_reasons,
    by_cost,
    costs_of,
    excess_reason,
    headline_of,
    limit_title,
    nothing_fits,
    overshoot,
    winner_reason,
    worse_reason,
)
from edgeseq.units import format_bytes

LIMITS_MARK = "\ue000"
"""The place of the limits in a sentence (a private-use character: no text holds it)."""
MAX_STEPS = 400
_MEMORY, _P95 = (limit for limit in LIMITS if limit.key in MAP_LIMITS)


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
        "cheaper": NO_CHEAPER,
        "costlier": COSTS_MORE,
        "rows": [_row_data(row, budget) for row in rows],
        "pairs": _pair_data([row for row in by_score if row.can_ship], index, budget, gaps),
    }


def _pair_data(
    by_score: Sequence[ReportRow], index: Mapping[str, int], budget: Budget, gaps: ScoreGaps
) -> dict[int, dict[int, list[Any]]]:
    """For the index of a row that can be the best one, and of another that then is within the
    limits: the sentence if the other is not good enough, or those if it ships (with and without
    limits).

    Limits can be set by the sliders, so a row counts as the best one if it is that under the
    smallest limits that both keep. Tests and sentences of all other pairs are never needed.
    """
    fixed = fixed_limits(budget)
    fitting = [row for row in by_score if not blocking_reasons(row, fixed)]
    needs = np.array(
        [
            [getattr(row, limit.row_field) or math.inf for limit in (_MEMORY, _P95)]
            for row in fitting
        ]
    ).reshape(-1, 2)
    pairs: dict[int, dict[int, list[Any]]] = {}
    for place, best in enumerate(fitting):
        limits = np.maximum(needs[place], needs[place:])  # [others, 2]
        is_beaten = (needs[:place, None] <= limits).all(axis=2).any(axis=0)
        sentences = {
            index[row.bundle]: _pair_sentences(best, row, budget, gaps)
            for row, beaten in zip(fitting[place:], is_beaten.tolist(), strict=True)
            if not beaten
        }
        if sentences:
            pairs[index[best.bundle]] = sentences
    return pairs


def _pair_sentences(best: ReportRow, row: ReportRow, budget: Budget, gaps: ScoreGaps) -> list[str]:
    """[why it is not good enough], or [why it ships within limits, why without]."""
    gap = gaps(best.bundle, row.bundle)
    if row is not best and not gap.not_worse:
        return [worse_reason(best, row, gap, budget)]
    return [winner_reason(row, best, gap, budget, limits) for limits in (LIMITS_MARK, NO_LIMITS)]


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


def _row_data(row: ReportRow, budget: Budget) -> dict[str, Any]:
    fixed = fixed_limits(budget)
    factor = max((overshoot(row, limit, v) for limit, v in limits_of(fixed)), default=0.0)
    return {
        "bundle": row.bundle,
        "arch": row.arch,
        "able": row.can_ship,
        "memory": getattr(row, _MEMORY.row_field),
        "p95": getattr(row, _P95.row_field),
        "reasons": _reasons(row, fixed),
        "factor": factor if math.isfinite(factor) else None,
        "figures": verdict_figures(row),
        # What it did under limits, for the winner: see `proof_steps`.
        "proof": proof_sentence(row, None),
        "proofs": proof_steps(row),
        "doubts": _doubts(row, budget),
        "certain": certain_sentence(row),
        # Without and with a doubt.
        "headlines": [headline_of(row.bundle, is_doubted=doubted) for doubted in (False, True)],
        # For the sentence that a row costs more than the winner.
        "costs": costs_of(row),
    }


def _doubts(row: ReportRow, budget: Budget) -> list[dict[str, Any]]:
    """As `edgeseq.reporting.limit_proof.proof_of`; the page looks at the limit of a slider."""
    doubts: list[dict[str, Any]] = []
    for doubt in time_doubts(row):
        if doubt.key in MAP_LIMITS:
            doubts.append({"slider": doubt.key, "atMost": doubt.at_most_ms, "text": doubt.text})
        elif doubt.is_raised_by(getattr(budget, f"{doubt.key}_ms")):
            doubts.append({"text": doubt.text})
    return doubts


def _reasons(row: ReportRow, fixed: Budget) -> list[str | dict[str, str]]:
    """Reasons in the order of `blocking_reasons`; a slider's is completed by the page."""
    keys = frozenset(limit.key for limit in LIMITS)
    reasons: list[str | dict[str, str]] = list(blocking_reasons(row, fixed, skip=keys))
    allowed = {limit.key: value for limit, value in limits_of(fixed)}
    for limit in LIMITS:
        if _slides(limit):
            value, title = getattr(row, limit.row_field), limit_title(limit, row)
            missing = f"{title} was not measured"
            text = missing if value is None else f"{title} {format_quantity(value, limit.unit)}"
            exact = f"{title} {value} {'B' if limit.unit == 'bytes' else 'ms'}"
            reasons.append({"slider": limit.key, "text": text, "exact": exact})
        elif limit.key in allowed and (reason := excess_reason(row, limit, allowed[limit.key])):
            reasons.append(reason)
    return reasons


def verdict_figures(row: ReportRow) -> tuple[LabelledFigure, ...]:
    """The figures beside the verdict: what a model scores and costs, unmeasured ones left out."""
    score, median, p95, working, peak, _, cold_start = model_figures(row)
    latency = p95 if row.p95_ms is not None else median
    figures = [score]
    if row.p50_ms is not None:
        figures.append(latency._replace(title=f"{latency.title} latency"))
    if row.working_memory_bytes is not None:
        figures.append(working)
    if row.peak_process_bytes is not None:
        beyond = row.peak_memory_bytes
        remark = "" if beyond is None else f"{format_bytes(beyond)} beyond the runtime"
        figures.append(peak._replace(remark=remark))
    figures.append(LabelledFigure("size", format_bytes(row.size_bytes), "model, tokenizer, labels"))
    if row.cold_start_ms is not None:
        figures.append(cold_start._replace(remark="to the first answer"))
    return tuple(figures)
