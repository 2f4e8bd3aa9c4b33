"""Benchmarks on this machine, boards and phones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

import edgeseq
from edgeseq.api import microcontrollers
from edgeseq.api.bundle import Bundle, bundle_path
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.api.result import Result
from edgeseq.errors import DeviceError, EdgeseqError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.result import Runner, Settings
from edgeseq.units import parse_bytes
from edgeseq_benchmarks.bench.runner import RUNNERS, default_settings
from edgeseq_benchmarks.devices.measure import (
    BenchRequest,
    DeviceOutcome,
    DeviceTarget,
    find_targets,
    measure_on_all,
)
from edgeseq_benchmarks.devices.mediapipe.mediapipe_bench import check_mediapipe_settings
from edgeseq_benchmarks.devices.web.page import LOOPBACK, WebPage, check_settings

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BenchOptions(TypedDict, total=False):
    """Options of `bench` and `bench_all`."""

    threads: int
    quick: bool
    memory_limits: Sequence[str | int]
    memory_curve: bool
    runners: Sequence[Runner]
    working_memory: bool
    cpus: float | None
    board: str | None
    profile: bool
    examples: int | None
    energy: bool
    python: str | None
    native: str | Path | None
    bind: str
    on_address: Callable[[str], None] | None
    command: Sequence[str]
    progress: ProgressOption


def bench(
    bundles: Sequence[Bundle | str | Path],
    *,
    device: str = "local",
    **options: Unpack[BenchOptions],
) -> Result:
    """Measure latency, memory and accuracy of bundles on one device.

    Args:
        bundles: Bundles, or their folders or .zip files; their names must differ.
        device: `local` (this machine), `ssh://USER@HOST[:PORT]`, `adb:SERIAL`, `emulated:BOARD`,
            `web` (a browser that opens the page that is served), `mediapipe` (MediaPipe's Python
            package here), the name of a saved device, or `micro` (alone): what each bundle takes
            of a microcontroller, without times.
        threads: Threads of the runtime.
        quick: A few seconds per model instead of a minute.
        memory_limits: Hard limits to also run inside, such as "64MB" or bytes.
        memory_curve: Also find the smallest limit that still answers.
        working_memory: Search for the smallest limit that keeps the speed (default True).
        runners: "native" (the C runner), "python", or both (default), where both can run.
        cpus: Processor time inside the limits, such as 0.5 of a processor.
        board: Also run inside this board's memory and cores.
        profile: Also measure the time per operator.
        examples: Use only this many test examples, the same on every machine.
        energy: Also measure energy: a minute idle and a minute per model.
        python: The Python on the device.
        native: For adb: TFLite's `benchmark_model` for the phone's processor.
        bind: For web: the address of this machine to serve the page on (default: loopback).
        on_address: For web: called with the address to open.
        command: What the result records as the command that made it.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        BundleError: A bundle is damaged or cannot run.
        DeviceError: The device cannot be reached, was lost, cannot set a limit, or cannot run the
            only runner.
        InputError: An option is out of range.

    Examples:
        >>> result = es.bench([bundle], device="local", quick=True)
        >>> result["mine"].latency.p95
    """
    (outcome,) = bench_all(bundles, [device], **options)
    if outcome.result is None:
        raise outcome.error or DeviceError("gave no result", where=device)
    return outcome.result


@dataclass(frozen=True)
class BenchOutcome:
    """What came of one device.

    Attributes:
        device: Its name or address.
        label: The same as part of a file's name.
        result: What was measured, or None.
        error: What ended the measurement, or None.
        unfinished: What was measured before the device was lost, or None.
    """

    device: str
    label: str
    result: Result | None = None
    error: EdgeseqError | None = None
    unfinished: Result | None = None


def bench_all(
    bundles: Sequence[Bundle | str | Path],
    devices: Sequence[str],
    *,
    on_outcome: Callable[[BenchOutcome], None] = lambda _: None,
    **options: Unpack[BenchOptions],
) -> tuple[BenchOutcome, ...]:
    """Measure bundles on several devices at the same time; an error of one leaves the others.

    Args:
        bundles: As for `bench`.
        devices: Names or addresses, as for `bench`.
        on_outcome: Called with each outcome as soon as there is one: other devices may take hours.
        **options: As for `bench`.

    Returns:
        One outcome per device, in the order of `devices`.

    Raises:
        InputError: A device is unknown or named twice, or an option is out of range.

    Examples:
        >>> outcomes = es.bench_all([bundle], ["local", "ssh://pi@kitchen"])
    """

    check_options(options, BenchOptions)
    is_micro = list(devices) == [microcontrollers.DEVICE]
    targets = [] if is_micro else find_targets(list(devices), python=options.get("python"))
    native = options.get("native")
    settings = default_settings(
        quick=options.get("quick", False),
        threads=options.get("threads", 1),
        memory_limits_bytes=[_limit_bytes(limit) for limit in options.get("memory_limits", ())],
        memory_curve=options.get("memory_curve", False),
        runners=options.get("runners", RUNNERS),
        working_memory=options.get("working_memory", True),
        profile=options.get("profile", False),
        cpus=options.get("cpus"),
        board=options.get("board"),
        energy=options.get("energy", False),
        examples=options.get("examples"),
    )
    paths = tuple(bundle_path(bundle) for bundle in bundles)
    task = BenchRequest(
        paths,
        settings,
        command=tuple(options.get("command", ())),
        native=None if native is None else Path(native),
    )

    if is_micro:
        record = microcontrollers.bench_footprints(task.bundles, settings, task.command)
        outcome = BenchOutcome(devices[0], devices[0], Result(record))
        on_outcome(outcome)
        return (outcome,)

    def convert_outcome(outcome: DeviceOutcome) -> BenchOutcome:
        return BenchOutcome(
            device=outcome.target.name,
            label=outcome.target.label,
            result=None if outcome.result is None else Result(outcome.result),
            error=outcome.error,
            unfinished=None if outcome.unfinished is None else Result(outcome.unfinished),
        )

    with (
        _page(targets, paths, settings, options) as page,
        _mediapipe_exports(targets, paths, settings) as mediapipe_exports,
        progress_of(options.get("progress", "auto"), still=True) as callback,
    ):
        task = msgspec.structs.replace(task, page=page, mediapipe_exports=mediapipe_exports)
        outcomes = measure_on_all(
            targets,
            task,
            progress=callback,
            ended=lambda outcome: on_outcome(convert_outcome(outcome)),
        )
    return tuple(map(convert_outcome, outcomes))


@contextmanager
def _page(
    targets: Sequence[DeviceTarget],
    bundles: Sequence[Path],
    settings: Settings,
    options: BenchOptions,
) -> Iterator[WebPage | None]:
    """The page of the one bundle, in a temporary folder; None where no browser measures."""
    if not any(target.address.kind == "web" for target in targets):
        yield None
        return
    check_settings(settings, bundles)
    with _exports(bundles, "web") as (folder,):
        yield WebPage(folder, options.get("bind", LOOPBACK), options.get("on_address"))


@contextmanager
def _mediapipe_exports(
    targets: Sequence[DeviceTarget], bundles: Sequence[Path], settings: Settings
) -> Iterator[tuple[Path, ...]]:
    """The bundles' exports; () where MediaPipe does not measure."""
    if not any(target.address.kind == "mediapipe" for target in targets):
        yield ()
        return
    check_mediapipe_settings(settings)
    with _exports(bundles, "mediapipe") as folders:
        yield folders


@contextmanager
def _exports(bundles: Sequence[Path], target: str) -> Iterator[tuple[Path, ...]]:
    """Exports in a temporary folder."""
    with temporary_folder() as folder:
        yield tuple(
            # Loaded here: an export needs NumPy, which is not loaded while this machine measures.
            edgeseq.export(path, target, out=folder / str(number)).path
            for number, path in enumerate(bundles)
        )


def _limit_bytes(limit: str | int) -> int:
    return limit if isinstance(limit, int) else parse_bytes(limit, where="memory limit")
