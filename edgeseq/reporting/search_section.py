"""The section about a search: what was tried, the frontier of what was trained, and which settings
mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeseq.formats.search_record import SearchRecord, SearchTrial
from edgeseq.reporting.format import ABSENT, format_optional
from edgeseq.reporting.sections import ReportFigure, ReportSection, ReportTable
from edgeseq.tasks.scoring import metric_of
from edgeseq.units import format_bytes, format_duration_ms, format_share

COST_NAMES = ("required_memory_bytes", "p95_ms", "size_bytes")
"""The costs that are objectives of a search beside the score."""
MAX_LINES = 20


def frontier(trials: Sequence[SearchTrial]) -> list[SearchTrial]:
    """The trained models that no other one equals in score, memory, p95 and size and beats in one
    of them, the best score first."""
    trained = [trial for trial in trials if trial.outcome == "trained"]
    front = [trial for trial in trained if not any(_dominates(other, trial) for other in trained)]
    return sorted(front, key=lambda trial: -(trial.dev_score or 0.0))


def _dominates(one: SearchTrial, other: SearchTrial) -> bool:
    ours, theirs = _objectives(one), _objectives(other)
    return ours != theirs and all(a <= b for a, b in zip(ours, theirs, strict=True))


def _objectives(trial: SearchTrial) -> tuple[float, ...]:
    return (-(trial.dev_score or 0.0), *(trial.costs.get(name) or 0.0 for name in COST_NAMES))


def search_sections(
    record: SearchRecord | None, figures: Sequence[ReportFigure] = ()
) -> tuple[ReportSection, ...]:
    """One section with the counts, the charts in `figures`, and the tables; () without a search."""
    if record is None:
        return ()
    tables = [_frontier_table(record)]
    if record.importance:
        tables.append(_importance_table(record.importance))
    return (
        ReportSection(
            "Search", figures=tuple(figures), tables=tuple(tables), text=_counts_sentence(record)
        ),
    )


def _counts_sentence(record: SearchRecord) -> str:
    counts = Counter(trial.outcome for trial in record.trials)
    parts = [
        f"{counts['trained']} were trained to the end",
        f"{counts['ended early']} ended early because others had a better score after as many "
        "epochs",
        f"{counts['over budget']} measured untrained and not trained, because they exceed the "
        "budget",
    ]
    if counts["disturbed"]:
        parts.append(
            f"{counts['disturbed']} not measured, because other programs used the machine (run the "
            "search again when it is idle: it tries them then)"
        )
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    return (
        f"Of {len(record.trials)} candidates {'; '.join(parts)}. Scores in this section are on the "
        "development split and costs from a short measurement before training. The models of the "
        "verdict were measured in full, and scored once on the test split."
    )


def _frontier_table(record: SearchRecord) -> ReportTable:
    metric = metric_of(record.task)
    lines = []
    for trial in frontier(record.trials)[:MAX_LINES]:
        memory, p95, size = (trial.costs.get(name) for name in COST_NAMES)
        lines.append(
            (
                f"{trial.model}, trial {trial.number}",
                _settings_text(trial),
                metric.show(trial.dev_score or 0.0),
                format_optional(memory, format_bytes),
                format_optional(p95, format_duration_ms),
                format_optional(size, format_bytes),
            )
        )
    head = ("frontier", "settings", f"{metric.title} on dev", "memory", "p95", "size")
    return ReportTable(head, tuple(lines))


def _settings_text(trial: SearchTrial) -> str:
    settings = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in trial.settings.items()
    ]
    teacher = ["distilled"] if trial.is_distilled else []
    return ", ".join([*settings, *teacher, trial.recipe, trial.lowering])


def _importance_table(importance: dict[str, dict[str, float]]) -> ReportTable:
    """Settings by their importance for the score, or else the first objective."""
    objectives = list(importance)
    names = sorted(
        {name for shares in importance.values() for name in shares},
        key=lambda name: (-importance[objectives[0]].get(name, 0.0), name),
    )
    lines = tuple(
        (
            name,
            *(
                format_share(importance[objective][name])
                if name in importance[objective]
                else ABSENT
                for objective in objectives
            ),
        )
        for name in names
    )
    head = ("importance of", *(f"for {objective}" for objective in objectives))
    return ReportTable(head, lines)
