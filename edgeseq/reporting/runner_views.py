"""The same measurements in several runners: which is shown first, and what the others cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from edgeseq.errors import InputError
from edgeseq.formats.result import RUNNER_TITLES
from edgeseq.reporting.group_view import model_table
from edgeseq.reporting.rows import (
    PEAK_MEMORY,
    WORKING_MEMORY,
    MeasuredModel,
    ModelGroup,
)
from edgeseq.reporting.sections import ReportSection, ReportTable
from edgeseq.reporting.summary import GroupDecision
from edgeseq.stats.latency import median_ratio
from edgeseq.units import format_bytes, format_duration_ms, format_factor


class RunnerView(NamedTuple):
    """A decision, and those over the same data on the same device in other runners."""

    decision: GroupDecision
    others: tuple[GroupDecision, ...]


def runner_views(decisions: Sequence[GroupDecision]) -> tuple[RunnerView, ...]:
    """The decisions, each with those that differ from it by the runner alone: the first of
    each kind leads, which is the native process where there is one."""
    views: dict[tuple[Any, ...], list[GroupDecision]] = {}
    for decision in decisions:
        views.setdefault(_conditions(decision.group), []).append(decision)
    return tuple(RunnerView(first, tuple(others)) for first, *others in views.values())


def _conditions(group: ModelGroup) -> tuple[Any, ...]:
    settings = group.effective
    return (
        group.device, group.runtime, settings.threads, settings.quick, settings.cpus,
        group.task, group.data_sha256,
    )  # fmt: skip


def decisions_of_runner(
    decisions: Sequence[GroupDecision], runner: str
) -> tuple[GroupDecision, ...]:
    """The decisions over models that ran in `runner`; raises `InputError` if there is none."""
    chosen = tuple(decision for decision in decisions if decision.group.runner == runner)
    if not chosen and decisions:
        raise InputError(
            f"no model was measured in the runner {runner}",
            found=", ".join(dict.fromkeys(decision.group.runner for decision in decisions)),
            fix=f"measure with `edgeseq bench --runner {runner}`",
        )
    return chosen


def runner_sections(view: RunnerView) -> tuple[ReportSection, ...]:
    """A section for each other runner: what it costs, its verdict and its table of models."""
    return tuple(_runner_section(view, other) for other in view.others)


def _runner_section(view: RunnerView, other: GroupDecision) -> ReportSection:
    verdict = other.summary.verdict
    sentences = (
        runner_cost_sentence(view, other),
        f"{verdict.headline}.",
        verdict.reason,
        verdict.proof,
    )
    models = model_table(other.group, verdict)
    titles = tuple(figure.title for figure in models[0].figures) if models else ()
    lines = tuple(
        (
            model.bundle,
            *(f"{f.value} ({f.remark})" if f.remark else f.value for f in model.figures),
            "; ".join(model.reasons) or "ships",
        )
        for model in models
    )
    return ReportSection(
        title=f"In a {RUNNER_TITLES[other.group.runner]}",
        text=" ".join(filter(None, sentences)),
        tables=(ReportTable(("model", *titles, "decision"), lines),),
    )


def runner_cost_sentence(view: RunnerView, other: GroupDecision) -> str:
    """What the other runner costs the model that ships, or else the best one measured in both."""
    ours = {model.row.bundle: model for model in view.decision.group.models}
    theirs = {model.row.bundle: model for model in other.group.models}
    common = sorted(
        (name for name in ours if name in theirs), key=lambda name: -ours[name].row.rank
    )
    sentences = []
    if common:
        winner = view.decision.summary.verdict.winner
        name = winner if winner in common else common[0]
        if costs := _costs(ours[name], theirs[name]):
            title = RUNNER_TITLES[other.group.runner]
            sentences.append(f"In a {title}, {name} takes {_join(costs)}.")
    if missing := [name for name in theirs if name not in ours]:
        verb = "was" if len(missing) == 1 else "were"
        sentences.append(
            f"{_join(missing)} {verb} measured in a {RUNNER_TITLES[other.group.runner]} alone."
        )
    return " ".join(sentences)


def _join(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def _costs(ours: MeasuredModel, theirs: MeasuredModel) -> list[str]:
    """Memory, cold start and time of a whole answer of `theirs`, as factors of `ours`."""
    costs = []
    for title, field in (
        (WORKING_MEMORY, "working_memory_bytes"),
        (PEAK_MEMORY, "peak_process_bytes"),
    ):
        low, high = (getattr(model.row, field) for model in (ours, theirs))
        if low and high:
            amounts = f"{format_bytes(high)} instead of {format_bytes(low)}"
            costs.append(f"{format_factor(high / low)} times the {title} ({amounts})")
            break
    low, high = ours.row.cold_start_ms, theirs.row.cold_start_ms
    if low and high:
        amounts = f"{format_duration_ms(high)} instead of {format_duration_ms(low)}"
        costs.append(f"{format_factor(high / low)} times the cold start ({amounts})")
    is_timed = ours.row.p50_ms is not None and theirs.row.p50_ms is not None
    if is_timed and ours.row.scope == theirs.row.scope:
        ratio = median_ratio(theirs.run.queries.total_ns, ours.run.queries.total_ns)
        costs.append(
            f"{ratio.estimate:.2f} times the median of a whole answer "
            f"({ratio.low:.2f} to {ratio.high:.2f})"
        )
    return costs
