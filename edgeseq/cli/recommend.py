"""`edgeseq recommend`: what to ship within limits, and why nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edgeseq.cli.console import JsonOption, out, print_json
from edgeseq.cli.report import ResultsArgument, print_verdict

if TYPE_CHECKING:
    from edgeseq.report.summary import Decided


def recommend(
    results: ResultsArgument,
    *,
    memory: Annotated[
        str | None, typer.Option(help="Peak of the whole process, like 64MB or 61MiB.")
    ] = None,
    model_memory: Annotated[
        str | None, typer.Option(help="Peak beyond the bare runtime, like 16MB.")
    ] = None,
    p50: Annotated[str | None, typer.Option(help="Median time of a query, like 10ms.")] = None,
    p95: Annotated[str | None, typer.Option(help="p95 time of a query, like 20ms.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Model, tokenizer and labels on disk, like 3MB.")
    ] = None,
    cold_start: Annotated[
        str | None, typer.Option(help="From process start to first answer, like 500ms.")
    ] = None,
    max_drop: Annotated[
        str,
        typer.Option(help="Points of the score that may be given up for a cheaper model."),
    ] = "1",
    json: JsonOption = False,
) -> None:
    """Say which model to ship within limits, with the reasons for every model refused.

    Exits with 3 when no model fits. Example:
    edgeseq recommend result.json --memory 64MB --p95 20ms --max-drop 1
    """
    from edgeseq.errors import RefusedError
    from edgeseq.report.budgets import describe_budget, limits_of, parse_budget
    from edgeseq.report.summary import read_and_decide, summarize

    limits = {"memory": memory, "model_memory": model_memory, "p50": p50, "p95": p95,
              "size": size, "cold_start": cold_start, "drop": max_drop}  # fmt: skip
    # A blank inside a value (`--memory "64 MB"`) must not end the item.
    items = [f"{key}={''.join(text.split())}" for key, text in limits.items() if text is not None]
    budget = parse_budget(" ".join(items))
    decided = read_and_decide(results, budget)
    summary = summarize(decided, budget)
    if json:
        print_json({"verdict": summary.verdict, "groups": summary.groups})
    else:
        for one in decided:
            print_verdict(one.summary, several=len(decided) > 1)
            _print_models(one)
    refused = [one.summary.title for one in decided if one.summary.verdict.winner is None]
    if refused or not decided:
        where = "; ".join(refused) or None
        what = "nothing was measured"
        if decided:
            limited = limits_of(budget)
            ending = f"fits {describe_budget(budget)}" if limited else "can be recommended"
            what = f"no model {ending}"
        raise RefusedError(what, where=where, fix="loosen a limit or bring another model")


def _print_models(decided: Decided) -> None:
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from edgeseq.units import format_bytes, format_duration_ms

    verdict = decided.summary.verdict
    reasons = {refusal.bundle: refusal.reasons for refusal in verdict.refused}
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("model", no_wrap=True)
    for name in ("score", "p95", "memory", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    rows = sorted(decided.group.rows, key=lambda row: (-row.rank, row.bundle))
    for row in rows:
        table.add_row(
            escape(row.bundle),
            "–" if row.score is None else row.score_text,
            "–" if row.p95_ms is None else format_duration_ms(row.p95_ms),
            "–" if row.peak_process_bytes is None else format_bytes(row.peak_process_bytes),
            format_bytes(row.size_bytes),
            "[bold green]ships[/]" if row.bundle == verdict.winner else "no",
        )
    out.print(table)
    # Below the table and not in it: reasons are long, and a terminal may be 80 columns wide.
    for row in rows:
        if row.bundle in reasons:
            said = escape("; ".join(reasons[row.bundle]))
            out.print(f"[bold]{escape(row.bundle)}[/]: {said}", soft_wrap=True)
