"""What a report shows, as plain text in the order of the page; HTML and Markdown render it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeseq.formats.result import Finding, MachineState, Settings
from edgeseq.report.budgets import describe_budget
from edgeseq.report.energy_text import energy_words
from edgeseq.report.evidence import OpenCi95
from edgeseq.report.page_data import tiles
from edgeseq.report.rows import Group, Row
from edgeseq.report.summary import GroupSummary
from edgeseq.tasks.registry import TASKS
from edgeseq.units import format_bytes, format_count, format_duration_ms, format_interval

Pairs = list[tuple[str, str]]
NOT_MEASURED = "not measured"


class TableRow(msgspec.Struct, frozen=True):
    """A line of the table of models; cells are text, each with a remark under it."""

    bundle: str
    arch: str
    about: str
    cells: tuple[tuple[str, str, str], ...]
    ships: bool
    reasons: tuple[str, ...]


class FindingLine(msgspec.Struct, frozen=True):
    """Something that a reader of the numbers must know, and which models it concerns."""

    severity: str
    code: str
    about: str
    message: str


class GroupView(msgspec.Struct, frozen=True):
    """One group of comparable measurements, ready to be shown."""

    title: str
    facts: tuple[str, ...]
    headline: str
    winner: str | None
    winner_arch: str | None
    why: str
    limits: str
    boundary: str
    trust: str
    trusted: bool
    energy: str
    tiles: tuple[tuple[str, str, str], ...]
    table: tuple[TableRow, ...]
    findings: tuple[FindingLine, ...]
    details: tuple[tuple[str, tuple[str, ...]], ...]
    detail_head: tuple[str, ...]
    provenance: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    commands: tuple[str, ...]


def report_title(tasks: Sequence[str]) -> str:
    """The heading of a whole report."""
    titles = [TASKS[task].title if task in TASKS else task for task in dict.fromkeys(tasks)]
    joined = " and ".join(titles) or "nothing"
    return f"What to ship for {joined}"


def group_view(group: Group, summary: GroupSummary, *, report_command: str) -> GroupView:
    """Everything in words and numbers that the page says of one group."""
    verdict = summary.verdict
    winner = next((row for row in group.rows if row.bundle == verdict.winner), None)
    refused = {refusal.bundle: refusal.reasons for refusal in verdict.refused}
    rows = sorted(group.rows, key=lambda row: (-row.rank, row.bundle))
    return GroupView(
        title=group.title,
        facts=_facts(group),
        headline=f"Ship {winner.bundle}" if winner else "Nothing to ship",
        winner=winner.bundle if winner else None,
        winner_arch=winner.arch if winner else None,
        why=verdict.why,
        limits=describe_budget(verdict.budget),
        boundary=summary.boundary,
        trust=_trust(group),
        energy=_energy(group),
        trusted=all(row.valid for row in group.rows) and not _warnings(group),
        tiles=tuple(tiles(winner)) if winner else (),
        table=tuple(_table_row(row, winner, refused.get(row.bundle, ())) for row in rows),
        findings=_findings(group),
        detail_head=_DETAIL_HEAD,
        details=tuple((row.bundle, _details(group, row)) for row in rows),
        provenance=_provenance(group),
        commands=(*(shlex.join(result.command) for result in group.results), report_command),
    )


def _energy(group: Group) -> str:
    """What each model takes a query, in one sentence; never a number that was not measured."""
    known = [
        f"{run.bundle.name} {energy_words(run.energy, result.energy_idle)}"
        for result in group.results
        for run in result.runs
        if run.energy is not None and result.energy_idle is not None
    ]
    return f"Energy: {'; '.join(known)}." if known else "Energy was not measured."


def _facts(group: Group) -> tuple[str, ...]:
    device = group.device
    return (
        f"{device.cpu_model or device.machine}, {device.cores} cores, "
        f"{format_bytes(device.memory_bytes)}" + (", emulated" if device.emulated else ""),
        f"{group.runtime.package} {group.runtime.version}, {group.runtime.delegate}",
        _asked(group),
        f"measured {group.results[0].created_utc[:10]}",
    )


def _asked(group: Group) -> str:
    """How much was scored: texts, and words where there is an answer for each."""
    texts = max((row.n_examples for row in group.rows), default=0)
    words = max((row.n_answers for row in group.rows), default=0)
    said = f"{format_count(texts)} test texts of {group.data_name}"
    if words > texts:
        said = f"{format_count(words)} words in {said}"
    return said


def _warnings(group: Group) -> list[Finding]:
    """Warnings, each once, also when it concerns several models."""
    found = [finding for row in group.rows for finding in row.findings]
    return list({f.message: f for f in found if f.severity == "warning"}.values())


def _trust(group: Group) -> str:
    invalid = [row.bundle for row in group.rows if not row.valid]
    count = len(group.rows)
    if invalid:
        said = f"{len(invalid)} of {count} measurements not valid: {', '.join(invalid)}."
    else:
        said = f"All {count} measurements are valid." if count > 1 else "The measurement is valid."
    warnings = len(_warnings(group))
    if warnings:
        said += f" {warnings} warning{'s' * (warnings > 1)}."
    if group.device.emulated:
        said += " The device was emulated: no time of it is a latency, so none is shown."
    if any(row.scope == "inference" for row in group.rows):
        said += " Times are of inference alone: no text was cut into tokens on the device."
    if group.effective.quick:
        said += " A quick run: take the numbers as a first look."
    if len(group.results) > 1:
        said += (
            f" The models come from {len(group.results)} separate runs, so a drift of the "
            "machine between them is not shared."
        )
    return said


def _cell(value: float | None, show: Any, interval: OpenCi95 | None = None) -> Any:
    if value is None:
        return (NOT_MEASURED, "")
    return (show(value), format_interval(interval))


def _table_row(row: Row, winner: Row | None, reasons: Sequence[str]) -> TableRow:
    beyond = row.peak_memory_bytes
    median, p95, cold = (
        ("inference median", "inference p95", "load + first inference")
        if row.scope == "inference"
        else ("median", "p95", "cold start")
    )
    cells = (
        (row.by.title, row.score_text, row.interval_text),
        (median, *_cell(row.p50_ms, format_duration_ms, row.p50_ms_ci95)),
        (p95, *_cell(row.p95_ms, format_duration_ms, row.p95_ms_ci95)),
        (
            "process memory",
            _cell(row.peak_process_bytes, format_bytes)[0],
            "" if beyond is None else f"+{format_bytes(beyond)}",
        ),
        ("size", format_bytes(row.size_bytes), f"{row.parameters / 1e6:.3g} M parameters"),
        (cold, *_cell(row.cold_start_ms, format_duration_ms)),
    )
    return TableRow(
        bundle=row.bundle,
        arch=row.arch,
        about=f"{row.recipe}, {row.lowering}",
        cells=cells,
        ships=row is winner,
        reasons=tuple(reasons),
    )


_DETAIL_HEAD = (
    "lowering", "inference median", "inference p95", "queries", "macro-F1", "memory +",
    "weights released",
    "truncated", "in windows", "unknown only", "max tokens",
)  # fmt: skip


def _details(group: Group, row: Row) -> tuple[str, ...]:
    run = next(entry.run for entry in group.entries if entry.row is row)
    found = run.predictions
    return (
        row.lowering,
        _cell(row.inference_p50_ms, format_duration_ms)[0],
        _cell(row.inference_p95_ms, format_duration_ms)[0],
        str(row.n_queries),
        NOT_MEASURED if row.macro_f1 is None else f"{row.macro_f1:.3f}",
        _cell(row.peak_memory_bytes, format_bytes)[0],
        _cell(row.memory_after_release_bytes, format_bytes)[0],
        NOT_MEASURED if found is None else str(found.truncated),
        NOT_MEASURED if found is None else str(found.windowed),
        NOT_MEASURED if found is None else str(found.unknown_only),
        str(run.bundle.max_tokens),
    )


def _findings(group: Group) -> tuple[FindingLine, ...]:
    """All findings, the gravest first; one that concerns several models is one line."""
    bundles: dict[tuple[str, str, str], list[str]] = {}
    for row in group.rows:
        for finding in row.findings:
            key = (finding.severity, finding.code, finding.message)
            bundles.setdefault(key, []).append(row.bundle)
    rank = ("invalid", "warning", "note")
    lines = [
        FindingLine(
            severity=severity,
            code=code,
            about="all models" if len(about) == len(group.rows) > 1 else ", ".join(about),
            message=message,
        )
        for (severity, code, message), about in bundles.items()
    ]
    return tuple(sorted(lines, key=lambda line: rank.index(line.severity)))


def _provenance(group: Group) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    device, runtime = group.device, group.runtime
    parts: list[tuple[str, Pairs]] = [
        (
            "Device",
            [
                ("name", device.name),
                ("processor", f"{device.cpu_model} ({device.machine}), {device.cores} cores"),
                ("features", ", ".join(device.cpu_features) or "none named"),
                ("memory", format_bytes(device.memory_bytes)),
                ("system", f"{device.os}, kernel {device.kernel}"),
                ("emulated", "yes" if device.emulated else "no"),
                ("energy", _reader(group)),
            ],
        ),
        (
            "Runtime",
            [
                ("package", f"{runtime.package} {runtime.version}"),
                ("delegate", runtime.delegate),
                ("Python", runtime.python),
            ],
        ),
    ]
    for result, file in zip(group.results, group.files, strict=True):
        parts.append(
            (
                f"Run of {result.created_utc}",
                [
                    ("file", file),
                    ("edgeseq", f"{result.edgeseq_version}, git {result.git_state or 'unknown'}"),
                    *_settings(result.requested, result.effective),
                    *_states(result.machine),
                ],
            )
        )
    parts.append(("Data", [("name", group.data_name), ("SHA-256", group.data_sha256)]))
    for entry in group.entries:
        bundle = entry.run.bundle
        parts.append(
            (
                f"Model {bundle.name}",
                [
                    ("model.tflite", format_bytes(bundle.model_size_bytes)),
                    ("SHA-256", bundle.model_sha256),
                    *sorted(bundle.provenance.items()),
                ],
            )
        )
    return tuple((title, tuple(pairs)) for title, pairs in parts)


def _reader(group: Group) -> str:
    """What measured energy, if anything did."""
    windows = [result.energy_idle for result in group.results if result.energy_idle is not None]
    return ", ".join(dict.fromkeys(window.reader for window in windows)) or NOT_MEASURED


def _settings(requested: Settings, effective: Settings) -> Pairs:
    """Settings, with what was asked for where something else was done."""
    pairs = []
    for name in ("threads", "cpus", "quick", "min_queries", "min_duration_s", "rounds",
                 "cold_starts"):  # fmt: skip
        asked, done = getattr(requested, name), getattr(effective, name)
        if done is None and asked is None:
            continue
        text = str(done) if asked == done else f"{done} (requested {asked})"
        pairs.append((name.replace("_", " "), text))
    return pairs


def _states(states: Sequence[MachineState]) -> Pairs:
    """What the machine said of itself before, during and after, each in one line."""
    pairs = []
    for when in ("before", "during", "after"):
        own = [state for state in states if state.when == when]
        known = {
            "load of others": _span([s.load_other_cores for s in own], "{:.2f} cores"),
            "stolen": _span([s.steal_cores for s in own], "{:.2f} cores"),
            "temperature": _span([s.temperature_c for s in own], "{:.1f} °C"),
            "swap": ", ".join(dict.fromkeys(
                format_bytes(s.swap_used_bytes) for s in own if s.swap_used_bytes is not None
            )),
            "governor": ", ".join(dict.fromkeys(s.governor for s in own if s.governor)),
            "throttled": ", ".join(dict.fromkeys(why for s in own for why in s.throttled)),
        }  # fmt: skip
        said = ", ".join(f"{name} {value}" for name, value in known.items() if value)
        if said:
            pairs.append((f"machine {when}", said))
    return pairs


def _span(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = form.format(min(known)), form.format(max(known))
    return low if low == high else f"{low} to {high}"


def report_command(files: Sequence[str], budget_text: str) -> str:
    """The command that makes the report again."""
    command = ["edgeseq", "report", *files, "--out", "report"]
    if budget_text:
        command += ["--budget", budget_text]
    return shlex.join(command)
