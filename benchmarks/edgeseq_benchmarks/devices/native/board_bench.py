"""A benchmark on a board in each runner: native processes driven from here, then its own Python.

Either one may be missing there; with both, the two results become one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import BundleError, DeviceError, EdgeseqError
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.result import Finding, ResultRecord, Run, Runner, Settings
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq_benchmarks.bench.launcher import check_runner_file, missing_runner
from edgeseq_benchmarks.devices.base import DeviceLostError, StreamingDevice
from edgeseq_benchmarks.devices.native.native_bench import bench_native_on
from edgeseq_benchmarks.devices.remote.remote_bench import RemoteOptions, bench_on


def bench_on_board(
    device: StreamingDevice,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    options: RemoteOptions | None = None,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
) -> ResultRecord:
    """Benchmarks the bundles on `device` in each of the settings' runners that it can run.

    On an emulated device the minimum working memory is searched for in native processes alone.

    Raises what `bench_native_on` and `bench_on` raise when none of the runners can run, and for a
    lost device, with the measurements of both so far.
    """
    options = options or RemoteOptions()

    def measure(runner: Runner, paths: Sequence[Path]) -> ResultRecord:
        alone = msgspec.structs.replace(settings, runners=(runner,))
        if runner == "native":
            return bench_native_on(
                device,
                paths,
                settings=alone,
                base_dir=options.base_dir,
                progress=progress,
                command=command,
                keep_connection=len(settings.runners) > 1,
            )
        if device.emulated:
            # There, a Python process takes minutes for the queries that a p95 needs.
            alone = msgspec.structs.replace(alone, working_memory=False)
        return bench_on(
            device, paths, settings=alone, options=options, progress=progress, command=command
        )

    if len(settings.runners) == 1:
        return measure(settings.runners[0], bundles)
    return _bench_in_both(bundles, settings, measure)


def _bench_in_both(
    bundles: Sequence[Path],
    settings: Settings,
    measure: Callable[[Runner, Sequence[Path]], ResultRecord],
) -> ResultRecord:
    """The native runner goes first, with the bundles that it can run."""
    obstacles: dict[Runner, EdgeseqError] = {}
    paths, refused = _native_bundles(bundles)
    native: ResultRecord | None = None
    if not paths:
        obstacles["native"] = next(iter(refused.values()))
    else:
        try:
            native = measure("native", paths)
        except DeviceLostError:
            raise
        except (DeviceError, BundleError) as error:
            obstacles["native"] = error
    try:
        python = measure("python", bundles)
    except DeviceLostError as lost:
        if native is not None:
            lost.result = native if lost.result is None else merge_runners(native, lost.result)
        raise
    except (DeviceError, BundleError) as error:
        if native is None:
            # A board that can run neither: what its Python lacks is what a person can mend.
            raise
        unmeasured = tuple(
            Finding("not-measured", "warning", f"{name} was not measured: {refusal}; {error}")
            for name, refusal in refused.items()
        )
        result = _with_note(native, settings, "python", error)
        return msgspec.structs.replace(result, findings=(*result.findings, *unmeasured))
    if native is None:
        return _with_note(python, settings, "native", obstacles["native"])
    merged = merge_runners(native, python)
    runs = tuple(_with_refusal(run, refused) for run in merged.runs)
    return msgspec.structs.replace(merged, requested=settings, runs=runs)


def _native_bundles(bundles: Sequence[Path]) -> tuple[list[Path], dict[str, BundleError]]:
    """The bundles that the native runner can run, and why not of the others by name."""
    paths: list[Path] = []
    refused: dict[str, BundleError] = {}
    for path in bundles:
        with open_bundle(path, verify_hashes=False) as bundle:
            try:
                check_runner_file(bundle)
                paths.append(path)
            except BundleError as error:
                refused[bundle.manifest.name] = error
    return paths, refused


def _with_refusal(run: Run, refused: dict[str, BundleError]) -> Run:
    error = refused.get(run.bundle.name)
    return run if error is None else _noted(run, "native", error)


def _noted(run: Run, runner: Runner, reason: object) -> Run:
    return msgspec.structs.replace(run, findings=(*run.findings, missing_runner(runner, reason)))


def _with_note(
    result: ResultRecord, settings: Settings, runner: Runner, reason: EdgeseqError
) -> ResultRecord:
    """The result of the other runner, each run with the reason why there is none of this one."""
    runs = tuple(_noted(run, runner, reason) for run in result.runs)
    return msgspec.structs.replace(result, requested=settings, runs=runs)


def merge_runners(native: ResultRecord, python: ResultRecord) -> ResultRecord:
    """One result of a board that was measured in both runners, one after the other.

    Device, runtime and idle energy are those that its own Python saw. A bundle that the native
    runner refused keeps its Python run alone.
    """
    measured = {run.bundle.name for run in python.runs}
    refused: dict[str, str] = {}
    runs: list[Run] = []
    for run in native.runs:
        refusal = next((f.message for f in run.findings if f.code == "runner-refused"), None)
        if refusal is not None and run.bundle.name in measured:
            refused[run.bundle.name] = refusal
        else:
            runs.append(run)
    for run in python.runs:
        reason = refused.get(run.bundle.name)
        runs.append(run if reason is None else _noted(run, "native", reason))
    findings = list(dict.fromkeys((*native.findings, *python.findings)))
    if native.runtime.version != python.runtime.version:
        message = (
            f"the native runner used {native.runtime.package} {native.runtime.version}, Python "
            f"{python.runtime.package} {python.runtime.version}"
        )
        findings.append(Finding("runtimes-differ", "note", message))
    order = {name: number for number, name in enumerate(dict.fromkeys(r.bundle.name for r in runs))}
    runners: tuple[Runner, ...] = ("native", "python")
    return msgspec.structs.replace(
        python,
        created_utc=native.created_utc,
        requested=msgspec.structs.replace(python.requested, runners=runners),
        effective=msgspec.structs.replace(python.effective, runners=runners),
        machine=(*native.machine, *python.machine),
        runs=tuple(sorted(runs, key=lambda run: order[run.bundle.name])),
        findings=tuple(findings),
    )
