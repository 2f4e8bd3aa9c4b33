"""`edgeseq bench`: measures bundles on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, err, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseq.results import Finding, Result, Run


def bench(
    bundles: Annotated[list[Path], typer.Argument(help="Folders that `edgeseq convert` wrote.")],
    *,
    result: Annotated[Path, typer.Option("--out", help="The result file to write (JSON).")],
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
    on: Annotated[str, typer.Option(help="The device; only `local` so far.")] = "local",
    json: JsonOption = False,
) -> None:
    """Measure latency, memory and accuracy of bundles on this machine.

    Example: edgeseq bench runs/lstm runs/bert --quick --memory 64MB --out result.json
    """
    from edgeseq_benchmarks.bench import bench as measure
    from edgeseq_benchmarks.bench import default_settings

    from edgeseq.errors import InputError
    from edgeseq.files import write_json
    from edgeseq.units import parse_bytes

    if on != "local":
        raise InputError("is not a device", where="--on", found=repr(on), expected="local")
    if not result.parent.is_dir():
        raise InputError("no such folder", where=result.parent, fix="make it, or change --out")
    settings = default_settings(
        quick=quick,
        threads=threads,
        memory_limits_bytes=[parse_bytes(size, where="--memory") for size in memory or ()],
        memory_curve=memory_curve,
    )
    # Nothing may move on the screen by itself while a model is measured.
    with progress_bars(still=True) as report:
        measured = measure(bundles, settings=settings, report=report, command=sys.argv)
    write_json(result, measured)
    if json:
        print_json(measured)
        return
    out.print(_table(measured))
    for run in measured.runs:
        _print_findings(run.findings, run.bundle.name)
    _print_findings(measured.findings, "this run")
    print_note(f"written to {result}; next: edgeseq report {result} --out report")


def _table(result: Result) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in ("model", "p50", "p95", "accuracy", "memory*", "cold start", "limits"):
        words = name in ("model", "limits")
        table.add_column(
            name, justify="left" if words else "right", no_wrap=not words, overflow="fold"
        )
    for run in result.runs:
        table.add_row(escape(run.bundle.name), *_cells(run))
    table.caption = "* at its peak, beyond the bare runtime"
    return table


def _cells(run: Run) -> tuple[str, ...]:
    from statistics import median

    from edgeseq.percentiles import percentile
    from edgeseq.units import format_bytes, format_duration_ns, format_share

    total_ns = run.queries.total_ns
    p50_ns = percentile(total_ns, 50) if total_ns else None
    p95_ns = percentile(total_ns, 95) if total_ns else None
    score = memory = cold = "–"
    if run.predictions is not None:
        pairs = zip(run.predictions.gold, run.predictions.predicted, strict=True)
        right = sum(gold == predicted for gold, predicted in pairs)
        score = format_share(right / len(run.predictions.gold))
    if run.memory:
        peak_bytes = max(phase.peak_bytes or phase.rss_bytes for phase in run.memory)
        memory = format_bytes(peak_bytes - run.memory[0].rss_bytes)
    if run.cold_starts:
        cold = format_duration_ns(median(start.total_ns for start in run.cold_starts))
    limits = ", ".join(
        f"{format_bytes(limited.limit_bytes)} {limited.status}" for limited in run.limited
    )
    return (
        "–" if p50_ns is None else format_duration_ns(p50_ns),
        "–" if p95_ns is None else format_duration_ns(p95_ns),
        score,
        memory,
        cold,
        limits,
    )


def _print_findings(findings: tuple[Finding, ...], whose: str) -> None:
    from rich.markup import escape

    colours = {"invalid": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        colour = colours[finding.severity]
        line = f"[{colour}]{finding.severity}[/] {escape(whose)}: {escape(finding.message)}"
        err.print(line, soft_wrap=True)
