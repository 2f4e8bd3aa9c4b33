"""What is known of a model under the limits that it is recommended for."""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.format import LIMITED_STATUS_TEXTS, format_limit
from edgeseq.reporting.limit_outcomes import LimitOutcome
from edgeseq.reporting.rows import ReportRow
from edgeseq.units import format_bytes, format_duration_ms


class TimeDoubt(NamedTuple):
    """A time that may be above a limit which it keeps: what it does not exceed with 99 % confidence
    (None: the samples show no such end), and the sentence that says so."""

    key: str
    at_most_ms: float | None
    text: str

    def is_raised_by(self, limit_ms: float | None) -> bool:
        """Whether the time may be above a limit."""
        return limit_ms is not None and (self.at_most_ms is None or self.at_most_ms > limit_ms)


def time_doubts(row: ReportRow) -> list[TimeDoubt]:
    """A doubt for each percentile of times with an interval, whatever the limits are."""
    doubts = []
    for key, title, value_ms, ends, at_most_ms in (
        ("p50", "median latency", row.p50_ms, row.p50_ms_ci95, row.p50_at_most_ms),
        ("p95", "p95 latency", row.p95_ms, row.p95_ms_ci95, row.p95_at_most_ms),
    ):
        if value_ms is not None and ends is not None:
            doubt = (
                "may be above the limit, because too few queries were measured"
                if at_most_ms is None
                else f"may truly be up to {format_duration_ms(at_most_ms)} (99 % confidence), "
                "above the limit"
            )
            text = (
                f"Its {title} of {format_duration_ms(value_ms)} keeps the limit, but {doubt}: "
                "measure again without --quick to be sure."
            )
            doubts.append(TimeDoubt(key, at_most_ms, text))
    return doubts


def raised_doubts(row: ReportRow, budget: Budget) -> list[TimeDoubt]:
    """The limits on times that a row keeps by less than the measuring error."""
    limits_ms = {"p50": budget.p50_ms, "p95": budget.p95_ms}
    return [doubt for doubt in time_doubts(row) if doubt.is_raised_by(limits_ms[doubt.key])]


def proof_of(row: ReportRow, budget: Budget, certain: ReportRow | None) -> str:
    """What a verdict says of its winner besides the reason: `proof_sentence`, the limits on times
    that it may not keep, and then the model that is `certain` to keep them (None: there is none).
    """
    doubts = [doubt.text for doubt in raised_doubts(row, budget)]
    if doubts and certain is not None:
        doubts.append(certain_sentence(certain))
    return " ".join(filter(None, (proof_sentence(row, budget.memory_bytes), *doubts)))


def certain_sentence(row: ReportRow) -> str:
    """What to ship instead of a model that may not fit."""
    return f"{row.bundle} keeps every limit by more than the measuring error, at a higher cost."


def proof_sentence(row: ReportRow, limit_bytes: int | None) -> str:
    """What is known of `row` under a limit of `limit_bytes` on the whole process (None: no limit).

    A run made for the verdict comes first, then the nearest limit at or below the one asked for
    under which the model answered; without working memory the sentence says what the verdict
    rests on. Empty where there is nothing to say.
    """
    if row.working_memory_bytes is None:
        return _peak_sentence(row)
    if limit_bytes is None:
        return ""
    below = [outcome for outcome in row.limits_tried if outcome.limit_bytes <= limit_bytes]
    exact = [o for o in below if o.limit_bytes == limit_bytes and o.is_verdict]
    answered = [outcome for outcome in below if outcome.status == "answered"]
    nearest = next(iter([*exact, *answered]), None)
    return "" if nearest is None else outcome_sentence(nearest)


def proof_steps(row: ReportRow) -> list[tuple[int, bool, str]]:
    """Limits in bytes, largest first, each with whether its sentence holds for it alone, and the
    sentence that `proof_sentence` gives for it (and otherwise for limits above it)."""
    if row.working_memory_bytes is None:
        return []
    return [
        (outcome.limit_bytes, outcome.status != "answered", outcome_sentence(outcome))
        for outcome in row.limits_tried
        if outcome.status == "answered" or outcome.is_verdict
    ]


def outcome_sentence(outcome: LimitOutcome) -> str:
    """`Run under 16 MB: p95 0.310 ms.`, `It answered under 15.2 MB with a p95 of 0.310 ms.`"""
    limit = format_limit(outcome.limit_bytes, "bytes")
    if outcome.is_verdict:
        if outcome.status != "answered":
            return f"Run under {limit}: {LIMITED_STATUS_TEXTS[outcome.status]}."
        p95 = "answered" if outcome.p95_ms is None else f"p95 {format_duration_ms(outcome.p95_ms)}"
        return f"Run under {limit}: {p95}."
    time = "" if outcome.p95_ms is None else f" with a p95 of {format_duration_ms(outcome.p95_ms)}"
    return f"It answered under {limit}{time}."


def _peak_sentence(row: ReportRow) -> str:
    if row.peak_process_bytes is None:
        return "Neither its working memory nor its peak memory was measured."
    return (
        "Its working memory was not measured, so the verdict rests on its peak memory of "
        f"{format_bytes(row.peak_process_bytes)}."
    )
