"""The step `linear_baseline`: what a linear model reaches on the data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.storage import write_json
from edgeseq.progress import ProgressCallback
from edgeseq.suite.jobs.data import DataArguments, load_unchanged
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.training.linear_baseline.fit import fit_linear_baseline


class LinearBaselineArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data set, and the file to write."""

    data: DataArguments
    data_sha256: str
    out: str


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Fits the model and writes its predictions for the test split to `out`."""
    request = from_builtins(arguments, LinearBaselineArguments)
    dataset = load_unchanged(request.data, request.data_sha256, progress)
    baseline = fit_linear_baseline(dataset, progress=progress)
    write_json(Path(request.out), baseline)
    score = metric_of(baseline.task).show(baseline.dev_score)
    return {"dev_score": baseline.dev_score, "note": f"{score} on dev"}
