"""`edgeseq compare`: a regression check of two results, for continuous integration."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.cells import cell_len
from rich.markup import escape

import edgeseq as es
from edgeseq.cli.console import JsonOption, err, out, print_json, print_line
from edgeseq.errors import InputError, RefusedError
from edgeseq.formats.storage import write_bytes
from edgeseq.reporting.budget_file import read_budget_file
from edgeseq.reporting.budgets import budget_text
from edgeseq.reporting.ci_checks import github_annotations, github_summary, junit_xml
from edgeseq.reporting.comparison import Comparison, ThresholdCheck
from edgeseq.reporting.metric_changes import MetricChange
from edgeseq.reporting.thresholds import RegressionThreshold, parse_thresholds

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
    budget_file: Annotated[
        Path | None,
        typer.Option(
            help="TOML file, such as edgeseq-budget.toml, with fail_on (as --fail-on) and budget, "
            "limits such as memory=64MB that every model of NEW has to keep."
        ),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(help="Write the checks as JUnit XML, a test case each; replaces the file."),
    ] = None,
    github: Annotated[
        bool,
        typer.Option(
            "--github",
            help="Print the checks that do not hold as annotations of GitHub Actions, and add the "
            "tables to the summary of the job.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare two results of the same models, with intervals; fail on a regression.

    A threshold fails when the whole interval of the change lies beyond it, or when it cannot be
    checked at all: not measured, not valid, or the model is not in NEW. Example:
    edgeseq compare main.json branch.json --fail-on "p95>10% memory>5MB score>1pt"
    """
    if github and json:
        raise InputError("--github and --json both write to stdout", fix="choose one of them")
    thresholds = [threshold for text in fail_on or () for threshold in parse_thresholds(text)]
    limits = "" if budget_file is None else _add_budget_file(budget_file, thresholds)
    if not (thresholds or limits) and (junit or github):
        raise InputError(
            "there is nothing to check", fix="add --fail-on or --budget-file to --junit or --github"
        )
    comparison = es.compare(old, new, across=across, budget=limits)
    checks = comparison.check(thresholds)
    if junit is not None:
        write_bytes(junit, junit_xml(checks))
    if json:
        print_json({**msgspec.structs.asdict(comparison), "checks": checks})
    elif github:
        _print_for_github(comparison, checks, file=budget_file or old)
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


def _add_budget_file(path: Path, thresholds: list[RegressionThreshold]) -> str:
    """Adds the file's thresholds to `thresholds`; its limits as text."""
    limits = read_budget_file(path)
    thresholds += limits.thresholds
    return budget_text(limits.budget)


def _print_for_github(
    comparison: Comparison, checks: Sequence[ThresholdCheck], *, file: Path
) -> None:
    """Tables, annotations and the summary of the job; names from results give no commands."""
    token = secrets.token_hex(16)
    print_line(f"::stop-commands::{token}")
    _print(comparison, checks)
    print_line(f"::{token}::")
    for annotation in github_annotations(checks, file=file.as_posix()):
        print_line(annotation)
    # Where GitHub's runner collects what a job's page shows.
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as page:
            page.write(github_summary(comparison, checks))


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
