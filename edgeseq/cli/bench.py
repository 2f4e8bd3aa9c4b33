"""`edgeseq bench`: measures bundles on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeseq.cli.console import JsonOption, err, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseq.results import Finding, Run


def bench(
    bundles: Annotated[
        list[Path], typer.Argument(help="Bundles: folders that `edgeseq convert` wrote, or .zip.")
    ],
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
    cpus: Annotated[
        float | None,
        typer.Option(help="Processor time inside the limits, such as 0.5 of a processor."),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option(
            "--as",
            help="Also run inside a board's memory and cores (pi-zero-2w, pi-3b, pi-4, pi-5, "
            "phone-low): a limit here, not that board's speed.",
        ),
    ] = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Also measure which operators take the time."),
    ] = False,
    energy: Annotated[
        bool,
        typer.Option("--energy", help="Also measure energy, a minute idle and a minute a model."),
    ] = False,
    on: Annotated[str, typer.Option(help="The device; only `local` so far.")] = "local",
    json: JsonOption = False,
) -> None:
    """Measure latency, memory and accuracy of bundles on this machine.

    Example: edgeseq bench runs/lstm runs/bert --quick --memory 64MB --out result.json
    """
    from edgeseq_benchmarks.bench import bench as measure
    from edgeseq_benchmarks.bench import default_settings

    from edgeseq.cli.profile_table import profile_table
    from edgeseq.energy import energy_words
    from edgeseq.errors import InputError, OutputError
    from edgeseq.files import write_json
    from edgeseq.units import parse_bytes

    if on != "local":
        raise InputError("is not a device", where="--on", found=repr(on), expected="local")
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
    )
    # Nothing may move on the screen by itself while a model is measured.
    with progress_bars(still=True) as report:
        measured = measure(bundles, settings=settings, report=report, command=sys.argv)
    write_json(result, measured)
    rows = [_row(run) for run in measured.runs]
    if json:
        print_json({"result": str(result), "rows": rows, "findings": measured.findings})
        return
    out.print(_table(rows))
    _print_limited(measured.runs, settings.memory_limits_bytes)
    if energy:
        for run in measured.runs:
            said = energy_words(run.energy, measured.energy_idle)
            out.print(f"energy of {run.bundle.name}: {said}", markup=False, soft_wrap=True)
    for run in measured.runs:
        if run.profile is not None:
            out.print(profile_table(run.profile, run.bundle.name))
    for run in measured.runs:
        _print_findings(run.findings, run.bundle.name)
    _print_findings(measured.findings, "this run")
    print_note(f"written to {result}; next: edgeseq report {result} --out report")


def _row(run: Run) -> dict[str, Any]:
    """What is shown of a model; None where it was not measured or there are too few samples."""
    from statistics import median

    from edgeseq.percentiles import percentile
    from edgeseq.scoring import metric_of

    metric = metric_of(run.bundle.task)
    total_ns = run.queries.total_ns
    p50_ns = percentile(total_ns, 50) if total_ns else None
    p95_ns = percentile(total_ns, 95) if total_ns else None
    row: dict[str, Any] = {
        "model": run.bundle.name,
        "p50_ms": None if p50_ns is None else p50_ns / 1e6,
        "p95_ms": None if p95_ns is None else p95_ns / 1e6,
        "metric": metric.name,
        "score": None,
        "peak_memory_bytes": None,
        "cold_start_ms": None,
        "limits": [(limited.limit_bytes, limited.status) for limited in run.under_limits],
        "limited": run.limited,
        "findings": run.findings,
    }
    if run.predictions is not None:
        counts = metric.counts(run.predictions, run.bundle.labels)
        row["score"] = float(metric.value(counts.sum(axis=0)))
    if run.memory:
        peak_bytes = max(phase.peak_bytes or phase.rss_bytes for phase in run.memory)
        row["peak_memory_bytes"] = peak_bytes - run.memory[0].rss_bytes
    if run.cold_starts:
        row["cold_start_ms"] = median(start.total_ns for start in run.cold_starts) / 1e6
    return row


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.scoring import METRICS
    from edgeseq.units import format_bytes, format_duration_ms

    metrics = [METRICS[row["metric"]] for row in rows]
    score_title = " or ".join(dict.fromkeys(metric.title for metric in metrics))
    table = Table(caption="memory: at its peak, beyond the bare runtime")
    table.add_column("model", overflow="fold")
    for name in ("p50", "p95", score_title, "memory", "cold start"):
        table.add_column(name, justify="right", no_wrap=True)
    limited = any(row["limits"] for row in rows)
    if limited:
        table.add_column("smallest limit")
    for row, metric in zip(rows, metrics, strict=True):
        cells = [
            "–" if row[key] is None else write(row[key])
            for key, write in (
                ("p50_ms", format_duration_ms),
                ("p95_ms", format_duration_ms),
                ("score", metric.show),
                ("peak_memory_bytes", format_bytes),
                ("cold_start_ms", format_duration_ms),
            )
        ]
        if limited:
            answered = [limit for limit, status in row["limits"] if status == "answered"]
            refused = [limit for limit, status in row["limits"] if status != "answered"]
            words = f"answers in {format_bytes(min(answered))}" if answered else ""
            if refused:
                words += f"{', ' if words else ''}not in {format_bytes(max(refused))}"
            cells.append(words)
        table.add_row(escape(row["model"]), *cells)
    return table


def _print_limited(runs: tuple[Run, ...], asked: tuple[int, ...]) -> None:
    """A line for each limit that was asked for by name; the curve is in the report."""
    from rich.markup import escape

    from edgeseq.limited_words import limited_cells

    for run in runs:
        for limited in run.limited:
            if limited.board or limited.cpus or limited.limit_bytes in asked:
                limits, happened, p50, p95, _, remark = limited_cells(limited)
                words = f"{run.bundle.name} within {limits}: {happened}"
                words += f", median {p50}, p95 {p95}" if limited.total_ns else ""
                words += f" ({remark})"
                out.print(escape(words), soft_wrap=True)


def _print_findings(findings: tuple[Finding, ...], whose: str) -> None:
    from rich.markup import escape

    colours = {"invalid": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        colour = colours[finding.severity]
        line = f"[{colour}]{finding.severity}[/] {escape(whose)}: {escape(finding.message)}"
        err.print(line, soft_wrap=True)
