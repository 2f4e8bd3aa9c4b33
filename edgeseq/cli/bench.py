"""`edgeseq bench`: measures bundles, on this machine or on others."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeseq.cli.bench_table import print_result, result_rows
from edgeseq.cli.console import (
    JsonOption,
    print_error,
    print_json,
    print_note,
    progress_bars,
)
from edgeseq.errors import InputError, OutputError
from edgeseq.formats.storage import write_json
from edgeseq.units import parse_bytes
from edgeseq_benchmarks.bench.runner import default_settings
from edgeseq_benchmarks.devices.measure import (
    BenchRequest,
    DeviceOutcome,
    find_targets,
    measure_on_all,
)
from edgeseq_benchmarks.devices.measure import exit_code as exit_code_of


def bench(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles: folders that `edgeseq convert` wrote, or .zip.")
    ],
    *,
    result: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The result file to write (JSON); with several devices, one each: "
            "result.json becomes result-DEVICE.json.",
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, help="Threads of the runtime.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="A few seconds a model instead of a minute.")
    ] = False,
    memory: Annotated[
        list[str] | None,
        typer.Option(help="Also run inside this hard limit, such as 64MB; may be repeated."),
    ] = None,
    memory_curve: Annotated[
        bool,
        typer.Option("--memory-curve", help="Also find the smallest limit that still answers."),
    ] = False,
    cpus: Annotated[
        float | None,
        typer.Option(help="Processor time inside the limits, such as 0.5 of a processor."),
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
        typer.Option("--profile", help="Also measure which operators take the time."),
    ] = False,
    examples: Annotated[
        int | None,
        typer.Option(min=1, help="Ask only so many test examples, the same on every machine."),
    ] = None,
    energy: Annotated[
        bool,
        typer.Option("--energy", help="Also measure energy, a minute idle and a minute a model."),
    ] = False,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="The device: ssh://user@host[:port], adb:SERIAL, emulated:NAME, or a name kept by "
            "`edgeseq device add`; default: this machine. May be repeated: all at the same time.",
        ),
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="The Python on the device, such as ~/edgeseq/bin/python."),
    ] = None,
    native: Annotated[
        Path | None,
        typer.Option(help="For adb: TFLite's `benchmark_model` for the phone's processor."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Measure latency, memory and accuracy of bundles on this machine or on other devices.

    Example: edgeseq bench runs/lstm runs/bert --on ssh://pi@kitchen --memory 64MB --out pi.json
    """
    targets = find_targets(on or ["local"], python=python)
    if not result.parent.is_dir():
        raise InputError("no such folder", where=result.parent, fix="make it, or change --out")
    if not os.access(result.parent, os.W_OK):
        # Better now than after minutes of measuring.
        raise OutputError("may not be written to", where=result.parent, fix="change --out")
    settings = default_settings(
        quick=quick,
        threads=threads,
        memory_limits_bytes=[parse_bytes(size, where="--memory") for size in memory or ()],
        memory_curve=memory_curve,
        profile=profile,
        cpus=cpus,
        board=board,
        energy=energy,
        examples=examples,
    )
    task = BenchRequest(tuple(bundles), settings, command=tuple(sys.argv), native=native)
    paths = {
        target.given: result
        if len(targets) == 1
        else result.with_name(f"{result.stem}-{target.label}{result.suffix}")
        for target in targets
    }

    def keep(outcome: DeviceOutcome) -> None:
        _keep(outcome, paths[outcome.target.given], several=len(targets) > 1)

    # Nothing may move on the screen by itself while a model is measured.
    with progress_bars(still=True) as report:
        outcomes = measure_on_all(targets, task, progress=report, ended=keep)
    if len(outcomes) == 1 and outcomes[0].error is not None:
        raise outcomes[0].error
    _show(outcomes, paths, as_json=json)
    if code := exit_code_of(outcomes):
        raise typer.Exit(code)


def _keep(outcome: DeviceOutcome, path: Path, *, several: bool) -> None:
    """Writes or says what came of a device as soon as it is there: another may take hours."""
    if outcome.result is not None:
        write_json(path, outcome.result)
        return
    if several:  # the only one's ends the command
        print_error(str(outcome.error))
    if outcome.unfinished is not None:
        beside = path.with_name(f"{path.stem}-unfinished{path.suffix}")
        write_json(beside, outcome.unfinished)
        print_note(f"{outcome.target.given}: what was measured so far is in {beside}")


def _show(outcomes: tuple[DeviceOutcome, ...], paths: dict[str, Path], *, as_json: bool) -> None:
    answers: list[dict[str, Any]] = []
    written = []
    for outcome in outcomes:
        given = outcome.target.given
        device = {"device": given} if len(outcomes) > 1 else {}
        if outcome.error is not None:
            answers.append({**device, "error": str(outcome.error)})
        elif outcome.result is not None:
            rows = result_rows(outcome.result)
            written.append(str(paths[given]))
            findings = outcome.result.findings
            limited = {run.bundle.name: run.limited for run in outcome.result.runs}
            answers.append({**device, "result": written[-1], "rows": rows, "limited": limited,
                            "findings": findings})  # fmt: skip
            if not as_json:
                print_result(outcome.result, rows, given if device else "")
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    elif written:
        files = " ".join(written)
        print_note(f"written to {files}; next: edgeseq report {files} --out report")
