"""A project's limits in one file, `edgeseq-budget.toml`, for `edgeseq compare --budget-file`.

    fail_on = "p95>10% memory>5MB score>1pt"    # worse than the baseline by more than this
    budget = "memory=64MB p95=20ms"             # what every model has to keep

Both are optional and have the grammar of `edgeseq compare --fail-on` and `edgeseq report --budget`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.toml_codec import decode_toml
from edgeseq.reporting.budgets import Budget, limits_of, parse_budget
from edgeseq.reporting.thresholds import RegressionThreshold, parse_thresholds

SIZE_LIMIT_BYTES = 100_000
_EXPECTED = 'fail_on = "p95>10%", budget = "memory=64MB", or both'


class BudgetFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's content: `fail_on` has thresholds on changes, `budget` limits on every model."""

    fail_on: str = ""
    budget: str = ""


class ProjectLimits(msgspec.Struct, frozen=True):
    """What a budget file asks of a result: at least one threshold or limit."""

    thresholds: tuple[RegressionThreshold, ...]
    budget: Budget


def read_budget_file(path: Path) -> ProjectLimits:
    """Reads a budget file.

    Raises `InputError` naming the file for a missing one, for what is not TOML, for unknown keys,
    for what the grammars do not allow, and for a file that limits nothing.
    """
    content = read_bytes(path, limit_bytes=SIZE_LIMIT_BYTES)
    try:
        texts = from_builtins(decode_toml(content), BudgetFile)
    except msgspec.DecodeError as failure:
        raise InputError(
            "is not a budget file", where=path, found=str(failure), expected=_EXPECTED
        ) from failure
    try:
        thresholds = parse_thresholds(texts.fail_on) if texts.fail_on.strip() else ()
        limits = ProjectLimits(thresholds, parse_budget(texts.budget))
    except InputError as failure:
        raise InputError(str(failure), where=path) from failure
    if not limits.thresholds and not limits_of(limits.budget):
        raise InputError("limits nothing", where=path, expected=_EXPECTED)
    return limits
