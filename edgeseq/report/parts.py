"""The parts of a report below the verdict: which pictures and tables, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from edgeseq.errors import InputError
from edgeseq.report.limits_text import limited_cells
from edgeseq.report.profile_text import profile_lines, profile_remark
from edgeseq.report.rows import Entry, Group
from edgeseq.report.summary import Decided
from edgeseq.report.theme import styles_of
from edgeseq.tasks.examples import AnyExample, TextExample, labels_of, sample_positions
from edgeseq.tasks.registry import head_of
from edgeseq.tasks.scoring import by_example, metric_of

if TYPE_CHECKING:
    from edgeseq.report.chart_parts import Figure

MAX_TEXTS = 6
OPERATORS = 6
MAX_TEXT_CHARACTERS = 240
CONTEXT_WORDS = 10


class Table(msgspec.Struct, frozen=True):
    """A plain table; every line has as many cells as `head`."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


class Part(msgspec.Struct, frozen=True):
    """A section of the report; without a title it continues the one before."""

    title: str
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def parts_of(decided: Decided, examples: Sequence[AnyExample] | None) -> tuple[Part, ...]:
    """All parts that the measurements have something for; needs the extra `report`."""
    from edgeseq.report import (
        charts_accuracy,
        charts_frontier,
        charts_latency,
        charts_map,
        charts_memory,
    )

    group, verdict = decided.group, decided.summary.verdict
    budget = verdict.budget
    styles = styles_of([(row.bundle, row.arch, row.recipe) for row in group.rows])
    pair = charts_accuracy.pair_to_compare(group, verdict.winner)
    winners = charts_map.winner_chart(
        group, decided.summary.winner_map, styles, budget, verdict.winner
    )
    frontier, metric = charts_frontier.frontier, metric_of(group.task)
    drawn: tuple[tuple[str, list[Figure | None]], ...] = (
        ("", [winners]),
        (
            f"What a point of {metric.title} costs",
            [
                frontier(group, styles, over="p95", limit=budget.p95_ms),
                frontier(group, styles, over="memory", limit=budget.memory_bytes),
            ],
        ),
        (
            "Latency",
            [
                charts_latency.distribution(group, styles, limit_ms=budget.p95_ms),
                charts_latency.lengths(group, styles),
                charts_latency.cold_start(group, styles, limit_ms=budget.cold_start_ms),
            ],
        ),
        ("Memory", [charts_memory.cliff(group, styles), charts_memory.ledger(group, styles)]),
        (
            metric.title[:1].upper() + metric.title[1:],
            [
                charts_accuracy.classes(group, styles),
                charts_accuracy.sources(group, styles),
                charts_accuracy.confusion(*pair, styles) if pair else None,
            ],
        ),
    )
    differing = texts_that_differ(*pair, examples) if pair and examples is not None else ()
    parts = [
        Part(title, tuple(figure for figure in figures if figure is not None))
        for title, figures in drawn
    ]
    parts[-1] = msgspec.structs.replace(parts[-1], tables=differing)
    parts += table_parts(group)
    return tuple(part for part in parts if part.figures or part.tables)


def table_parts(group: Group) -> tuple[Part, ...]:
    """The parts that are tables alone: they need no extra, so a device can write them."""
    return tuple(part for part in (_limits(group), _operators(group)) if part.tables)


def _limits(group: Group) -> Part:
    """What became of each model under each limit: boards', those asked for, the memory curve's."""
    lines = [
        (entry.row.bundle, *limited_cells(run))
        for entry in group.entries
        for run in sorted(entry.run.limited, key=lambda run: (not run.board, -run.limit_bytes))
    ]
    head = ("model", "limits", "what happened", "median", "p95", "waits for the disk", "remark")
    return Part("Inside hard limits", tables=(Table(head, tuple(lines)),) if lines else ())


