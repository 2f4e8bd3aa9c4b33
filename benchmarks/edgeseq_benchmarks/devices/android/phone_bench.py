"""The benchmark on a phone: the native tool on our real inputs, one result record.

Tokenizing is done on the workstation and is in no latency; a finding notes it. What is timed is
the tool's inference, two runs at a time in a fresh process for every input, models interleaved in
rounds as in `edgeseq_benchmarks.bench.runner`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

import edgeseq
from edgeseq.errors import DeviceError, EdgeseqError
from edgeseq.formats.bundle_zip import open_bundle
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.result import DeviceInfo, Finding, ResultRecord, RuntimeInfo, Settings
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq_benchmarks.bench import validity
from edgeseq_benchmarks.bench.runner import check_names, own_git_state, sigterm_as_interrupt
from edgeseq_benchmarks.devices.adb import SCRATCH
from edgeseq_benchmarks.devices.android import phone_stages
from edgeseq_benchmarks.devices.android.benchmark_model import TIMED_RUNS, check_native
from edgeseq_benchmarks.devices.android.empty_model import empty_model
from edgeseq_benchmarks.devices.android.phone_state import (
    PhoneState,
    phone_findings,
    read_identity,
    read_state,
)
from edgeseq_benchmarks.devices.android.phone_subject import PhoneSubject
from edgeseq_benchmarks.devices.android.tool_runs import ToolOptions, ToolRunner
from edgeseq_benchmarks.devices.base import Device, DeviceLostError
from edgeseq_benchmarks.devices.option_checks import check_no_limits, check_not_native

_CONNECT_S = 30.0
_CLEAN_S = 30.0
# What a run that was cut off for good has left behind is removed by a later one.
_OLD = 'find "$1" -maxdepth 1 -name \'edgeseq-*\' -mtime +0 -exec rm -rf {} + ; mkdir "$2"'


def bench_on_phone(
    device: Device,
    bundles: Sequence[Path],
    *,
    settings: Settings,
    native: Path,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = (),
    options: ToolOptions = ToolOptions(),  # noqa: B008 - immutable
) -> ResultRecord:
    """Measures the bundles on the phone; `native` is TFLite's `benchmark_model` for its processor.

    Leaves nothing on the phone. Raises `InputError` for settings that a phone cannot do,
    `BundleError` for an invalid bundle, `DeviceError` when the phone refuses or can run none of the
    bundles, and `DeviceLostError`, with the result so far, when it is lost. A bundle that the tool
    cannot run keeps its measurements, with an invalid finding.
    """
    _check_settings(settings)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_bundle(path, verify_hashes=True)) for path in bundles]
        check_names(opened)
        subjects = [PhoneSubject(bundle, settings, n) for n, bundle in enumerate(opened)]
        stack.enter_context(sigterm_as_interrupt())
        device.connect(timeout_s=_CONNECT_S)
        stack.callback(device.close)
        info, abis = read_identity(device)
        check_native(native, abis)
        scratch = stack.enter_context(temporary_folder())
        folder = stack.enter_context(_new_folder(device))
        runner = ToolRunner(device, folder, scratch, threads=settings.threads, options=options)
        phone = phone_stages.PhoneSession(device, folder, runner, settings, progress)
        bench = _Bench(phone, subjects, info=info, native=native, command=tuple(command))
        try:
            bench.push(scratch)
            bench.measure()
        except DeviceLostError as error:
            for subject in subjects:
                if not subject.failed:
                    subject.mark_failed("the phone was lost", str(error))
            error.result = bench.result()
            raise
        return bench.result()


def _check_settings(settings: Settings) -> None:
    check_not_native(settings, "is not possible on a phone, which is measured by benchmark_model")
    check_no_limits(
        settings,
        "is not possible on a phone, where only the user root may set limits",
        fix="leave it out, or measure on a board",
    )


@contextmanager
def _new_folder(device: Device) -> Iterator[PurePosixPath]:
    """A new folder on the phone, removed in the end, also after Ctrl-C."""
    folder = SCRATCH / f"edgeseq-{secrets.token_hex(8)}"
    try:
        output = device.run(("sh", "-c", _OLD, "sh", str(SCRATCH), str(folder)), timeout_s=_CLEAN_S)
        if output.returncode != 0:
            raise _error("no folder can be made on it", device, output)
        yield folder
    finally:
        with contextlib.suppress(EdgeseqError):
            device.run(("rm", "-rf", str(folder)), timeout_s=_CLEAN_S)


class _Bench:
    """One bench in its folder on the phone, and what it has observed so far."""

    def __init__(
        self,
        phone: phone_stages.PhoneSession,
        subjects: Sequence[PhoneSubject],
        *,
        info: DeviceInfo,
        native: Path,
        command: tuple[str, ...],
    ) -> None:
        self._phone = phone
        self._subjects = subjects
        self._info = info
        self._native = native
        self._command = command
        self._created_utc = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._states: list[PhoneState] = []

    def push(self, scratch: Path) -> None:
        """Copies the tool, the models and their inputs."""
        files: dict[str, bytes | Path] = {
            "empty.tflite": empty_model(),
            "benchmark_model": self._native,
        }
        for subject in self._subjects:
            files[f"model.{subject.number}.tflite"] = subject.bundle.model_path
            files[f"inputs.{subject.number}"] = subject.packed
        device, call_s = self._phone.device, self._phone.runner.options.call_s
        for done, (name, content) in enumerate(files.items()):
            self._phone.progress(ProgressUpdate("copy", done, len(files), name))
            path = content if isinstance(content, Path) else scratch / name
            if isinstance(content, bytes):
                path.write_bytes(content)
            # At 1 MB/s, slower than any cable.
            timeout_s = call_s + path.stat().st_size / 1e6
            device.put(path, self._phone.folder / name, timeout_s=timeout_s)
        self._phone.progress(ProgressUpdate("copy", len(files), len(files)))
        tool = str(self._phone.folder / "benchmark_model")
        output = device.run(("chmod", "755", tool), timeout_s=call_s)
        if output.returncode != 0:
            raise _error("benchmark_model cannot be made executable", device, output)

    def measure(self) -> None:
        """All stages, in their order."""
        phone, subjects = self._phone, self._subjects
        self._read_state("before")
        phone_stages.check(phone, subjects)
        phone_stages.measure_memory(phone, subjects)
        phone_stages.measure_cold_starts(phone, subjects)
        phone_stages.measure_rounds(phone, subjects, lambda: self._read_state("during"))
        phone_stages.measure_lengths(phone, subjects)
        if phone.settings.profile:
            phone_stages.measure_profiles(phone, subjects)
        self._read_state("after")

    def _read_state(self, when: Literal["before", "during", "after"]) -> None:
        self._states.append(read_state(self._phone.device, when))

    def result(self) -> ResultRecord:
        """The record of everything observed so far, at the end or when the phone was lost."""
        settings = self._phone.settings
        machine = tuple(state.machine for state in self._states)
        examples = max(len(subject.examples) for subject in self._subjects)
        effective = msgspec.structs.replace(
            settings,
            min_queries=max(settings.min_queries, TIMED_RUNS * examples),
            runners=("benchmark_model",),
            working_memory=False,
        )
        return ResultRecord(
            created_utc=self._created_utc,
            edgeseq_version=edgeseq.__version__,
            command=self._command,
            device=self._info,
            runtime=RuntimeInfo(
                package="benchmark_model",
                version=f"sha256 {sha256_file(self._native)[:12]}",
                python="none",
                delegate=self._phone.delegate,
            ),
            requested=settings,
            effective=effective,
            machine=machine,
            runs=tuple(subject.run(effective) for subject in self._subjects),
            findings=(
                _scope_finding(self._phone.runner.options.warmup_s),
                *validity.machine_findings(machine, self._info),
                *phone_findings(self._states),
                *validity.settings_findings(settings, ()),
            ),
            git_state=own_git_state(),
        )


def _error(what: str, device: Device, output: CommandOutput) -> DeviceError:
    text = output.stderr.decode(errors="replace").strip() or f"status {output.returncode}"
    return DeviceError(what, where=device.name, found=text)


def _scope_finding(warmup_s: float) -> Finding:
    words = (
        "measured by the native benchmark_model: times are of inference alone, in whole "
        "microseconds (less than one counts as one), "
        f"{TIMED_RUNS} runs in a fresh process for each text after at least {warmup_s * 1000:.0f} "
        "ms of warm-up on the same text; tokenizing was done on the workstation and is in no time; "
        "a cold start is loading and the first inference, without starting a program; memory holds "
        "no tokenizer"
    )
    return Finding("inference-only", "note", words)
