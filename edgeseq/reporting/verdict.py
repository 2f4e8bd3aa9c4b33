"""What to ship: the cheapest model within the limits that is not worse than the best one there.

1. A row must be valid, have a score, and keep every limit.
2. Among these the best score sets the standard.
3. Of those whose score is not worse than it by more than `drop` points, the cheapest ships. "Not
   worse" is a non-inferiority test on the same examples, paired (one-sided, 95 %): a difference
   that merely fails to be significant does not count.

Cheapest is the smallest geometric mean of p95 latency, process memory and size: a model that needs
half of one of them weighs as much as one that needs half of another, whatever the units (Fleming
and Wallace 1986, "How not to lie with statistics", CACM 29(3), on means of ratios).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from edgeseq.reporting.budgets import Budget, BudgetLimit, describe_budget, limits_of
from edgeseq.reporting.format import (
    format_excess,
    format_point_difference,
    format_points,
    format_score,
)
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.run_statistics import ScoreGap
from edgeseq.units import format_bytes, format_duration_ms

NO_LIMITS = describe_budget(Budget())

ScoreGaps = Callable[[str, str], ScoreGap]
"""The gap of (better bundle, other bundle) at the budget's margin; usually
`edgeseq.reporting.run_statistics.paired_gaps`."""


class Refusal(msgspec.Struct, frozen=True):
    """A model that does not ship, and every reason."""

    bundle: str
    device: str
    reasons: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """The decision over one group: `winner` is a bundle, None when nothing fits.

    `reason` is `why` in `summary.json`; `best` is the model with the best score within the
    limits; `nearest_miss` names what was closest when nothing fits.
    """

    winner: str | None
    reason: str = msgspec.field(name="why")
    budget: Budget
    best: str | None = None
    refused: tuple[Refusal, ...] = ()
    nearest_miss: str | None = None


def decide(rows: Sequence[ReportRow], budget: Budget, gaps: ScoreGaps) -> Verdict:
    """The verdict over rows of one group (one device, equal settings, the same examples)."""
    reasons = {row.bundle: blocking_reasons(row, budget) for row in rows}
    fitting = [row for row in rows if not reasons[row.bundle]]
    if not fitting:
        miss = nearest_miss(rows, budget)
        return Verdict(
            winner=None,
            reason=nothing_fits(rows, budget, miss),
            budget=budget,
            refused=_refusals(rows, reasons),
            nearest_miss=miss,
        )
    order = by_cost(rows)
    best = max(fitting, key=lambda row: (row.rank, -order.index(row.bundle)))
    winner = min(
        (row for row in fitting if row is best or gaps(best.bundle, row.bundle).not_worse),
        key=lambda row: order.index(row.bundle),
    )
    for row in fitting:
        if row is not winner:
            gap = gaps(best.bundle, row.bundle)
            is_worse = row is not best and not gap.not_worse
            reasons[row.bundle] = [
                worse_reason(best, row, gap, budget) if is_worse else cost_reason(winner, row)
            ]
    gap = gaps(best.bundle, winner.bundle)
    return Verdict(
        winner=winner.bundle,
        reason=winner_reason(winner, best, gap, budget, describe_budget(budget)),
        budget=budget,
        best=best.bundle,
        refused=_refusals([row for row in rows if row is not winner], reasons),
    )


def _refusals(rows: Sequence[ReportRow], reasons: dict[str, list[str]]) -> tuple[Refusal, ...]:
    return tuple(Refusal(row.bundle, row.device, tuple(reasons[row.bundle])) for row in rows)


def blocking_reasons(
    row: ReportRow, budget: Budget, *, skip: frozenset[str] = frozenset()
) -> list[str]:
    """Why a row cannot ship whatever the others do; limits whose key is in `skip` are ignored."""
    reasons = [f"not valid: {_first_clause(reason)}" for reason in row.invalid_reasons]
    if not row.valid and not reasons:
        reasons.append("not valid")
    if row.score is None:
        reasons.append(f"{row.metric_definition.title} was not measured")
    for limit, allowed in limits_of(budget):
        if limit.key not in skip and (reason := excess_reason(row, limit, allowed)):
            reasons.append(reason)
    return reasons


def _first_clause(message: str) -> str:
    """The problem without its fix, which the section on validity gives."""
    return message.split("; ", maxsplit=1)[0].split(": ", maxsplit=1)[0]


def excess_reason(row: ReportRow, limit: BudgetLimit, allowed: float) -> str | None:
    """`p95 latency 31.2 ms > 20 ms`, or None when the row keeps the limit."""
    value = getattr(row, limit.row_field)
    if value is None:
        return f"{limit.title} was not measured"
    if value <= allowed:
        return None
    return f"{limit.title} {format_excess(value, allowed, limit.unit)}"


def by_cost(rows: Sequence[ReportRow]) -> list[str]:
    """Bundles from the cheapest to the most expensive.

    The geometric mean is taken over those of p95, process memory and size that every valid row
    has; ties are broken by memory, latency, size and name.
    """
    valid = [row for row in rows if row.valid] or list(rows)
    axes = [
        axis
        for axis in ("p95_ms", "peak_process_bytes", "size_bytes")
        if all(getattr(row, axis) for row in valid)
    ]
    if "p95_ms" not in axes and all(row.p50_ms for row in valid):
        axes.append("p50_ms")

    def cost(row: ReportRow) -> tuple[float, ...]:
        values = [getattr(row, axis) or math.inf for axis in axes]
        mean = sum(math.log(value) for value in values) / max(len(values), 1)
        return (round(mean, 9), row.peak_process_bytes or math.inf, row.p95_ms or math.inf)

    return [row.bundle for row in sorted(rows, key=lambda row: (*cost(row), row.bundle))]


def worse_reason(best: ReportRow, row: ReportRow, gap: ScoreGap, budget: Budget) -> str:
    """Why a row within the limits is not good enough, with both scores."""
    metric = row.metric_definition
    side = "below" if metric.higher_is_better else "above"
    text = f"{metric.title} {format_score(row)} is {format_point_difference(gap.points)} {side} "
    text += f"{best.bundle} ({format_score(best)})"
    if gap.points > budget.drop_points or gap.worst_points is None:
        return f"{text}; {budget.drop_points:g} allowed"
    worst = format_point_difference(gap.worst_points)
    return f"{text} and could be {worst} {side}; {budget.drop_points:g} allowed"


def cost_reason(winner: ReportRow, row: ReportRow) -> str:
    """Why a row that is good enough does not ship, with both numbers of what costs more."""
    pairs = (
        ("p95", row.p95_ms, winner.p95_ms, format_duration_ms),
        ("process memory", row.peak_process_bytes, winner.peak_process_bytes, format_bytes),
        ("size", row.size_bytes, winner.size_bytes, format_bytes),
    )
    costs = [
        f"{name} {formatter(value)} > {formatter(limit)}"
        for name, value, limit, formatter in pairs
        # Numbers that print alike differ by less than any interval.
        if value is not None
        and limit is not None
        and value > limit
        and formatter(value) != formatter(limit)
    ]
    if not costs:
        return "within the margin, but no cheaper"
    return f"within the margin, but costs more: {', '.join(costs)}"


def winner_reason(
    winner: ReportRow, best: ReportRow, gap: ScoreGap, budget: Budget, limits: str
) -> str:
    """The reason for the winner in one sentence; `limits` are the limits in words."""
    within = "of all measured models" if limits == NO_LIMITS else f"within {limits}"
    score = f"{winner.metric_definition.title} {format_score(winner)}"
    margin = format_points(budget.drop_points)
    if winner is best:
        return (
            f"It has the best score {within} ({score}), "
            f"and no cheaper model is shown to be within {margin} of it."
        )
    if gap.points <= 0:
        return f"It is the cheapest model with the best score {within} ({score})."
    side = "lower" if winner.metric_definition.higher_is_better else "higher"
    bound = ""
    if gap.worst_points is not None:
        bound = f", at most {format_point_difference(gap.worst_points)} {side}"
    return (
        f"It is the cheapest model {within} that loses at most {margin} to the best one: "
        f"{score} against {format_score(best)} for {best.bundle}{bound}."
    )


def nearest_miss(rows: Sequence[ReportRow], budget: Budget) -> str | None:
    """The valid row that exceeds its worst limit by the smallest factor, with all its reasons."""
    misses = []
    for row in rows:
        factors = [overshoot(row, limit, allowed) for limit, allowed in limits_of(budget)]
        if row.can_ship and max(factors, default=math.inf) < math.inf:
            misses.append((max(factors), row))
    if not misses:
        return None
    _, row = min(misses, key=lambda miss: (miss[0], miss[1].bundle))
    return f"{row.bundle} ({'; '.join(blocking_reasons(row, budget))})"


def overshoot(row: ReportRow, limit: BudgetLimit, allowed: float) -> float:
    """Value over limit; infinite when the value was not measured."""
    value = getattr(row, limit.row_field)
    return math.inf if value is None else value / allowed


def nothing_fits(rows: Sequence[ReportRow], budget: Budget, miss: str | None) -> str:
    """Why nothing ships, in a sentence or two."""
    if not rows:
        return "Nothing was measured."
    if not any(row.valid for row in rows):
        return "No measurement is valid, so nothing can be recommended."
    if not any(row.can_ship for row in rows):
        title = rows[0].metric_definition.title
        return f"No valid measurement includes {title}, so nothing can be recommended."
    sentence = f"No model fits {describe_budget(budget)}."
    return f"{sentence} The nearest miss is {miss}." if miss else sentence
