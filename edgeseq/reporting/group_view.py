"""What a report shows of a group, as plain text in the order of the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import msgspec

from edgeseq.formats.result import RUNNER_TITLES, Finding, ResultRecord
from edgeseq.reporting.budgets import describe_budget
from edgeseq.reporting.format import (
    NOT_MEASURED,
    LabelledFigure,
    format_energy,
    format_optional,
    model_figures,
)
from edgeseq.reporting.page_data import verdict_figures
from edgeseq.reporting.provenance import Pairs, provenance
from edgeseq.reporting.rows import ModelGroup, ReportRow
from edgeseq.reporting.summary import GroupDecision
from edgeseq.reporting.verdict import Verdict
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_count, format_duration_ms

_SEVERITIES = ("invalid", "warning", "note")
_DETAIL_HEAD = (
    "lowering", "inference median", "inference p95", "queries", "macro-F1", "memory +",
    "memory + after weight release", "truncated", "in windows", "unknown only", "max tokens",
)  # fmt: skip


class ModelTableRow(msgspec.Struct, frozen=True):
    """A line of the table of models."""

    bundle: str
    arch: str
    recipe: str
    variant: str
    figures: tuple[LabelledFigure, ...]
    ships: bool
    reasons: tuple[str, ...]


class FindingLine(msgspec.Struct, frozen=True):
    """A finding with the models that it concerns."""

    severity: str
    code: str
    models: str
    message: str


class GroupView(msgspec.Struct, frozen=True):
    """One group of comparable measurements, ready to be shown."""

    title: str
    data: str
    facts: tuple[str, ...]
    headline: str
    process: str
    winner: str | None
    winner_arch: str | None
    reason: str
    proof: str
    limits: str
    boundary: str
    validity: str
    is_valid: bool
    energy: str
    figures: tuple[LabelledFigure, ...]
    table: tuple[ModelTableRow, ...]
    findings: tuple[FindingLine, ...]
    details: tuple[tuple[str, tuple[str, ...]], ...]
    detail_head: tuple[str, ...]
    provenance: tuple[tuple[str, Pairs], ...]
    commands: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> tuple[str, str]:
        """What ships and in which process, and why with what is known of it."""
        where = f" in a {self.process}" if self.winner else ""
        return f"{self.headline}{where}.", " ".join(filter(None, (self.reason, self.proof)))


def report_title(groups: Sequence[ModelGroup]) -> str:
    """The heading of a report: its tasks, or the data set of a generic one."""
    titles = dict.fromkeys(task_of(group.task).title or group.data_name for group in groups)
    return f"What to ship for {' and '.join(titles) or 'nothing'}"


def report_command(files: Sequence[str], budget: str) -> str:
    """The command that writes the report again; `budget` is its text. Empty for unsaved results."""
    if not all(files):
        return ""
    command = ["edgeseq", "report", *files, "--out", "report"]
    return shlex.join([*command, "--budget", budget] if budget else command)


def group_view(
    decision: GroupDecision, *, report_command: str, remarks: tuple[str, ...] = ()
) -> GroupView:
    """All text and numbers of one group; `remarks` are sentences below the table of models: what a
    linear baseline reaches, and what other runners take more."""
    group, summary = decision.group, decision.summary
    verdict = summary.verdict
    winner = next((row for row in group.rows if row.bundle == verdict.winner), None)
    return GroupView(
        title=group.title,
        data=group.data_name,
        facts=_facts(group),
        headline=verdict.headline,
        process=RUNNER_TITLES[group.runner],
        winner=winner.bundle if winner else None,
        winner_arch=winner.arch if winner else None,
        reason=verdict.reason,
        proof=verdict.proof,
        limits=describe_budget(verdict.budget),
        boundary=summary.boundary,
        validity=_validity(group),
        is_valid=all(row.valid for row in group.rows) and not _warnings(group),
        energy=_energy(group),
        figures=verdict_figures(winner) if winner else (),
        table=model_table(group, verdict),
        findings=_finding_lines(group),
        detail_head=(*_DETAIL_HEAD, *(other.title for other in _other_metrics(group))),
        details=tuple((row.bundle, _details(group, row)) for row in _best_first(group)),
        provenance=provenance(group),
        commands=tuple(filter(None, (*map(_command, group.results), report_command))),
        remarks=tuple(filter(None, remarks)),
    )


def _best_first(group: ModelGroup) -> list[ReportRow]:
    return sorted(group.rows, key=lambda row: (-row.rank, row.bundle))


def model_table(group: ModelGroup, verdict: Verdict) -> tuple[ModelTableRow, ...]:
    """The models from the best score down, each with what it costs and the reasons against it."""
    reasons = {refusal.bundle: refusal.reasons for refusal in verdict.refused}
    return tuple(
        ModelTableRow(
            bundle=row.bundle,
            arch=row.arch,
            recipe=row.recipe,
            variant=f"{row.recipe}, {row.lowering}",
            figures=model_figures(row),
            ships=row.bundle == verdict.winner,
            reasons=reasons.get(row.bundle, ()),
        )
        for row in _best_first(group)
    )


def _command(result: ResultRecord) -> str:
    return shlex.join(result.command)


def _facts(group: ModelGroup) -> tuple[str, ...]:
    device, runtime = group.device, group.runtime
    n_texts = max((row.n_examples for row in group.rows), default=0)
    n_answers = max((row.n_answers for row in group.rows), default=0)
    split = f"{format_count(n_texts)} test texts of {group.data_name}"
    return (
        f"{device.cpu_model or device.machine}, {device.cores} cores, "
        f"{format_bytes(device.memory_bytes)}" + (", emulated" if device.emulated else ""),
        f"{runtime.package} {runtime.version}, {runtime.delegate}",
        f"{format_count(n_answers)} {task_of(group.task).scored_unit} in {split}"
        if n_answers > n_texts
        else split,
        f"measured {group.results[0].created_utc[:10]}",
    )


def _energy(group: ModelGroup) -> str:
    """Energy per query of each model, in one sentence; never a number that was not measured."""
    texts = [
        f"{run.bundle.name} {format_energy(run.energy, result.energy_idle)}"
        for result in group.results
        for run in result.runs
        if run.energy is not None and result.energy_idle is not None
    ]
    return f"Energy: {'; '.join(texts)}." if texts else "Energy was not measured."


def _warnings(group: ModelGroup) -> list[Finding]:
    """Warnings, each once, also when it concerns several models."""
    findings = [finding for row in group.rows for finding in row.findings]
    return list({f.message: f for f in findings if f.severity == "warning"}.values())


def _validity(group: ModelGroup) -> str:
    invalid = [row.bundle for row in group.rows if not row.valid]
    n_models, n_warnings = len(group.rows), len(_warnings(group))
    if invalid:
        text = f"{len(invalid)} of {n_models} measurements are not valid: {', '.join(invalid)}."
    else:
        text = f"All {n_models} measurements are valid."
        text = text if n_models > 1 else "The measurement is valid."
    if n_warnings:
        text += f" {n_warnings} warning{'s' * (n_warnings > 1)}."
    if group.device.emulated:
        text += " Latencies are not valid under emulation, so none is shown."
    if any(row.scope == "inference" for row in group.rows):
        text += " Times are of inference alone: texts were tokenized before."
    if group.effective.quick:
        text += " This was a quick run, so take the numbers as a first estimate."
    if len(group.results) > 1:
        text += (
            f" The models were measured in {len(group.results)} separate runs, so drift of the "
            "machine between runs does not affect all alike."
        )
    return text


def _details(group: ModelGroup, row: ReportRow) -> tuple[str, ...]:
    run = next(model.run for model in group.models if model.row is row)
    predictions = run.predictions
    return (
        row.lowering,
        format_optional(row.inference_p50_ms, format_duration_ms),
        format_optional(row.inference_p95_ms, format_duration_ms),
        str(row.n_queries),
        format_optional(row.macro_f1, "{:.3f}".format),
        format_optional(row.peak_memory_bytes, format_bytes),
        format_optional(row.memory_after_release_bytes, format_bytes),
        NOT_MEASURED if predictions is None else str(predictions.truncated),
        NOT_MEASURED if predictions is None else str(predictions.windowed),
        NOT_MEASURED if predictions is None else str(predictions.unknown_only),
        str(run.bundle.max_tokens),
        *(_further_score(row, other) for other in _other_metrics(group)),
    )


def _other_metrics(group: ModelGroup) -> tuple[Metric, ...]:
    return metric_of(group.task).others


def _further_score(row: ReportRow, metric: Metric) -> str:
    """The score with its interval; a row without predictions has none."""
    for further in row.further_scores:
        if further.metric == metric.name:
            return f"{metric.show(further.score)} ({metric.show_interval(*further.score_ci95)})"
    return NOT_MEASURED


def _finding_lines(group: ModelGroup) -> tuple[FindingLine, ...]:
    """All findings, the most severe first; one that concerns several models is one line."""
    bundles: dict[tuple[str, str, str], list[str]] = {}
    for row in group.rows:
        for finding in row.findings:
            key = (finding.severity, finding.code, finding.message)
            bundles.setdefault(key, []).append(row.bundle)
    lines = [
        FindingLine(
            severity=severity,
            code=code,
            models="all models" if len(names) == len(group.rows) > 1 else ", ".join(names),
            message=message,
        )
        for (severity, code, message), names in bundles.items()
    ]
    return tuple(sorted(lines, key=lambda line: _SEVERITIES.index(line.severity)))
