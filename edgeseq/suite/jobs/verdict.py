"""The step `verdict`: which model ships, on each device and in each runner.

    verdict.json          the winners and the budget

It measures nothing: statistics need NumPy, whose pages must not be mapped while models run inside
limits. What it decides is run by the next step, `verdict_run`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressCallback
from edgeseq.reporting.budgets import budget_text, parse_budget
from edgeseq.reporting.summary import read_and_decide
from edgeseq.suite.verdicts import ShippedModel, SuiteVerdict


class VerdictArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is decided over; the result of a lost device is missing."""

    results: list[str]
    budget: str
    out: str


def run(arguments: dict[str, Any], _progress: ProgressCallback) -> dict[str, Any]:
    """Writes the verdict to `out`."""
    request = from_builtins(arguments, VerdictArguments)
    budget = parse_budget(request.budget)
    shipped = [
        ShippedModel(result, decision.group.runner, decision.summary.verdict.winner)
        for result in request.results
        if Path(result).exists()
        for decision in read_and_decide([Path(result)], budget)
        if decision.summary.verdict.winner is not None
    ]
    verdict = SuiteVerdict(
        budget=budget_text(budget), memory_bytes=budget.memory_bytes, shipped=tuple(shipped)
    )
    write_json(Path(request.out), verdict)
    names = dict.fromkeys(f"{model.bundle} ({model.runner})" for model in shipped)
    return {"note": ", ".join(names) or "nothing fits"}
