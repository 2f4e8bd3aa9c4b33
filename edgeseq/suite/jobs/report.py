"""The step `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.linear_baseline import read_linear_baseline
from edgeseq.formats.search_record import read_search_record
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.deployment_report import make_report


class ReportArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the report is made of; `bundles` have the texts on which models disagree, `baseline` is
    the linear baseline's file, `search` the record of the search that found the models (its hash is
    part of the step's fingerprint)."""

    results: list[str]
    bundles: list[str]
    budget: str
    out: str
    baseline: str | None = None
    search: str | None = None
    search_sha256: str | None = None


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes the report to the folder `out`; a lost device's result is missing, not all are."""
    request = from_builtins(arguments, ReportArguments)
    paths = [Path(path) for path in request.results]
    bundle = read_bundle(Path(request.bundles[0]), verify_hashes=False)
    report = make_report(
        [path for path in paths if len(paths) == 1 or path.exists()],
        budget=parse_budget(request.budget),
        examples=bundle.read_examples(),
        examples_sha256=sha256_file(bundle.path / "eval.jsonl"),
        baseline=(
            None if request.baseline is None else read_linear_baseline(Path(request.baseline))
        ),
        search=None if request.search is None else read_search_record(Path(request.search)),
    )
    report.save(Path(request.out), progress=progress)
    return {
        "verdict": msgspec.to_builtins(report.verdict),
        "boundaries": [line for view in report.views for line in (view.boundary, *view.remarks)],
        "note": request.out,
    }
