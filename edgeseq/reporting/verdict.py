"""What to ship: the cheapest model within the limits that is not worse than the best one there.

1. A row must be valid, have a score, and keep every limit.
2. Among these the best score sets the standard.
3. Of those whose score is not worse than it by more than `drop` points, the cheapest ships. "Not
   worse" is a non-inferiority test on the same examples, paired (one-sided, 95 %): a difference
   that merely fails to be significant does not count.

Cheapest is the smallest geometric mean of p95 latency, memory (working memory where every model has
it, else the peak of the process) and size: a model that needs
half of one of them weighs as much as one that needs half of another, whatever the units (Fleming
and Wallace 1986, "How not to lie with statistics", CACM 29(3), on means of ratios).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from edgeseq.formats.result import Runner
from edgeseq.reporting.budgets import Budget, BudgetLimit, describe_budget, limits_of
from edgeseq.reporting.format import (
    format_excess,
    format_optional,
    format_point_difference,
    format_points,
    format_score,
)
from edgeseq.reporting.limit_proof import proof_of, raised_doubts
from edgeseq.reporting.rows import PEAK_MEMORY, WORKING_MEMORY, ReportRow
from edgeseq.reporting.score_gaps import ScoreGap, ScoreGaps
from edgeseq.units import format_bytes, format_duration_ms, format_factor

NO_LIMITS = describe_budget(Budget())
NO_CHEAPER = "within the margin, but no cheaper"
COSTS_MORE = "within the margin, but costs more: "


class Refusal(msgspec.Struct, frozen=True):
    """A model that does not ship, and every reason."""

    bundle: str
    device: str
    reasons: tuple[str, ...]


class Verdict(msgspec.Struct, frozen=True):
    """The decision over one group: `winner` is a bundle, None when nothing fits.

    `reason` is `why` in `summary.json`; `best` is the model with the best score within the
    limits; `nearest_miss` names what was closest when nothing fits. `proof` says what the winner
    did under its limit on memory, or that the verdict rests on a peak, and which limit on a time
    it may not keep; `runner` is the program in which it was measured.
    `doubts` are the keys of the limits that the winner keeps by less than the measuring error;
    where there are some, `certain` is the cheapest model that is good enough and keeps every limit
    by more.
    """

    winner: str | None
    reason: str = msgspec.field(name="why")
    budget: Budget
    best: str | None = None
    refused: tuple[Refusal, ...] = ()
    nearest_miss: str | None = None
    proof: str = ""
    runner: Runner | None = None
    doubts: tuple[str, ...] = ()
    certain: str | None = None

    @property
    def headline(self) -> str:
        """See `headline_of`."""
        return headline_of(self.winner, is_doubted=bool(self.doubts))


def headline_of(winner: str | None, *, is_doubted: bool) -> str:
    """The verdict in a few words; `winner` is None where nothing fits."""
    if winner is None:
        return "Nothing to ship"
    return f"{winner} may not fit" if is_doubted else f"Ship {winner}"


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
    good_enough = sorted(
        (row for row in fitting if row is best or gaps(best.bundle, row.bundle).not_worse),
        key=lambda row: order.index(row.bundle),
    )
    winner = good_enough[0]
    doubts = raised_doubts(winner, budget)
    certain = next((row for row in good_enough if not raised_doubts(row, budget)), None)
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
        proof=proof_of(winner, budget, certain),
        runner=winner.runner,
        doubts=tuple(doubt.key for doubt in doubts),
        certain=certain.bundle if doubts and certain else None,
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
    value, title = getattr(row, limit.row_field), limit_title(limit, row)
    if value is None:
        return f"{title} was not measured"
    if value <= allowed:
        return None
    return f"{title} {format_excess(value, allowed, limit.unit)}"


def limit_title(limit: BudgetLimit, row: ReportRow) -> str:
    """What of a row is compared with a limit, in words."""
    return row.memory_title if limit.key == "memory" else limit.title


def by_cost(rows: Sequence[ReportRow]) -> list[str]:
    """Bundles from the cheapest to the most expensive.

    The geometric mean is taken over those of p95, memory and size that every valid row has; ties
    are broken by memory, latency, size and name.
    """
    valid = [row for row in rows if row.valid] or list(rows)
    memory = "working_memory_bytes"
    if not all(row.working_memory_bytes for row in valid):
        memory = "peak_process_bytes"
    axes = [
        axis
        for axis in ("p95_ms", memory, "size_bytes")
        if all(getattr(row, axis) for row in valid)
    ]
    if "p95_ms" not in axes and all(row.p50_ms for row in valid):
        axes.append("p50_ms")

    def cost(row: ReportRow) -> tuple[float, ...]:
        values = [getattr(row, axis) or math.inf for axis in axes]
        mean = sum(math.log(value) for value in values) / max(len(values), 1)
        return (round(mean, 9), getattr(row, memory) or math.inf, row.p95_ms or math.inf)

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


class Cost(NamedTuple):
    """Something that a row costs: its name, its value (None: not measured), and that as text."""

    name: str
    value: float | None
    text: str


def costs_of(row: ReportRow) -> tuple[tuple[Cost, ...], ...]:
    """What makes a model expensive, in the order in which it is named; of several numbers of one
    thing the first that both models have is compared."""
    memory = tuple(
        Cost(name, value, format_optional(value, format_bytes))
        for name, value in (
            (WORKING_MEMORY, row.working_memory_bytes),
            (PEAK_MEMORY, row.peak_process_bytes),
        )
    )
    p95 = Cost("p95", row.p95_ms, format_optional(row.p95_ms, format_duration_ms))
    return (p95,), memory, (Cost("size", row.size_bytes, format_bytes(row.size_bytes)),)


def cost_reason(winner: ReportRow, row: ReportRow) -> str:
    """Why a row that is good enough does not ship, with both numbers of what costs more."""
    costs = []
    for ours, theirs in zip(costs_of(row), costs_of(winner), strict=True):
        for cost, limit in zip(ours, theirs, strict=True):
            if cost.value is None or limit.value is None:
                continue
            # Numbers that print alike differ by less than any interval.
            if cost.value > limit.value and cost.text != limit.text:
                costs.append(f"{cost.name} {cost.text} > {limit.text}")
            break
    return f"{COSTS_MORE}{', '.join(costs)}" if costs else NO_CHEAPER


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
    """The valid row that exceeds its worst limit by the smallest factor, with that and all its
    reasons."""
    misses = []
    for row in rows:
        factors = [overshoot(row, limit, allowed) for limit, allowed in limits_of(budget)]
        if row.can_ship and max(factors, default=math.inf) < math.inf:
            misses.append((max(factors), row))
    if not misses:
        return None
    factor, row = min(misses, key=lambda miss: (miss[0], miss[1].bundle))
    reasons = "; ".join(blocking_reasons(row, budget))
    # The summand decides ties, so that the page's script rounds the same.
    return f"{row.bundle} at {format_factor(factor + 1e-9)} times the limit ({reasons})"


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
