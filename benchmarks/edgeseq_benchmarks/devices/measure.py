"""Benchmarks on devices by name, several at the same time."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeseq.errors import DeviceError, EdgeseqError, InputError
from edgeseq.formats.result import ResultRecord, Settings
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.command_runs import Interruption, interruptible
from edgeseq_benchmarks.bench.runner import bench, sigterm_as_interrupt
from edgeseq_benchmarks.devices.address import DeviceAddress
from edgeseq_benchmarks.devices.base import Device, DeviceLostError, StreamingDevice
from edgeseq_benchmarks.devices.mediapipe.mediapipe_bench import bench_in_mediapipe
from edgeseq_benchmarks.devices.native.board_bench import bench_on_board
from edgeseq_benchmarks.devices.registry import KINDS, open_device, resolve_device
from edgeseq_benchmarks.devices.remote.remote_bench import RemoteOptions
from edgeseq_benchmarks.devices.web.page import WebPage

_EMULATED_LIMITED_S, _EMULATED_SEARCH_S = 60.0, 900.0


class DeviceTarget(NamedTuple):
    """A device to measure on; `name` as the user wrote it, `label` the same for a file's name."""

    name: str
    address: DeviceAddress
    label: str


class BenchRequest(msgspec.Struct, frozen=True):
    """What is measured, on every device alike.

    `native` is the tool that measures on phones (`adb:`), `page` what a browser opens (`web`), and
    `mediapipe_exports` what MediaPipe runs, for each bundle; they are needed there alone.
    """

    bundles: tuple[Path, ...]
    settings: Settings
    command: tuple[str, ...] = ()
    native: Path | None = None
    remote: RemoteOptions = RemoteOptions()
    page: WebPage | None = None
    mediapipe_exports: tuple[Path, ...] = ()


class DeviceOutcome(msgspec.Struct, frozen=True):
    """The end of the benchmark on one device: its result, or the error that ended it.

    `unfinished` is the result so far of a device that was lost.
    """

    target: DeviceTarget
    result: ResultRecord | None = None
    error: EdgeseqError | None = None
    unfinished: ResultRecord | None = None


def find_targets(
    names: Sequence[str], *, python: str | None = None, where: str = "--on"
) -> tuple[DeviceTarget, ...]:
    """The devices of these names or addresses; `python` replaces the interpreters that are saved.

    Raises `InputError` for an unknown device, and for one that is named twice.
    """
    targets: list[DeviceTarget] = []
    for name in names:
        address = resolve_device(name, where=where)
        if python is not None:
            address = address._replace(python=python)
        if any(target.address.text == address.text for target in targets):
            raise InputError("the same device twice", where=where, found=name, fix="name it once")
        label = re.sub(r"[^A-Za-z0-9.@_-]+", "-", name.removeprefix("ssh://")).strip("-.")
        if any(target.label == label for target in targets):
            label = f"{label}-{len(targets) + 1}"
        targets.append(DeviceTarget(name, address, label))
    return tuple(targets)


def measure_on(
    target: DeviceTarget, request: BenchRequest, *, progress: ProgressCallback = no_progress
) -> ResultRecord:
    """Measures on one device; raises what the bench of its kind raises."""
    measured_by = KINDS[target.address.kind].measured_by
    if measured_by == "this process":
        return bench(
            request.bundles, settings=request.settings, progress=progress, command=request.command
        )
    if measured_by == "MediaPipe":
        return bench_in_mediapipe(
            request.mediapipe_exports,
            request.bundles,
            settings=request.settings,
            progress=progress,
            command=request.command,
        )
    if measured_by == "a page":
        return _measure_in_browser(target.name, request, progress)
    device = open_device(target.address)
    if measured_by == "benchmark_model":
        return _measure_on_phone(device, request, progress)
    if not isinstance(device, StreamingDevice):
        raise DeviceError("cannot be measured", where=device.name)
    return bench_on_board(
        device,
        request.bundles,
        settings=settings_for(device, request.settings),
        progress=progress,
        command=request.command,
        options=msgspec.structs.replace(request.remote, python=target.address.python),
    )


