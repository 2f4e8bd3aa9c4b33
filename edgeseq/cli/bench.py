"""`edgeseq bench`: measures bundles, on this machine or on others."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.api.bench import BenchOutcome
from edgeseq.cli.console import JsonOption, print_error, print_note, progress_bars
from edgeseq.errors import DeviceError, InputError, OutputError
from edgeseq.formats.result import Runner
from edgeseq.units import THREADS_LIMIT, parse_bytes


class RunnerChoice(str, Enum):
    """The values of `--runner`."""

    NATIVE = "native"
    PYTHON = "python"
    BOTH = "both"


_RUNNERS: dict[RunnerChoice, tuple[Runner, ...]] = {
    RunnerChoice.NATIVE: ("native",),
    RunnerChoice.PYTHON: ("python",),
    RunnerChoice.BOTH: ("native", "python"),
}


def bench(
    bundles: Annotated[
        list[Path],
        typer.Argument(help="Bundles: folders written by `edgeseq convert`, or .zip files."),
    ],
    *,
    out_path: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Result file to write (JSON); with several devices one each: result.json "
            "becomes result-DEVICE.json.",
        ),
    ],
    runner: Annotated[
        RunnerChoice,
        typer.Option(
            help="Process to measure: native (the C runner), python, or both, where both can run."
        ),
    ] = RunnerChoice.BOTH,
    threads: Annotated[
        int, typer.Option(min=1, max=THREADS_LIMIT, help="Threads of the runtime.")
    ] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few seconds per model instead of a minute.")
    ] = False,
    memory: Annotated[
        list[str] | None,
        typer.Option(help="Also run under this hard memory limit, such as 64MB. Repeatable."),
    ] = None,
    memory_curve: Annotated[
        bool,
        typer.Option("--memory-curve", help="Also find the smallest limit that still answers."),
    ] = False,
    working_memory: Annotated[
        bool,
        typer.Option(
            "--working-memory/--no-working-memory",
            help="Search for the smallest memory limit that keeps the speed.",
        ),
    ] = True,
    cpus: Annotated[
        float | None,
        typer.Option(help="Processors available under the limits, such as 0.5."),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Also run inside a board's memory and cores (pi-zero-2w, pi3, pi4, pi5, "
            "phone-low): a limit here, not that board's speed.",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also measure the time per operator."),
    ] = False,
    examples: Annotated[
        int | None,
        typer.Option(min=1, help="Use only this many test examples, the same on every machine."),
    ] = None,
    energy: Annotated[
        bool,
        typer.Option("--energy", help="Also measure energy, a minute idle and a minute per model."),
    ] = False,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="The device: ssh://user@host[:port], adb:SERIAL, emulated:NAME, web (a browser), "
            "mediapipe, or a name saved by `edgeseq device add`; default: this machine. May be "
            "repeated: all at one time. micro, alone: what the bundles take of a microcontroller, "
            "without times.",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="Python interpreter on the device, such as ~/edgeseq/bin/python."),
    ] = None,
    native: Annotated[
        Path | None,
        typer.Option(help="For adb: TFLite's `benchmark_model` for the phone's processor."),
    ] = None,
    bind: Annotated[
        str,
        typer.Option(
            help="For web: the address of this machine to serve the page on, such as 192.168.1.10 "
            "for a phone in the same network."
        ),
    ] = "127.0.0.1",
    json: JsonOption = False,
) -> None:
    """Measure latency, memory and accuracy of bundles on this machine or on other devices.

    Example: edgeseq bench runs/lstm runs/bert --on ssh://pi@kitchen --memory 64MB --out pi.json
    """
    devices = on or ["local"]
    if not out_path.parent.is_dir():
        raise InputError("no such folder", where=out_path.parent, fix="make it, or change --out")
    if not os.access(out_path.parent, os.W_OK):
        # Better now than after minutes of measuring.
        raise OutputError("may not be written to", where=out_path.parent, fix="change --out")

    def write_outcome(outcome: BenchOutcome) -> None:
        _write_outcome(outcome, _result_path(outcome, out_path, devices), devices)

    # Nothing may move on the screen by itself while a model is measured.
    with progress_bars(still=True) as progress:
        outcomes = es.bench_all(
            bundles,
            devices,
            on_outcome=write_outcome,
            threads=threads,
            quick=quick,
            memory_limits=[parse_bytes(size, where="--memory") for size in memory or ()],
            memory_curve=memory_curve,
            runners=_RUNNERS[runner],
            working_memory=working_memory,
            cpus=cpus,
            board=board,
            profile=profile,
            examples=examples,
            energy=energy,
            python=python,
            native=native,
            bind=bind,
            on_address=lambda address: print_note(f"open {address} in a browser to measure it"),
            command=sys.argv,
            progress=progress,
        )
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    # NumPy must not be loaded while this process measures: its pages would be shared with the
    # models that run inside limits.
    from edgeseq.cli.bench_table import print_outcomes  # noqa: PLC0415 - see above

    paths = [_result_path(outcome, out_path, devices) for outcome in outcomes]
    print_outcomes(outcomes, paths, as_json=json)
    if code := _exit_code(outcomes):
        raise typer.Exit(code)


def _exit_code(outcomes: Sequence[BenchOutcome]) -> int:
    """0 when every device was measured; 4 when one was lost or could not do it."""
    codes = [outcome.error.exit_code for outcome in outcomes if outcome.error is not None]
    return DeviceError.exit_code if DeviceError.exit_code in codes else max(codes, default=0)


def _result_path(outcome: BenchOutcome, out_path: Path, devices: Sequence[str]) -> Path:
    """The file of a device's result."""
    if len(devices) == 1:
        return out_path
    return out_path.with_name(f"{out_path.stem}-{outcome.label}{out_path.suffix}")


def _write_outcome(outcome: BenchOutcome, path: Path, devices: Sequence[str]) -> None:
    """Writes the result of a device as soon as there is one: another device may take hours."""
    if outcome.result is not None:
        outcome.result.save(path)
        return
    if len(devices) > 1:  # the error of a single device ends the command
        print_error(str(outcome.error))
    if outcome.unfinished is not None:
        unfinished_path = path.with_name(f"{path.stem}-unfinished{path.suffix}")
        outcome.unfinished.save(unfinished_path)
        print_note(f"{outcome.device}: the measurements so far are in {unfinished_path}")
