"""The step `verdict_run`: each winner is run once more, under exactly the budget's memory limit.

result.json           what was measured on this machine, with the winner's run
results/DEVICE.json   the same of a device
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import EdgeseqError, ResultError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import Finding, ResultRecord, Run, Settings, read_result
from edgeseq.formats.storage import read_json, write_json
from edgeseq.progress import ProgressCallback
from edgeseq.suite.devices import suite_targets
from edgeseq.suite.verdicts import ShippedModel, SuiteVerdict
from edgeseq.tasks.registry import task_of
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.runner import bench, default_settings
from edgeseq_benchmarks.devices.measure import BenchRequest, DeviceTarget, measure_on_all

_SECONDS = 30.0
_QUICK_SECONDS = 10.0
# A language model is scored on whole documents, which is not what is repeated here.
_STREAM_DOCUMENTS = 2
_NOT_RUN = "not run under the budget's limits"


class VerdictRunArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the verdict, the results and the bundles are; `outs` correspond to `results`."""

    verdict: str
    results: list[str]
    outs: list[str]
    bundles: list[str]
    quick: bool
    threads: int
    on: list[str] = []
    python: str | None = None


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Writes each result with the runs of its winners; without a limit on memory, unchanged."""
    request = from_builtins(arguments, VerdictRunArguments)
    verdict = read_json(Path(request.verdict), SuiteVerdict, error=ResultError)
    targets = suite_targets(request.on, request.python) or (None,) * len(request.results)
    notes = []
    for path, out, target in zip(request.results, request.outs, targets, strict=True):
        if not Path(path).exists():
            Path(out).unlink(missing_ok=True)  # of a device that is lost now
            continue
        result = read_result(Path(path))
        for model in verdict.shipped:
            if model.result == path and verdict.memory_bytes is not None:
                rerun = _run_winner(request, verdict, model, target, progress)
                result = _with_rerun(result, model, rerun)
                notes.append(_describe(model, rerun))
        write_json(Path(out), result)
    nothing = "nothing fits" if verdict.memory_bytes else "no limit on memory to run under"
    return {"note": "; ".join(notes) or nothing}


def _run_winner(
    request: VerdictRunArguments,
    verdict: SuiteVerdict,
    model: ShippedModel,
    target: DeviceTarget | None,
    progress: ProgressCallback,
) -> LimitedRun | Finding:
    """The winner's run under the limit, or why there is none."""
    bundle = next(Path(path) for path in request.bundles if Path(path).name == model.bundle)
    try:
        settings = _settings(request, verdict, model, bundle)
        run = _bench_winner(bundle, settings, target, progress)
    except EdgeseqError as error:
        return Finding("verdict-not-run", "warning", f"{_NOT_RUN}: {error}")
    if run.limited and run.limited[-1].mechanism == "rlimit":
        return Finding("verdict-not-run", "note", f"{_NOT_RUN}: {run.limited[-1].limitations}")
    if not run.limited:
        reason = "; ".join(finding.message for finding in run.findings) or "no run under a limit"
        return Finding("verdict-not-run", "warning", f"{_NOT_RUN}: {reason}")
    return msgspec.structs.replace(run.limited[-1], purpose="verdict", budget=verdict.budget)


def _bench_winner(
    bundle: Path, settings: Settings, target: DeviceTarget | None, progress: ProgressCallback
) -> Run:
    if target is None:
        return bench([bundle], settings=settings, progress=progress).runs[0]
    (outcome,) = measure_on_all([target], BenchRequest((bundle,), settings), progress=progress)
    if outcome.result is None:
        raise outcome.error or ResultError("gave no result", where=target.name)
    return outcome.result.runs[0]


def _settings(
    request: VerdictRunArguments, verdict: SuiteVerdict, model: ShippedModel, bundle: Path
) -> Settings:
    """As little as possible besides all test sentences under the limit, up to a time."""
    is_streaming = task_of(read_bundle(bundle, verify_hashes=False).manifest.task).is_streaming
    settings = default_settings(
        quick=True,
        threads=request.threads,
        memory_limits_bytes=[verdict.memory_bytes or 0],
        runners=[model.runner],
        working_memory=False,
        examples=_STREAM_DOCUMENTS if is_streaming else None,
    )
    return msgspec.structs.replace(
        settings,
        min_queries=1,
        min_duration_s=0.0,
        rounds=1,
        cold_starts=1,
        length_tokens=(),
        limited_queries=settings.max_queries,
        limited_duration_s=_QUICK_SECONDS if request.quick else _SECONDS,
    )


def _with_rerun(
    result: ResultRecord, model: ShippedModel, rerun: LimitedRun | Finding
) -> ResultRecord:
    def extended(run: Run) -> Run:
        if (run.bundle.name, run.runner) != (model.bundle, model.runner):
            return run
        if isinstance(rerun, Finding):
            return msgspec.structs.replace(run, findings=(*run.findings, rerun))
        return msgspec.structs.replace(run, limited=(*run.limited, rerun))

    return msgspec.structs.replace(result, runs=tuple(map(extended, result.runs)))


def _describe(model: ShippedModel, rerun: LimitedRun | Finding) -> str:
    if isinstance(rerun, Finding):
        return f"{model.bundle} ({model.runner}): {rerun.message}"
    limit = format_bytes(rerun.limit_bytes)
    return f"{model.bundle} ({model.runner}) under {limit}: {rerun.status}"
