"""What `edgeseq bench` says of a result: a table, a line for each limit, and the findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseq.cli.console import err, out

if TYPE_CHECKING:
    from rich.table import Table

    from edgeseq.formats.result import Finding, Result, Run


def print_result(measured: Result, rows: list[dict[str, Any]], title: str) -> None:
    """Prints a result; `title` names its device where there are several, and is "" else."""
    from edgeseq.cli.profile_table import profile_table
    from edgeseq.report.energy_text import energy_words

    emulated = measured.device.emulated
    out.print(_table(rows, title, emulated=emulated))
    _print_limited(measured.runs, measured.requested.memory_limits_bytes, emulated=emulated)
    if measured.requested.energy:
        for run in measured.runs:
            said = energy_words(run.energy, measured.energy_idle)
            out.print(f"energy of {run.bundle.name}: {said}", markup=False, soft_wrap=True)
    for run in measured.runs:
        if run.profile is not None and not emulated:
            out.print(profile_table(run.profile, run.bundle.name))
    for run in measured.runs:
        _print_findings(run.findings, run.bundle.name)
    _print_findings(measured.findings, f"this run{f' on {title}' if title else ''}")


def result_rows(measured: Result) -> list[dict[str, Any]]:
    """What is shown of each model; None where it was not measured or there are too few samples,
    and for the times of an emulated device, which are no latencies."""
    return [_row(run, emulated=measured.device.emulated) for run in measured.runs]


def _row(run: Run, *, emulated: bool) -> dict[str, Any]:
    from statistics import median

    from edgeseq.stats.latency import percentile
    from edgeseq.tasks.scoring import metric_of

    metric = metric_of(run.bundle.task)
    total_ns = () if emulated else run.queries.total_ns
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
    if run.cold_starts and not emulated:
        row["cold_start_ms"] = median(start.total_ns for start in run.cold_starts) / 1e6
    return row


def _table(rows: list[dict[str, Any]], title: str, *, emulated: bool) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.tasks.scoring import METRICS
    from edgeseq.units import format_bytes, format_duration_ms

    metrics = [METRICS[row["metric"]] for row in rows]
    score_title = " or ".join(dict.fromkeys(metric.title for metric in metrics))
    caption = "memory: at its peak, beyond the bare runtime"
    if emulated:
        caption += "; emulated, so no time is a latency"
    table = Table(title=escape(title) or None, caption=caption)
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


def _print_limited(runs: tuple[Run, ...], asked: tuple[int, ...], *, emulated: bool) -> None:
    """A line for each limit that was asked for by name; the curve is in the report."""
    from rich.markup import escape

    from edgeseq.report.limits_text import limited_cells

    for run in runs:
        for limited in run.limited:
            if limited.board or limited.cpus or limited.limit_bytes in asked:
                limits, happened, p50, p95, _, remark = limited_cells(limited)
                words = f"{run.bundle.name} within {limits}: {happened}"
                words += f", median {p50}, p95 {p95}" if limited.total_ns and not emulated else ""
                words += f" ({remark})"
                out.print(escape(words), soft_wrap=True)


def _print_findings(findings: tuple[Finding, ...], whose: str) -> None:
    from rich.markup import escape

    colours = {"invalid": "bold red", "warning": "yellow", "note": "dim"}
    for finding in findings:
        colour = colours[finding.severity]
        line = f"[{colour}]{finding.severity}[/] {escape(whose)}: {escape(finding.message)}"
        err.print(line, soft_wrap=True)