def _operators(group: Group) -> Part:
    """Where the time of each model goes, by operator, and what XNNPACK took over."""
    lines: list[tuple[str, ...]] = []
    remarks: list[tuple[str, ...]] = []
    for entry in group.entries:
        profile = entry.run.profile
        if profile is None:
            continue
        name = entry.row.bundle
        remarks.append((name, profile_remark(profile)))
        lines += [(name, *line) for line in profile_lines(profile, limit=OPERATORS)]
    if not lines:
        return Part("")
    head = ("model", "operator", "run by", "calls a query", "time a query", "share")
    return Part(
        "Where the time goes",
        tables=(Table(("model", "who runs it"), tuple(remarks)), Table(head, tuple(lines))),
    )


def asked_of(group: Group, examples: Sequence[AnyExample]) -> Sequence[AnyExample]:
    """Those of a bundle's test examples that the group's run asked."""
    asked = [examples[place] for place in sample_positions(len(examples), group.effective.examples)]
    if not group.effective.quick or head_of(group.task) != "language-modeling":
        return asked
    # A quick run scores whole documents, the first ones, until it has seen enough words.
    found = [entry.run.predictions for entry in group.entries]
    return asked[: max((len(one.sources) for one in found if one is not None), default=0)]


def check_examples(group: Group, examples: Sequence[AnyExample]) -> None:
    """Raises `InputError` unless the examples are those that the answers were given for."""
    for entry in group.entries:
        found, labels = entry.run.predictions, entry.run.bundle.labels
        if found is None:
            continue
        if len(found.sources) != len(examples):
            raise InputError(
                "these are not the examples that were measured",
                where="examples",
                found=f"{len(examples)} examples",
                expected=f"{len(found.sources)}, as {entry.row.bundle} answered",
                fix="name a bundle that was in the run",
            )
        if not found.gold:
            continue
        for number, (own, example) in enumerate(
            zip(by_example(found), examples, strict=True), start=1
        ):
            gold = tuple(labels[answer] for answer in found.gold[own])
            if gold != labels_of(example):
                said = labels_of(example)
                raise InputError(
                    "these are not the examples that were measured",
                    where=f"examples: number {number}",
                    found=f"label {said[0]!r}" if len(said) == 1 else f"{len(said)} other tags",
                    expected=f"{gold[0]!r}, as in the result of {entry.row.bundle}"
                    if len(gold) == 1
                    else f"those in the result of {entry.row.bundle}",
                    fix="name a bundle that was in the run",
                )


def texts_that_differ(
    first: Entry, second: Entry, examples: Sequence[AnyExample]
) -> tuple[Table, ...]:
    """Texts (or words in their sentences) that only one of two models got right, a few each way,
    in the order of the data."""
    one, two = first.run.predictions, second.run.predictions
    if one is None or two is None or not one.gold:
        return ()
    labels = first.run.bundle.labels
    lines: list[tuple[str, ...]] = []
    for right, wrong, name in ((one, two, first), (two, one, second)):
        found = 0
        for example, own in zip(examples, by_example(right), strict=True):
            for place in range(own.start, own.stop):
                gold, other = right.gold[place], wrong.predicted[place]
                if right.predicted[place] == gold != other and found < MAX_TEXTS:
                    found += 1
                    text = _in_context(example, place - own.start)
                    lines.append((text, labels[gold], labels[other], name.row.bundle))
                    break  # a sentence once
    head = ("text", "right answer", "the other says", "only right")
    return (Table(head, tuple(lines)),) if lines else ()


def _in_context(example: AnyExample, place: int) -> str:
    """The text, or the word at `place` in brackets between the words beside it."""
    if isinstance(example, TextExample):
        text = " ".join(example.text.split())
    else:
        words = example.words
        before, after = words[max(0, place - CONTEXT_WORDS) : place], words[place + 1 :]
        text = " ".join(
            (
                *(("…",) if place > CONTEXT_WORDS else ()),
                *before,
                f"[{words[place]}]",
                *after[:CONTEXT_WORDS],
                *(("…",) if len(after) > CONTEXT_WORDS else ()),
            )
        )
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"
