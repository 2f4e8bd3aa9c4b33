"""`edgeseq compare`: a regression check of two results, for continuous integration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.cells import cell_len
from rich.markup import escape

import edgeseq as es
from edgeseq.cli.console import JsonOption, err, out, print_json
from edgeseq.errors import RefusedError
from edgeseq.reporting.comparison import Comparison, ThresholdCheck
from edgeseq.reporting.metric_changes import MetricChange
from edgeseq.reporting.thresholds import parse_thresholds

_COLOURS = {"fails": "bold red", "unknown": "bold red", "undecided": "yellow", "holds": "green"}


def compare(
    old: Annotated[Path, typer.Argument(help="The reference result.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="The result to check.", metavar="NEW")],
    *,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="Exit with 3 when a model got worse by more than this: METRIC>N% or METRIC>N "
            "with a unit, of p50, p95, cold_start, memory (working memory), peak_memory, "
            "model_memory, size, score (in pt). Several in one string, or repeated.",
        ),
    ] = None,
    across: Annotated[
        bool,
        typer.Option("--across", help="Compare even if device, runtime or settings differ."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare two results of the same models, with intervals; fail on a regression.

    A threshold fails when the whole interval of the change lies beyond it, or when it cannot be
    checked at all: not measured, not valid, or the model is not in NEW. Example:
    edgeseq compare main.json branch.json --fail-on "p95>10% memory>5MB score>1pt"
    """
    thresholds = [threshold for text in fail_on or () for threshold in parse_thresholds(text)]
    comparison = es.compare(old, new, across=across)
    checks = comparison.check(thresholds)
    if json:
        print_json({**msgspec.structs.asdict(comparison), "checks": checks})
    else:
        _print(comparison, checks)
    failed = comparison.regressions(thresholds)
    if failed:
        first, n_more = failed[0], len(failed) - 1
        raise RefusedError(
            f"{first.bundle}: {first.threshold} "
            + ("does not hold" if first.status == "fails" else "cannot be checked"),
            where=new,
            found=first.reason + (f", and {n_more} more" if n_more else ""),
        )


def _model_table(name: str, changes: Sequence[MetricChange]) -> str:
    """The changes of one model in aligned columns, as markup.

    Rich's own tables take a second for 200 models, and cut off what a terminal has no room for.
    """
    rows = [("", "old", "new", "change", "interval")]
    rows += [(change.title, *change.cells) for change in changes]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    head, *body = map(escape, lines)
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join((f"[italic]{escape(name)}[/]", f"[bold]{head}[/]", rule, *body, ""))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """The cells in columns: the first from the left, the others up to the right."""
    spaces = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
    numbers = (space + cell for cell, space in zip(row[1:], spaces[1:], strict=True))
    return "  ".join((row[0] + spaces[0], *numbers)).rstrip()


def _print(comparison: Comparison, checks: Sequence[ThresholdCheck]) -> None:
    for difference in comparison.differing:
        line = f"different {difference.field}: {difference.old} → {difference.new}"
        err.print(f"[yellow]warning[/] {escape(line)}", soft_wrap=True)
    changes: dict[str, list[MetricChange]] = {}
    for change in comparison.changes:
        changes.setdefault(comparison.model_name(change), []).append(change)
    for name, of_model in changes.items():
        out.print(_model_table(name, of_model), soft_wrap=True)
    for side, names in (("OLD", comparison.only_old), ("NEW", comparison.only_new)):
        if names:
            out.print(escape(f"only in {side}: {', '.join(names)}"), soft_wrap=True)
    for check in checks:
        line = escape(f"{check.bundle} {check.threshold}: {check.reason}")
        out.print(f"[{_COLOURS[check.status]}]{check.status}[/] {line}", soft_wrap=True)
