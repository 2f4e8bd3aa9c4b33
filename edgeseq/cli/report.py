"""`edgeseq report`: the deployment report of result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import edgeseq as es
from edgeseq.cli.console import JsonOption, out, print_json, print_line, print_note, progress_bars
from edgeseq.installation import command_with_extras
from edgeseq.reporting.deployment_report import Report, can_draw

ResultsArgument = Annotated[
    list[Path], typer.Argument(help="Result files from `edgeseq bench`.", metavar="RESULT…")
]


def report(
    results: ResultsArgument,
    *,
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder to write; replaces an earlier report in it.")
    ],
    budget: Annotated[
        str,
        typer.Option(
            help="Limits: memory (working memory, or the peak without it), model_memory, p50, p95, "
            "size, cold_start; drop: points of the score that a cheaper model may lose."
        ),
    ] = "",
    examples: Annotated[
        Path | None,
        typer.Option(help="A measured bundle: adds test texts on which two models disagree."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="baseline.json of a suite's run: adds what a linear model reaches."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Report which model to ship and why: an HTML page, Markdown with pictures, and a JSON summary.

    Example: edgeseq report result.json --out report --budget "memory=64MB p95=20ms"
    """
    deployment = es.report(results, budget=budget, examples=examples, baseline=baseline)
    with progress_bars() as progress:
        page = deployment.save(out_folder, progress=progress)
    if not can_draw():
        print_note(
            f"written without page and pictures; for those: {command_with_extras(['report'])}, "
            "here or on another machine that has the result files"
        )
    if json:
        print_json(deployment.summary)
        return
    print_verdicts(deployment)
    print_line(str(page))


def print_verdicts(deployment: Report) -> None:
    """Prints verdict and boundary of each group, below its title where there are several."""
    for view in deployment.views:
        if len(deployment.views) > 1:
            out.print(f"[bold]{escape(view.title)}, {escape(view.data)}[/]", soft_wrap=True)
        style = "green" if view.winner else "red"
        headline, reason = view.verdict
        out.print(f"[bold {style}]{escape(headline)}[/] {escape(reason)}")
        out.print(escape(view.boundary))
        for remark in view.remarks:
            out.print(escape(remark))
