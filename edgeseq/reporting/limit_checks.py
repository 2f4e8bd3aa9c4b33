"""Whether every model of a result keeps the limits of a budget, as checks of a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgeseq.formats.result import ResultRecord
from edgeseq.reporting.budgets import Budget, BudgetLimit, limits_of
from edgeseq.reporting.comparison import CheckStatus, ThresholdCheck, model_name
from edgeseq.reporting.format import format_limit, format_quantity
from edgeseq.reporting.rows import ReportRow, read_groups
from edgeseq.reporting.verdict import excess_reason, limit_title


def check_limits(new: Path | ResultRecord, budget: Budget) -> tuple[ThresholdCheck, ...]:
    """Checks each limit of `budget` on every model of `new`, in the order of its models.

    A limit *fails* where the estimate exceeds it, as in a verdict; it is *unknown* where the value
    was not measured, or is a time and the measurement is not valid.

    Raises `ResultError` for a file that cannot be read.
    """
    rows = [row for group in read_groups([new]) for row in group.rows]
    runners = tuple(dict.fromkeys(row.runner for row in rows))
    return tuple(
        check
        for row in rows
        for check in _checks_of_row(row, budget, model_name(row.bundle, row.runner, runners))
    )


def _checks_of_row(row: ReportRow, budget: Budget, name: str) -> Iterator[ThresholdCheck]:
    for limit, allowed in limits_of(budget):
        text = f"{limit.key}≤{format_limit(allowed, limit.unit)}".replace(" ", "")
        yield ThresholdCheck(name, text, *_outcome(row, limit, allowed))


def _outcome(row: ReportRow, limit: BudgetLimit, allowed: float) -> tuple[CheckStatus, str]:
    value = getattr(row, limit.row_field)
    if value is not None and limit.unit == "ms" and row.invalid_reasons:
        return "unknown", f"NEW is invalid: {row.invalid_reasons[0]}"
    reason = excess_reason(row, limit, allowed)
    if reason is None:
        return "holds", f"{limit_title(limit, row)} {format_quantity(value, limit.unit)}"
    return ("unknown" if value is None else "fails"), reason
