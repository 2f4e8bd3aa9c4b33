"""What `edgeseq bench` prints of a result: a table, a line for each limit, and the findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from edgeseq.api.bench import BenchOutcome
from edgeseq.cli.console import err, out, print_json, print_line, print_note
from edgeseq.cli.profile_table import profile_table
from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import Finding, ResultRecord
from edgeseq.reporting.format import (
    ABSENT,
    format_energy,
    format_footprint,
    format_limited_run,
    format_optional,
    format_score,
)
from edgeseq.reporting.rows import ReportRow, derive_row
from edgeseq.units import format_bytes, format_duration_ms

_COLOURS = {"invalid": "bold red", "warning": "yellow", "note": "dim"}


def result_rows(result: ResultRecord) -> list[ReportRow]:
    """The rows of a result, as in its report."""
    return [derive_row(result, run) for run in result.runs]


def run_titles(result: ResultRecord) -> list[str]:
    """The bundles' names, with the runner where one was measured in several."""
    names = [run.bundle.name for run in result.runs]
    return [
        f"{name}, {run.runner}" if names.count(name) > 1 else name
        for name, run in zip(names, result.runs, strict=True)
    ]


def print_outcomes(
    outcomes: Sequence[BenchOutcome], paths: Sequence[Path], *, as_json: bool
) -> None:
    """Prints the table of each device, or all as JSON, and where the results were written."""
    entries: list[dict[str, Any]] = []
    written = []
    for outcome, path in zip(outcomes, paths, strict=True):
        device = {"device": outcome.device} if len(outcomes) > 1 else {}
        if outcome.error is not None:
            entries.append({**device, "error": str(outcome.error)})
        elif outcome.result is not None:
            record = outcome.result.record
            rows = result_rows(record)
            written.append(str(path))
            entries.append(
                {
                    **device,
                    "result": str(path),
                    "rows": rows,
                    "limited": dict(
                        zip(run_titles(record), (run.limited for run in record.runs), strict=True)
                    ),
                    "findings": record.findings,
                    **({"footprints": record.footprints} if record.footprints else {}),
                }
            )
            if not as_json:
                print_result(record, rows, outcome.device if device else "")
    if as_json:
        print_json(entries[0] if len(entries) == 1 else entries)
    elif written:
        files = " ".join(written)
        # Footprints are a table beside measured models, not a report of their own.
        beside = "" if any(entry.get("rows") for entry in entries) else "RESULT "
        print_note(f"written to {files}; next: edgeseq report {beside}{files} --out report")


def print_result(result: ResultRecord, rows: Sequence[ReportRow], title: str) -> None:
    """Prints a result; `title` names its device where there are several, and is "" else."""
    emulated = result.device.emulated
    for footprint in result.footprints:
        print_line(f"{footprint.bundle.name}: {format_footprint(footprint)}")
    if rows:
        out.print(_table(result, rows, title))
    _print_limited(result)
    titled = list(zip(run_titles(result), result.runs, strict=True))
    if result.requested.energy:
        for name, run in titled:
            text = format_energy(run.energy, result.energy_idle)
            print_line(f"energy of {name}: {text}")
    for name, run in titled:
        if run.profile is not None and not emulated:
            out.print(profile_table(run.profile, name))
    for name, run in titled:
        _print_findings(run.findings, name)
    _print_findings(result.findings, f"this run{f' on {title}' if title else ''}")


def _table(result: ResultRecord, rows: Sequence[ReportRow], title: str) -> Table:
    score_title = " or ".join(dict.fromkeys(row.metric_definition.title for row in rows))
    has_working_memory = any(row.working_memory_bytes is not None for row in rows)
    captions = ["peak: of the whole process"]
    if has_working_memory:
        captions.insert(0, "working memory: smallest limit that keeps the speed")
    if result.device.emulated:
        captions.append("latencies are not valid under emulation")
    table = Table(
        title=escape(title) or None,
        caption="; ".join(captions),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.add_column("model", overflow="fold")
    has_runners = len({run.runner for run in result.runs}) > 1
    if has_runners:
        table.add_column("runner", no_wrap=True)
    memory_titles = ["working\nmemory", "peak\nmemory"] if has_working_memory else ["peak\nmemory"]
    for name in ("p50", "p95", score_title, *memory_titles, "cold\nstart"):
        table.add_column(name, justify="right", no_wrap=True)
    is_limited = not has_working_memory and any(run.under_limits for run in result.runs)
    if is_limited:
        table.add_column("smallest limit")
    for row, run in zip(rows, result.runs, strict=True):
        cells = [
            format_optional(row.p50_ms, format_duration_ms, ABSENT),
            format_optional(row.p95_ms, format_duration_ms, ABSENT),
            ABSENT if row.score is None else format_score(row),
            *(
                [format_optional(row.working_memory_bytes, format_bytes, ABSENT)]
                if has_working_memory
                else []
            ),
            format_optional(row.peak_process_bytes, format_bytes, ABSENT),
            format_optional(row.cold_start_ms, format_duration_ms, ABSENT),
        ]
        cells += [_smallest_limit(run.under_limits)] if is_limited else []
        runner = [run.runner] if has_runners else []
        table.add_row(escape(row.bundle), *runner, *cells)
    return table


def _smallest_limit(limited: Sequence[LimitedRun]) -> str:
    answered = [run.limit_bytes for run in limited if run.status == "answered"]
    failed = [run.limit_bytes for run in limited if run.status != "answered"]
    texts = [f"answers in {format_bytes(min(answered))}"] if answered else []
    texts += [f"not in {format_bytes(max(failed))}"] if failed else []
    return ", ".join(texts)


def _print_limited(result: ResultRecord) -> None:
    """A line for each requested limit; the memory curve is in the report."""
    requested = result.requested.memory_limits_bytes
    for name, run in zip(run_titles(result), result.runs, strict=True):
        for limited in run.limited:
            if limited.board or limited.cpus or limited.limit_bytes in requested:
                cells = format_limited_run(limited)
                text = f"{name} within {cells.limits}: {cells.status}"
                if limited.total_ns and not result.device.emulated:
                    text += f", median {cells.median}, p95 {cells.p95}"
                out.print(escape(f"{text} ({cells.remark})"), soft_wrap=True)


def _print_findings(findings: Sequence[Finding], subject: str) -> None:
    for finding in findings:
        colour = _COLOURS[finding.severity]
        line = f"[{colour}]{finding.severity}[/] {escape(subject)}: {escape(finding.message)}"
        err.print(line, soft_wrap=True)
