"""`edgeseq report`: the deployment report of result files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, out, print_json, print_note, progress_bars

if TYPE_CHECKING:
    from edgeseq.report.summary import GroupSummary

ResultsArgument = Annotated[
    list[Path], typer.Argument(help="Result files that `edgeseq bench` wrote.", metavar="RESULT…")
]


def report(
    results: ResultsArgument,
    *,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder to write; an earlier report in it is replaced.")
    ],
    budget: Annotated[
        str,
        typer.Option(
            help="Limits: memory (whole process), model_memory, p50, p95, size, cold_start; "
            "drop: points of the score that may be given up for a cheaper model."
        ),
    ] = "",
    examples: Annotated[
        Path | None,
        typer.Option(help="A measured bundle: shows some of its texts on which models disagree."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write what to ship, and why: a page, Markdown with pictures, and a summary for machines.

    Example: edgeseq report result.json --out report --budget "memory=64MB p95=20ms"
    """
    from edgeseq.formats.bundle import read_bundle
    from edgeseq.report.budgets import parse_budget
    from edgeseq.report.write import can_draw, write_report

    parsed = parse_budget(budget)
    texts = read_bundle(examples).read_examples() if examples is not None else None
    with progress_bars() as progress:
        summary = write_report(
            results, out_folder, budget=parsed, examples=texts, progress=progress
        )
    if not can_draw():
        print_note(
            "written without page and pictures; for those: pip install 'edgeseq[report]', "
            "here or on another machine that has the result files"
        )
    if json:
        print_json(summary)
        return
    for group in summary.groups:
        print_verdict(group, several=len(summary.groups) > 1)
    page = out_folder / ("report.html" if can_draw() else "report.md")
    out.print(f"{page}", markup=False, soft_wrap=True)


def print_verdict(group: GroupSummary, *, several: bool) -> None:
    """Prints a group's verdict and boundary, below its title where there are several."""
    from rich.markup import escape

    verdict = group.verdict
    if several:
        out.print(f"[bold]{escape(group.title)}, {escape(group.data)}[/]", soft_wrap=True)
    style, headline = ("green", f"Ship {verdict.winner}") if verdict.winner else (
        "red", "Nothing to ship"
    )  # fmt: skip
    out.print(f"[bold {style}]{escape(headline)}.[/] {escape(verdict.why)}")
    out.print(escape(group.boundary))
