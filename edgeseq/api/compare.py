"""Regression checks: two results of the same models."""

from __future__ import annotations

from pathlib import Path

from edgeseq.api.result import Result, result_source
from edgeseq.reporting.comparison import Comparison, compare_results


def compare(
    old: Result | str | Path, new: Result | str | Path, *, across: bool = False
) -> Comparison:
    """Compare two results of the same models, with intervals.

    Args:
        old: The result to compare with, or its file.
        new: The result to check, or its file.
        across: Also compare results of different devices, runtimes or settings.

    Returns:
        The changes, and `regressions("p95>10% memory>5MB score>1pt")`.

    Raises:
        ResultError: A result is damaged, they have no model in common, or they were measured under
            different conditions (without `across`).

    Examples:
        >>> regressions = es.compare(old, new).regressions("p95>10%")
    """
    return compare_results(result_source(old), result_source(new), across=across)
