"""`summary.json`: the rows and the verdict, for machines.

Version history: 1, the first; 2, runners, working memory, limits that were tried, `proof`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.formats.result import ResultRecord, Runner
from edgeseq.reporting.boundary import WinnerMap, boundary_sentence, winner_map
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.lowering_choice import LoweringChoice, lowering_choices
from edgeseq.reporting.rows import ModelGroup, ReportRow, read_groups
from edgeseq.reporting.score_gaps import ScoreGaps, paired_gaps
from edgeseq.reporting.verdict import Verdict, decide

SUMMARY_VERSION = 2


class GroupSummary(msgspec.Struct, frozen=True):
    """One group of comparable measurements: its verdict, where the verdict changes, and the
    fastest lowerings on this device."""

    title: str
    device: str
    runner: Runner
    threads: int
    task: str
    data: str
    files: tuple[str, ...]
    verdict: Verdict
    boundary: str
    winner_map: WinnerMap
    lowerings: tuple[LoweringChoice, ...] = ()


class ReportSummary(msgspec.Struct, frozen=True):
    """`summary.json`. Rows of several groups are listed together, but never compared.

    With one group `verdict` is its verdict; with several, `winner` is the bundle on which all of
    them agree, else None. Groups that differ by the runner alone count once, native first.
    """

    version: int
    edgeseq_version: str
    rows: tuple[ReportRow, ...]
    verdict: Verdict
    groups: tuple[GroupSummary, ...]


class GroupDecision(msgspec.Struct, frozen=True):
    """A group with what was decided over it."""

    group: ModelGroup
    summary: GroupSummary
    gaps: ScoreGaps


def decide_group(group: ModelGroup, budget: Budget) -> GroupDecision:
    """The verdict over one group, and the map of verdicts over all other limits."""
    gaps = paired_gaps([model.run for model in group.models], allowed_points=budget.drop_points)
    rows, intro = group.rows, ""
    if rows and not any(row.valid for row in rows):
        rows = tuple(msgspec.structs.replace(r, valid=True, invalid_reasons=()) for r in rows)
        intro = "No measurement is valid. If all were, the answer would be: "
    winners = winner_map(rows, budget, gaps)
    choices = lowering_choices(group.models)
    boundary = intro + boundary_sentence(rows, winners)
    summary = GroupSummary(
        title=group.title,
        device=group.device.name,
        runner=group.runner,
        threads=group.effective.threads,
        task=group.task,
        data=group.data_name,
        files=group.files,
        verdict=decide(group.rows, budget, gaps),
        boundary=" ".join((boundary, *(choice.sentence for choice in choices))),
        winner_map=winners,
        lowerings=choices,
    )
    return GroupDecision(group, summary, gaps)


def summarize(
    decisions: Sequence[GroupDecision], leading: Sequence[GroupDecision], budget: Budget
) -> ReportSummary:
    """The summary over all groups; the verdict is over the `leading` ones."""
    groups = tuple(decision.summary for decision in decisions)
    return ReportSummary(
        version=SUMMARY_VERSION,
        edgeseq_version=edgeseq.__version__,
        rows=tuple(row for decision in decisions for row in decision.group.rows),
        verdict=_overall_verdict([decision.summary for decision in leading], budget),
        groups=groups,
    )


def _overall_verdict(groups: Sequence[GroupSummary], budget: Budget) -> Verdict:
    if len(groups) == 1:
        return groups[0].verdict
    if not groups:
        return Verdict(winner=None, reason="Nothing was measured.", budget=budget)
    winners = {group.verdict.winner for group in groups}
    winner = winners.pop() if len(winners) == 1 else None
    intro = "All verdicts agree" if winner else "Verdicts differ"
    verdicts = "; ".join(
        f"{group.title}, {group.data}: {group.verdict.winner or 'nothing fits'}" for group in groups
    )
    return Verdict(
        winner=winner,
        reason=f"{intro} ({verdicts}).",
        budget=budget,
        refused=tuple(refusal for group in groups for refusal in group.verdict.refused),
    )


def read_and_decide(
    results: Sequence[Path | ResultRecord], budget: Budget
) -> tuple[GroupDecision, ...]:
    """Reads results, groups what may be compared and decides over each group.

    Raises `ResultError` as `edgeseq.reporting.rows.read_groups` does.
    """
    return tuple(decide_group(group, budget) for group in read_groups(results))
