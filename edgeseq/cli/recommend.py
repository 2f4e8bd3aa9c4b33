"""`edgeseq recommend`: what to ship within limits, and why nothing else."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table

import edgeseq as es
from edgeseq.cli.console import JsonOption, out, print_json
from edgeseq.cli.report import ResultsArgument, print_verdicts
from edgeseq.errors import RefusedError
from edgeseq.reporting.budgets import describe_budget, limits_of
from edgeseq.reporting.format import ABSENT, NOT_MEASURED
from edgeseq.reporting.group_view import GroupView


def recommend(
    results: ResultsArgument,
    *,
    memory: Annotated[
        str | None,
        typer.Option(
            help="Working memory of the whole process (its peak where that was not measured), such "
            "as 64MB or 61MiB."
        ),
    ] = None,
    model_memory: Annotated[
        str | None, typer.Option(help="Peak memory beyond the bare runtime, such as 16MB.")
    ] = None,
    p50: Annotated[
        str | None, typer.Option(help="Median latency of a query, such as 10ms.")
    ] = None,
    p95: Annotated[str | None, typer.Option(help="p95 latency of a query, such as 20ms.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Size of model, tokenizer and labels on disk, such as 3MB.")
    ] = None,
    cold_start: Annotated[
        str | None, typer.Option(help="Time from process start to first prediction, such as 500ms.")
    ] = None,
    max_drop: Annotated[
        str, typer.Option(help="Points of the score that a cheaper model may lose.")
    ] = "1",
    runner: Annotated[
        str | None,
        typer.Option(
            help="Decide over models measured in `native` or `python`; by default native, if "
            "measured."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Recommend a model within limits, with the reasons against every other model.

    Exits with 3 when no model fits. Example:
    edgeseq recommend result.json --memory 64MB --p95 20ms --max-drop 1
    """
    limits = {"memory": memory, "model_memory": model_memory, "p50": p50, "p95": p95,
              "size": size, "cold_start": cold_start}  # fmt: skip
    named = {key: limit for key, limit in limits.items() if limit is not None}
    deployment = es.recommend(results, max_drop=max_drop, runner=runner, **named)
    budget = deployment.budget
    if json:
        summary = deployment.summary
        print_json({"verdict": summary.verdict, "groups": summary.groups})
    else:
        print_verdicts(deployment)
        for view in deployment.views:
            _print_models(view)
    without_winner = [view.title for view in deployment.views if view.winner is None]
    if without_winner or not deployment.views:
        what = "nothing was measured"
        if deployment.views:
            is_limited = limits_of(budget)
            ending = f"fits {describe_budget(budget)}" if is_limited else "can be recommended"
            what = f"no model {ending}"
        where = "; ".join(without_winner) or None
        raise RefusedError(what, where=where, fix="loosen a limit or add another model")


def _print_models(view: GroupView) -> None:
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1))
    table.add_column("model", overflow="fold")
    columns = ("score", "p95", "working\nmemory", "peak\nmemory")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in view.table:
        score, _, p95, working, peak, _, _ = row.figures
        table.add_row(
            escape(row.bundle),
            *(figure.value.replace(NOT_MEASURED, ABSENT) for figure in (score, p95, working, peak)),
            "[bold green]ships[/]" if row.ships else "no",
        )
    out.print(table)
    # Below the table and not in it: reasons are long, and a terminal may be 80 columns wide.
    for row in view.table:
        if row.reasons:
            reasons = escape("; ".join(row.reasons))
            out.print(f"[bold]{escape(row.bundle)}[/]: {reasons}", soft_wrap=True)
