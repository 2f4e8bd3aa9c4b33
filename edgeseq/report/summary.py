"""`summary.json`: the rows and the verdict, for machines. Version history: 1, the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.report.boundary import WinnerMap, boundary_sentence, winner_map
from edgeseq.report.budgets import Budget
from edgeseq.report.evidence import paired_gaps
from edgeseq.report.lowerings import LoweringChoice, lowering_choices
from edgeseq.report.rows import Group, Row, read_groups
from edgeseq.report.verdict import Gaps, Verdict, decide

SUMMARY_VERSION = 1


class GroupSummary(msgspec.Struct, frozen=True):
    """One group of comparable measurements: its own verdict, where the verdict changes, and the
    lowerings that this device was found to run fastest."""

    title: str
    device: str
    threads: int
    task: str
    data: str
    files: tuple[str, ...]
    verdict: Verdict
    boundary: str
    winner_map: WinnerMap
    lowerings: tuple[LoweringChoice, ...] = ()


class Summary(msgspec.Struct, frozen=True):
    """`summary.json`. Rows of several groups are listed together, but never compared.

    With one group `verdict` is its verdict; with several, `winner` is the bundle on which all of
    them agree, else None.
    """

    version: int
    edgeseq_version: str
    rows: tuple[Row, ...]
    verdict: Verdict
    groups: tuple[GroupSummary, ...]


class Decided(msgspec.Struct, frozen=True):
    """A group with what was decided over it, for the parts of a report."""

    group: Group
    summary: GroupSummary
    gaps: Gaps


def decide_group(group: Group, budget: Budget) -> Decided:
    """The verdict over one group, and the map of verdicts over all other limits."""
    gaps = paired_gaps([entry.run for entry in group.entries], allowed_points=budget.drop_points)
    rows, intro = group.rows, ""
    if rows and not any(row.valid for row in rows):
        # Nothing may ship then, but what the numbers point to need not be hidden.
        rows = tuple(msgspec.structs.replace(r, valid=True, invalid_reasons=()) for r in rows)
        intro = "No measurement is valid. Taken as they stand, the numbers say: "
    winners = winner_map(rows, budget, gaps)
    choices = lowering_choices(group.entries)
    boundary = intro + boundary_sentence(rows, winners)
    summary = GroupSummary(
        title=group.title,
        device=group.device.name,
        threads=group.effective.threads,
        task=group.task,
        data=group.data_name,
        files=group.files,
        verdict=decide(group.rows, budget, gaps),
        boundary=" ".join((boundary, *(choice.sentence for choice in choices))),
        winner_map=winners,
        lowerings=choices,
    )
    return Decided(group, summary, gaps)


def summarize(decided: Sequence[Decided], budget: Budget) -> Summary:
    """The summary over all groups."""
    return Summary(
        version=SUMMARY_VERSION,
        edgeseq_version=edgeseq.__version__,
        rows=tuple(row for one in decided for row in one.group.rows),
        verdict=_verdict([one.summary for one in decided], budget),
        groups=tuple(one.summary for one in decided),
    )


def _verdict(groups: Sequence[GroupSummary], budget: Budget) -> Verdict:
    if len(groups) == 1:
        return groups[0].verdict
    if not groups:
        return Verdict(winner=None, why="Nothing was measured.", budget=budget)
    winners = {group.verdict.winner for group in groups}
    said = "; ".join(
        f"{group.title}, {group.data}: {group.verdict.winner or 'nothing fits'}" for group in groups
    )
    agreed = winners.pop() if len(winners) == 1 else None
    intro = "The same on each" if agreed else "Not the same everywhere"
    return Verdict(
        winner=agreed,
        why=f"{intro} ({said}).",
        budget=budget,
        refused=tuple(refusal for group in groups for refusal in group.verdict.refused),
    )


def read_and_decide(results: Sequence[Path], budget: Budget) -> tuple[Decided, ...]:
    """Reads result files, groups what may be compared and decides over each group.

    Raises `ResultError` as `edgeseq.report.rows.read_groups` does.
    """
    return tuple(decide_group(group, budget) for group in read_groups(results))
