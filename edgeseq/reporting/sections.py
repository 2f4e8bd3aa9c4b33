"""The sections of a report below the verdict, and the tables in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.reporting.format import (
    ABSENT,
    LimitedRunCells,
    format_delegation,
    format_limited_run,
    format_optional,
    format_profile_lines,
    format_profile_summary,
)
from edgeseq.reporting.rows import MeasuredModel, ModelGroup
from edgeseq.reporting.seed_means import seed_means
from edgeseq.tasks.examples import (
    AnyExample,
    MultilabelExample,
    SequenceExample,
    TextExample,
    labels_of,
    sample_positions,
)
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import by_example, metric_of
from edgeseq.units import format_bytes

MAX_TEXTS = 6
MAX_OPERATORS = 6
MAX_TEXT_CHARACTERS = 240
CONTEXT_WORDS = 10


class ReportTable(msgspec.Struct, frozen=True):
    """A plain table; every line has as many cells as `head`."""

    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


class ReportFigure(msgspec.Struct, frozen=True):
    """A chart as a Vega-Lite specification: the page and the PNG are drawn from it.

    `name` is the stem of its file, `caption` says in a sentence what it shows.
    """

    name: str
    title: str
    caption: str
    spec: dict[str, Any]


class ReportSection(msgspec.Struct, frozen=True):
    """A section of the report; without a title it continues the one before. `text` begins it."""

    title: str
    figures: tuple[ReportFigure, ...] = ()
    tables: tuple[ReportTable, ...] = ()
    text: str = ""


def table_sections(group: ModelGroup) -> tuple[ReportSection, ...]:
    """The sections that are tables alone: they need no extra, so a device can write them."""
    sections = (
        _seeds_section(group),
        _limits_section(group),
        _operators_section(group),
        _microcontroller_section(group),
    )
    return tuple(section for section in sections if section.tables)


def _seeds_section(group: ModelGroup) -> ReportSection:
    """The mean score of each recipe that was trained with several seeds, with both intervals."""
    metric = metric_of(group.task)
    lines = tuple(
        (
            mean.bundle,
            str(mean.seeds),
            metric.show(mean.mean),
            metric.show_interval(*mean.test_ci95),
            metric.show_interval(*mean.training_ci95),
        )
        for mean in seed_means(group.rows)
    )
    head = ("model", "seeds", f"mean {metric.title}", "other test examples", "other trainings")
    return ReportSection(
        "Means over seeds",
        tables=(ReportTable(head, lines),) if lines else (),
        text="Trainings that differ in their seed alone, with 95 % intervals of the mean for other "
        "test examples and for other trainings. A difference that either of them covers may be "
        "chance.",
    )


def _limits_section(group: ModelGroup) -> ReportSection:
    """The outcome of each model under each limit that was asked for: boards', requested ones,
    verdicts'. The charts have those of the memory curve and of the search for working memory."""
    # Times of an emulated device are no latencies: none is shown anywhere.
    no_times = {"median": ABSENT, "p95": ABSENT} if group.device.emulated else {}
    lines = [
        (model.row.bundle, *_limit_cells(model, run)._replace(**no_times))
        for model in group.models
        for run in sorted(model.run.limited, key=lambda run: (not run.board, -run.limit_bytes))
        if run.purpose in ("board", "limit", "verdict")
    ]
    head = ("model", "limits", "outcome", "median", "p95", "major page faults", "remark")
    tables = (ReportTable(head, tuple(lines)),) if lines else ()
    return ReportSection("Under hard limits", tables=tables)


def _limit_cells(model: MeasuredModel, run: LimitedRun) -> LimitedRunCells:
    """The cells of a run inside limits; a board's say how much of its memory the model needs."""
    cells = format_limited_run(run)
    needed = model.row.required_memory_bytes
    if run.board is None or needed is None:
        return cells
    title = model.row.memory_title
    return cells._replace(remark=f"{title} {format_bytes(needed)}; {cells.remark}")


def _operators_section(group: ModelGroup) -> ReportSection:
    """Where the time of each model goes, by operator, and what XNNPACK runs."""
    profiles = [
        (model.row.bundle, model.run.profile)
        for model in group.models
        if model.run.profile is not None
    ]
    if not profiles:
        return ReportSection("")
    if group.device.emulated:
        delegation = tuple((name, f"{format_delegation(profile)}.") for name, profile in profiles)
        tables = (ReportTable(("model", "delegation"), delegation),)
        return ReportSection("What XNNPACK runs", tables=tables)
    summaries = tuple((name, format_profile_summary(profile)) for name, profile in profiles)
    lines = tuple(
        (name, *line)
        for name, profile in profiles
        for line in format_profile_lines(profile, limit=MAX_OPERATORS)
    )
    head = ("model", "operator", "run by", "calls per query", "time per query", "share")
    return ReportSection(
        "Where the time goes",
        tables=(ReportTable(("model", "delegation"), summaries), ReportTable(head, lines)),
    )


