"""Regression checks: two results of the same models."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.api.result import Result, result_source
from edgeseq.reporting.budgets import limits_of, parse_budget
from edgeseq.reporting.comparison import Comparison, compare_results
from edgeseq.reporting.limit_checks import check_limits


def compare(
    old: Result | str | Path,
    new: Result | str | Path,
    *,
    across: bool = False,
    budget: str = "",
) -> Comparison:
    """Compare two results of the same models, with intervals.

    Args:
        old: The result to compare with, or its file.
        new: The result to check, or its file.
        across: Also compare results of different devices, runtimes or settings.
        budget: Limits like "memory=64MB p95=20ms" that every model of `new` has to keep.

    Returns:
        The changes, and `regressions("p95>10% memory>5MB score>1pt")`, which includes the limits
        that are not kept.

    Raises:
        InputError: The budget has an error.
        ResultError: A result is damaged, they have no model in common, or they were measured under
            different conditions (without `across`).

    Examples:
        >>> regressions = es.compare(old, new).regressions("p95>10%")
    """
    limits = parse_budget(budget)
    comparison = compare_results(result_source(old), result_source(new), across=across)
    if not limits_of(limits):
        return comparison
    checks = check_limits(result_source(new), limits)
    return msgspec.structs.replace(comparison, limit_checks=checks)
