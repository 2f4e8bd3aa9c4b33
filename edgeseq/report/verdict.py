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

from edgeseq.report.budgets import Budget, Limit, describe_budget, format_over, limits_of
from edgeseq.report.evidence import Gap
from edgeseq.report.rows import Row
from edgeseq.units import format_bytes, format_duration_ms

NO_LIMITS = describe_budget(Budget())


Gaps = Callable[[str, str], Gap]
"""The gap of (better bundle, other bundle) at the margin that the budget allows; usually
`edgeseq.report.evidence.paired_gaps`."""


class Refusal(msgspec.Struct, frozen=True):
    """A model that is not to be shipped, and every reason."""

    bundle: str
    device: str
    reasons: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """The decision of one group: `winner` is a bundle, None when nothing fits.

    `best` is the model with the best score within the limits; `nearest_miss` says what was
    closest when nothing fits.
    """

    winner: str | None
    why: str
    budget: Budget
    best: str | None = None
    refused: tuple[Refusal, ...] = ()
    nearest_miss: str | None = None


def decide(rows: Sequence[Row], budget: Budget, gaps: Gaps) -> Verdict:
    """The verdict over rows of one group (one device, equal settings, the same examples)."""
    blocked = {row.bundle: blocking_reasons(row, budget) for row in rows}
    fitting = [row for row in rows if not blocked[row.bundle]]
    if not fitting:
        miss = nearest_miss(rows, budget)
        return Verdict(
            winner=None,
            why=nothing_fits(rows, budget, miss),
            budget=budget,
            refused=tuple(
                Refusal(row.bundle, row.device, tuple(blocked[row.bundle])) for row in rows
            ),
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
            worse = row is not best and not gap.not_worse
            reason = worse_reason(best, row, gap, budget) if worse else cost_reason(winner, row)
            blocked[row.bundle] = [reason]
    return Verdict(
        winner=winner.bundle,
        why=why(winner, best, gaps(best.bundle, winner.bundle), budget, describe_budget(budget)),
        budget=budget,
        best=best.bundle,
        refused=tuple(
            Refusal(row.bundle, row.device, tuple(blocked[row.bundle]))
            for row in rows
            if row is not winner
        ),
    )


def blocking_reasons(
    row: Row, budget: Budget, *, leave_out: frozenset[str] = frozenset()
) -> list[str]:
    """Why a row cannot ship whatever the others do; limits in `leave_out` (keys) are not asked."""
    reasons = [f"not valid: {_first_clause(reason)}" for reason in row.invalid_reasons]
    if not row.valid and not reasons:
        reasons.append("not valid")
    if row.score is None:
        reasons.append(f"{row.by.title} was not measured")
    for limit, allowed in limits_of(budget):
        if limit.key not in leave_out and (reason := over_reason(row, limit, allowed)):
            reasons.append(reason)
    return reasons


def _first_clause(message: str) -> str:
    """What is wrong, without what to do about it: that is said once, where validity is."""
    return message.split("; ", maxsplit=1)[0].split(": ", maxsplit=1)[0]


def over_reason(row: Row, limit: Limit, allowed: float) -> str | None:
    """`p95 latency 31.2 ms > 20 ms`, or None when the row keeps the limit."""
    value = getattr(row, limit.row_field)
    if value is None:
        return f"{limit.title} was not measured"
    if value <= allowed:
        return None
    return f"{limit.title} {format_over(value, allowed, unit=limit.unit)}"


def by_cost(rows: Sequence[Row]) -> list[str]:
    """Bundles from the cheapest to the dearest.

    The geometric mean is taken over those of p95, process memory and size that every valid row
    has; equal costs are told apart by memory, latency, size and name.
    """
    valid = [row for row in rows if row.valid] or list(rows)
    axes = [
        axis
        for axis in ("p95_ms", "peak_process_bytes", "size_bytes")
        if all(getattr(row, axis) for row in valid)
    ]
    if "p95_ms" not in axes and all(row.p50_ms for row in valid):
        axes.append("p50_ms")

    def cost(row: Row) -> tuple[float, ...]:
        values = [getattr(row, axis) or math.inf for axis in axes]
        mean = sum(math.log(value) for value in values) / max(len(values), 1)
        return (round(mean, 9), row.peak_process_bytes or math.inf, row.p95_ms or math.inf)

    return [row.bundle for row in sorted(rows, key=lambda row: (*cost(row), row.bundle))]


def worse_reason(best: Row, row: Row, gap: Gap, budget: Budget) -> str:
    """Why a row that fits is not good enough, with both scores."""
    side = "below" if row.by.higher_is_better else "above"
    said = f"{row.by.title} {row.score_text} is {gap.points:.1f} points {side} "
    said += f"{best.score_text} of {best.bundle}"
    allowed = f"{budget.drop_points:g} allowed"
    if gap.points > budget.drop_points or gap.worst_points is None:
        return f"{said}, {allowed}"
    return f"{said}; up to {gap.worst_points:.1f} cannot be ruled out, {allowed}"


def cost_reason(winner: Row, row: Row) -> str:
    """Why a row that is good enough does not ship, with both numbers of what costs more."""
    pairs = (
        ("p95", row.p95_ms, winner.p95_ms, format_duration_ms),
        ("process memory", row.peak_process_bytes, winner.peak_process_bytes, format_bytes),
        ("size", row.size_bytes, winner.size_bytes, format_bytes),
    )
    dearer = [
        f"{name} {show(value)} > {show(other)}"
        for name, value, other, show in pairs
        # What looks the same in print is no reason, and less than any interval.
        if value is not None and other is not None and value > other and show(value) != show(other)
    ]
    return f"good enough, but dearer: {', '.join(dearer) or 'no cheaper in anything'}"


def why(winner: Row, best: Row, gap: Gap, budget: Budget, limits: str) -> str:
    """The reason for the winner in one sentence; `limits` says the limits in words."""
    within = "of all that were measured" if limits == NO_LIMITS else f"within {limits}"
    score, drop = f"{winner.by.title} {winner.score_text}", f"{budget.drop_points:g}"
    point = "point" if budget.drop_points == 1 else "points"
    if winner is best:
        return (
            f"It has the best score {within} ({score}), "
            f"and no cheaper model is shown to be within {drop} {point} of it."
        )
    if gap.points <= 0:
        return f"It is the cheapest of those with the best score {within} ({score})."
    side = "lower" if winner.by.higher_is_better else "higher"
    bound = "" if gap.worst_points is None else f", at most {gap.worst_points:.1f} points {side}"
    return (
        f"It is the cheapest {within} that is not worse than the best by more than "
        f"{drop} {point}: {score} against {best.score_text} of {best.bundle}{bound}."
    )


def nearest_miss(rows: Sequence[Row], budget: Budget) -> str | None:
    """The valid row that exceeds its worst limit by the smallest factor, with all its reasons."""
    misses = []
    for row in rows:
        factors = [overshoot(row, limit, allowed) for limit, allowed in limits_of(budget)]
        if row.valid and row.score is not None and max(factors, default=math.inf) < math.inf:
            misses.append((max(factors), row))
    if not misses:
        return None
    _, row = min(misses, key=lambda miss: (miss[0], miss[1].bundle))
    return f"{row.bundle} ({'; '.join(blocking_reasons(row, budget))})"


def overshoot(row: Row, limit: Limit, allowed: float) -> float:
    """Value over limit; infinite when the value was not measured."""
    value = getattr(row, limit.row_field)
    return math.inf if value is None else value / allowed


def nothing_fits(rows: Sequence[Row], budget: Budget, miss: str | None) -> str:
    """An honest sentence for when there is nothing to ship."""
    if not rows:
        return "Nothing was measured."
    if not any(row.valid for row in rows):
        return "No measurement is valid, so nothing can be recommended."
    if not any(row.valid and row.score is not None for row in rows):
        return f"The {rows[0].by.title} of no valid model was measured: nothing can be recommended."
    sentence = f"No model fits {describe_budget(budget)}."
    return f"{sentence} The nearest miss is {miss}." if miss else sentence