def _microcontroller_section(group: ModelGroup) -> ReportSection:
    """What the models take of a microcontroller, or why one cannot run there."""
    lines = tuple(
        (
            footprint.bundle.name,
            format_optional(footprint.arena_bytes, format_bytes, ABSENT),
            format_optional(footprint.flash_bytes, format_bytes, ABSENT),
            footprint.refused or "",
        )
        for footprint in group.footprints
    )
    head = ("model", "memory (arena)", "flash", "why not")
    tables = (ReportTable(head, lines),) if lines else ()
    return ReportSection(
        "On a microcontroller",
        tables=tables,
        text="As TensorFlow Lite Micro's interpreter allocated it on a computer of 64 bits; no "
        "time was measured.",
    )


def measured_examples(group: ModelGroup, examples: Sequence[AnyExample]) -> Sequence[AnyExample]:
    """Those of a bundle's test examples that the group's run used."""
    indices = sample_positions(len(examples), group.effective.examples)
    measured = [examples[index] for index in indices]
    if not (group.effective.quick and task_of(group.task).is_streaming):
        return measured
    # A quick run scores the first documents until it has enough words.
    predictions = [model.run.predictions for model in group.models]
    return measured[: max((len(p.sources) for p in predictions if p is not None), default=0)]


def check_examples(group: ModelGroup, examples: Sequence[AnyExample]) -> None:
    """Raises `InputError` unless the examples are those that were predicted."""

    def refuse(where: str, actual: str, expected: str) -> InputError:
        return InputError(
            "these are not the examples that were measured",
            where=where,
            found=actual,
            expected=expected,
            fix="name a bundle that was measured",
        )

    for model in group.models:
        predictions, labels = model.run.predictions, model.run.bundle.labels
        if predictions is None:
            continue
        name, n_examples = model.row.bundle, len(predictions.sources)
        if n_examples != len(examples):
            raise refuse("examples", f"{len(examples)} examples", f"{n_examples}, as for {name}")
        spans = by_example(predictions) if predictions.gold else []
        for number, (span, example) in enumerate(zip(spans, examples, strict=False), start=1):
            gold, actual = tuple(labels[k] for k in predictions.gold[span]), labels_of(example)
            if isinstance(example, MultilabelExample):
                decisions = zip(labels, predictions.gold[span], strict=False)
                gold = tuple(sorted(label for label, has_it in decisions if has_it))
                actual = tuple(sorted(actual))
            if gold != actual:
                raise refuse(
                    f"examples: number {number}",
                    f"labels {' '.join(actual)!r}",
                    f"{' '.join(gold)!r}, as in the result of {name}",
                )


def check_examples_hash(group: ModelGroup, sha256: str, n_examples: int) -> None:
    """Raises `InputError` unless the file of examples, `sha256`, is the one that was measured.

    Labels alone do not tell: other texts may have the same ones.
    """
    count = group.effective.examples
    if count is not None and count < n_examples:
        # As `edgeseq bench` tells a sample from all examples.
        sha256 = hashlib.sha256(f"{sha256} {count}".encode()).hexdigest()
    for model in group.models:
        predictions = model.run.predictions
        if predictions is not None and predictions.examples_sha256 != sha256:
            raise InputError(
                "these are not the examples that were measured",
                where="examples",
                found=f"texts with the hash {sha256[:12]}…",
                expected=f"{predictions.examples_sha256[:12]}…, as in the result of "
                f"{model.row.bundle}",
                fix="name a bundle that was measured",
            )


def disagreement_tables(
    first: MeasuredModel, second: MeasuredModel, examples: Sequence[AnyExample]
) -> tuple[ReportTable, ...]:
    """Texts (or words in their sentences) that only one of two models got right, a few each way,
    in the order of the data."""
    labels = first.run.bundle.labels
    names = task_of(first.run.bundle.task).class_names(labels)
    lines: list[tuple[str, ...]] = []
    for right_model, wrong_model in ((first, second), (second, first)):
        right, wrong = right_model.run.predictions, wrong_model.run.predictions
        if right is None or wrong is None or not right.gold:
            return ()
        texts = []
        for example, span in zip(examples, by_example(right), strict=True):
            for index in range(span.start, span.stop):
                gold, wrong_label = right.gold[index], wrong.predicted[index]
                if right.predicted[index] == gold != wrong_label:
                    place = index - span.start
                    text = _in_context(example, place)
                    answers: tuple[str, ...] = (names[gold], names[wrong_label])
                    if isinstance(example, MultilabelExample):
                        answers = tuple(f"{labels[place]}: {answer}" for answer in answers)
                    texts.append((text, *answers, right_model.row.bundle))
                    break  # each sentence once
            if len(texts) == MAX_TEXTS:
                break
        lines += texts
    head = ("text", "gold label", "prediction of the other", "only right")
    return (ReportTable(head, tuple(lines)),) if lines else ()


def _in_context(example: AnyExample, word_index: int) -> str:
    """The text, or one word of it in brackets between its neighbours."""
    if isinstance(example, (TextExample, MultilabelExample, SequenceExample)):
        text = " ".join(example.text.split())
    else:
        words = example.words
        start, end = max(0, word_index - CONTEXT_WORDS), word_index + 1 + CONTEXT_WORDS
        context = [*words[start:word_index], f"[{words[word_index]}]", *words[word_index + 1 : end]]
        text = " ".join(["…"] * (start > 0) + context + ["…"] * (end < len(words)))
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[: MAX_TEXT_CHARACTERS - 1] + "…"
