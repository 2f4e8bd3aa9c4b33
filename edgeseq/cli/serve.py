"""`edgeseq serve`: the report as a page that follows a running measurement."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.cli.console import print_line, print_note
from edgeseq.interrupts import SignalInterrupt
from edgeseq.reporting.deployment_report import Report

_LEAST_PRIORITY = 19


def serve(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="A suite's output folder, result files (also of a run that has not ended), or a "
            "folder of them.",
            metavar="PATH…",
        ),
    ],
    *,
    budget: Annotated[
        str | None,
        typer.Option(help="Limits as for `edgeseq report`; default: those of the suite."),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; default: any that is free.", metavar="PORT")
    ] = 0,
) -> None:
    """Serve the report on this machine, and renew it while a suite or a fleet is measured.

    The page is read-only and answers to this machine alone. Ctrl-C ends it.

    Example: edgeseq serve runs/mine --budget "memory=64MB p95=20ms"
    """
    # What is measured on this machine goes first.
    os.nice(_LEAST_PRIORITY)
    try:
        es.serve(
            paths,
            budget=budget,
            port=port,
            on_address=print_line,
            on_report=_print_verdicts,
        )
    except SignalInterrupt:
        raise
    except KeyboardInterrupt:
        print_note("ended")


def _print_verdicts(report: Report) -> None:
    for view in report.views:
        print_note(f"{view.title}: {view.headline}")
