"""The step `bench` on this machine, or on other devices at the same time.

    measured.json         what was measured on this machine
    measured/DEVICE.json  what was measured on a device
    measured/DEVICE.key   SHA-256 of what it was measured from

The result of a lost device is missing, and the suite's next run measures on it alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeseq.errors import DeviceError
from edgeseq.formats.codec import from_builtins
from edgeseq.formats.result import Finding, Settings
from edgeseq.formats.storage import sha256_file, write_json, write_text
from edgeseq.progress import ProgressCallback
from edgeseq.suite.devices import measured_path, suite_targets
from edgeseq.units import parse_bytes
from edgeseq_benchmarks.bench.limits.cgroup import find_hierarchy
from edgeseq_benchmarks.bench.runner import bench, default_settings
from edgeseq_benchmarks.devices.measure import (
    BenchRequest,
    DeviceOutcome,
    DeviceTarget,
    measure_on_all,
)


class BenchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is measured and how; `on` are devices, () this machine, whose result goes to `out`.

    `identity` is part of the step's fingerprint, not of the work.
    """

    bundles: list[str]
    quick: bool
    threads: int
    memory_limits: list[str]
    memory_curve: list[str]
    working_memory: bool
    identity: dict[str, str]
    runners: tuple[Literal["native", "python"], ...] = ("native", "python")
    out: str | None = None
    on: list[str] = []
    python: str | None = None


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Measures the bundles and writes the results.

    The answer has a line for each lost device in `lost`; raises the error of the first one when
    all were lost.
    """
    request = from_builtins(arguments, BenchArguments)
    if request.out is not None:
        return _bench_here(request, Path(request.out), progress)
    return _bench_on_devices(request, progress)


def _settings(request: BenchArguments, *, limited: bool = True) -> Settings:
    return default_settings(
        quick=request.quick,
        threads=request.threads,
        memory_limits_bytes=[parse_bytes(limit) for limit in request.memory_limits if limited],
        memory_curve_bundles=request.memory_curve if limited else [],
        runners=request.runners,
        working_memory=request.working_memory,
    )


def _command(request: BenchArguments) -> list[str]:
    """The command that measures the same."""
    command = ["edgeseq", "bench", *request.bundles, "--threads", str(request.threads)]
    command += ["--quick"] if request.quick else []
    command += ["--runner", request.runners[0]] if len(request.runners) == 1 else []
    command += [] if request.working_memory else ["--no-working-memory"]
    for name, values in (("--memory", request.memory_limits), ("--on", request.on)):
        command += [word for value in values for word in (name, value)]
    return command


def _bench_here(request: BenchArguments, out: Path, progress: ProgressCallback) -> dict[str, Any]:
    """On a machine that cannot limit memory the limited runs are left out; the result says so."""
    missing: tuple[Finding, ...] = ()
    if request.memory_limits or request.memory_curve:
        try:
            find_hierarchy()
        except DeviceError as error:
            missing = (Finding(code="no-memory-limits", severity="warning", message=str(error)),)
    result = bench(
        [Path(path) for path in request.bundles],
        settings=_settings(request, limited=not missing),
        progress=progress,
        command=[*_command(request), "--out", str(out)],
    )
    result = msgspec.structs.replace(result, findings=(*result.findings, *missing))
    write_json(out, result)
    invalid = sum(
        any(finding.severity == "invalid" for finding in run.findings) for run in result.runs
    )
    n_queries = sum(len(run.queries.total_ns) for run in result.runs)
    note = f"{n_queries:,} answers of {len(result.runs)} models"
    return {"note": f"{note}, {invalid} of them invalid" if invalid else note}


def _bench_on_devices(request: BenchArguments, progress: ProgressCallback) -> dict[str, Any]:
    """A result of an earlier run of the same bundles with the same settings is kept."""
    settings = _settings(request)
    inputs = (settings, [sha256_file(Path(path) / "bundle.json") for path in request.bundles])
    targets = suite_targets(request.on, request.python)
    todo = [target for target in targets if not _is_measured(target, inputs)]

    def write_outcome(outcome: DeviceOutcome) -> None:
        if outcome.result is not None:
            path = measured_path(outcome.target.label)
            write_json(path, outcome.result)
            write_text(path.with_suffix(".key"), _key(outcome.target, inputs))

    outcomes: tuple[DeviceOutcome, ...] = ()
    if todo:
        bundles = tuple(map(Path, request.bundles))
        task = BenchRequest(bundles, settings, command=tuple(_command(request)))
        outcomes = measure_on_all(todo, task, progress=progress, ended=write_outcome)
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(errors) == len(targets):
        raise errors[0]
    done = len(targets) - len(errors)
    models = "1 model" if len(request.bundles) == 1 else f"{len(request.bundles)} models"
    note = f"{models} on {done} of {len(targets)} devices"
    return {"note": note, "lost": [str(error) for error in errors]}


def _key(target: DeviceTarget, inputs: object) -> str:
    content = msgspec.json.encode((target.address, inputs), order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _is_measured(target: DeviceTarget, inputs: object) -> bool:
    """Whether the device's result is there and made of `inputs`; otherwise it is removed."""
    path = measured_path(target.label)
    try:
        if path.exists() and path.with_suffix(".key").read_text() == _key(target, inputs):
            return True
    except OSError:
        pass
    path.unlink(missing_ok=True)
    return False
