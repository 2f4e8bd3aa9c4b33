"""`edgeseq compare`: a regression check of two results, for somebody's CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from edgeseq.report.compare import Change, Comparison

_COLOURS = {"fails": "bold red", "unknown": "bold red", "undecided": "yellow", "holds": "green"}


def compare(
    old: Annotated[Path, typer.Argument(help="The result to compare with.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="The result of now.", metavar="NEW")],
    *,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            help="Exit with 3 when a model got worse by more: METRIC>N% or METRIC>N with a unit, "
            "of p50, p95, cold_start, memory, model_memory, size, score (in pt). Several in one, "
            "or repeated.",
        ),
    ] = None,
    across: Annotated[
        bool,
        typer.Option("--across", help="Also compare another device, runtime or other settings."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Compare two results of the same models, with intervals; fail on a regression.

    A threshold fails when the whole 95 % interval of the change lies beyond it, or when it cannot
    be checked at all. Example:
    edgeseq compare main.json branch.json --fail-on "p95>10% memory>5MB score>1pt"
    """
    from edgeseq.errors import RefusedError
    from edgeseq.report.compare import compare as compare_results
    from edgeseq.report.thresholds import parse_thresholds

    thresholds = [one for text in fail_on or () for one in parse_thresholds(text)]
    compared = compare_results(old, new, thresholds, across=across)
    if json:
        print_json(compared)
    else:
        _print(compared)
    failed = compared.with_status("fails", "unknown")
    if failed:
        first, more = failed[0], len(failed) - 1
        raise RefusedError(
            f"{first.bundle}: {first.threshold} "
            + ("does not hold" if first.status == "fails" else "cannot be checked"),
            where=new,
            found=first.why + (f", and {more} more" if more else ""),
        )


def _print(compared: Comparison) -> None:
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    for one in compared.differing:
        line = f"different {one.field}: {one.old} → {one.new}"
        err.print(f"[yellow]warning[/] {escape(line)}", soft_wrap=True)
    for name in dict.fromkeys(change.bundle for change in compared.changes):
        table = Table(box=SIMPLE, pad_edge=False, title=escape(name), title_justify="left")
        table.add_column("", no_wrap=True)
        for title in ("old", "new", "change", "95 % interval"):
            table.add_column(title, justify="right", no_wrap=True)
        for change in compared.changes:
            if change.bundle == name:
                table.add_row(change.metric, *(escape(cell) for cell in _cells(change)))
        out.print(table)
    for which, names in (("OLD", compared.only_old), ("NEW", compared.only_new)):
        if names:
            out.print(escape(f"only in {which}: {', '.join(names)}"), soft_wrap=True)
    for check in compared.checks:
        line = escape(f"{check.bundle} {check.threshold}: {check.why}")
        out.print(f"[{_COLOURS[check.status]}]{check.status}[/] {line}", soft_wrap=True)


def _cells(change: Change) -> tuple[str, str, str, str]:
    """Old, new, change and its interval in words."""
    from edgeseq.report.thresholds import format_value

    if change.old is None or change.new is None or change.worse_by is None:
        return "–", "–", change.why_not or "not measured", ""
    values = (format_value(change.old, change.metric), format_value(change.new, change.metric))
    if change.ratio is not None:
        ends = change.ratio_ci95
        interval = ""
        if ends is not None:
            high = "…" if ends[1] is None else f"{100 * (ends[1] - 1):+.1f}"
            interval = f"{100 * (ends[0] - 1):+.1f} to {high} %"
        return *values, f"{100 * (change.ratio - 1):+.1f} %", interval
    ends = change.worse_by_ci95
    # Shown as a gain is: what is worse by a point is one point less.
    interval = ""
    if ends is not None and ends[1] is not None:
        interval = f"{0.0 - ends[1]:+.2f} to {0.0 - ends[0]:+.2f} pt"
    return *values, f"{0.0 - change.worse_by:+.2f} pt", interval