def settings_for(device: Device, settings: Settings) -> Settings:
    """The settings for the device: an emulated one skips what only serves its latencies."""
    if not device.emulated:
        return settings
    return msgspec.structs.replace(
        settings,
        quick=True,
        min_duration_s=0.0,
        rounds=1,
        cold_starts=1,
        steady_texts=8,  # an emulated processor needs a second for each
        length_tokens=(),
        limited_queries=min(settings.limited_queries, 16),
        # A p95 needs more than a hundred queries.
        limited_duration_s=_EMULATED_LIMITED_S,
        search_budget_s=_EMULATED_SEARCH_S,
    )


def _measure_on_phone(
    device: Device, request: BenchRequest, progress: ProgressCallback
) -> ResultRecord:
    if request.native is None:
        raise InputError(
            "a phone is measured by TFLite's native benchmark_model, which is not in this package",
            where=device.name,
            fix="name it with --native (see docs/guides/android.md)",
        )
    record: ResultRecord = _lazy("android.phone_bench").bench_on_phone(
        device,
        request.bundles,
        settings=request.settings,
        native=request.native,
        progress=progress,
        command=request.command,
    )
    return record


def _measure_in_browser(
    name: str, request: BenchRequest, progress: ProgressCallback
) -> ResultRecord:
    if request.page is None:
        raise InputError("has no page to open", where=name, fix="call `edgeseq bench` or es.bench")
    record: ResultRecord = _lazy("web.browser_bench").bench_in_browser(
        request.page,
        request.bundles,
        settings=request.settings,
        progress=progress,
        command=request.command,
    )
    return record


def _lazy(name: str) -> Any:
    """A module of `devices` that loads what no other benchmark needs: for phones NumPy and the
    TFLite schema, for browsers a web server."""
    return importlib.import_module(f"edgeseq_benchmarks.devices.{name}")


def measure_on_all(
    targets: Sequence[DeviceTarget],
    request: BenchRequest,
    *,
    progress: ProgressCallback = no_progress,
    ended: Callable[[DeviceOutcome], None] = lambda _: None,
) -> tuple[DeviceOutcome, ...]:
    """Measures on all devices at the same time; an error of one is in its outcome alone.

    `ended` is called with each outcome as soon as it is there, one at a time. A
    `KeyboardInterrupt` ends the run on all of them before it is raised again.
    """
    lock = threading.Lock()
    outcomes: dict[str, DeviceOutcome] = {}
    broken: list[BaseException] = []
    interruption = Interruption()

    def measure(target: DeviceTarget) -> None:
        def labelled(update: ProgressUpdate, /) -> None:
            with lock:
                if len(targets) > 1:
                    stage = f"{target.label}: {update.stage}"
                    update = msgspec.structs.replace(update, stage=stage)
                progress(update)

        try:
            outcome = DeviceOutcome(target, result=measure_on(target, request, progress=labelled))
        except DeviceLostError as error:
            outcome = DeviceOutcome(target, error=error, unfinished=error.result)
        except EdgeseqError as error:
            outcome = DeviceOutcome(target, error=error)
        with lock:
            outcomes[target.name] = outcome
            ended(outcome)

    def in_thread(target: DeviceTarget) -> None:
        try:
            with interruptible(interruption):
                measure(target)
        except BaseException as error:  # noqa: BLE001 - raised again where the others are ended
            broken.append(error)

    # This thread takes the one that must have it: this machine's bench, or the only one there is.
    first, *remaining = sorted(
        targets, key=lambda target: KINDS[target.address.kind].measured_by != "this process"
    )
    threads = [threading.Thread(target=in_thread, args=(target,)) for target in remaining]
    with sigterm_as_interrupt():
        try:
            for thread in threads:
                thread.start()
            measure(first)
            for thread in threads:
                thread.join()
        except BaseException:
            interruption.set()
            for thread in threads:
                thread.join()
            raise
    if broken:
        raise broken[0]
    return tuple(outcomes[target.name] for target in targets)
