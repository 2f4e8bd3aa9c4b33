"""`edgeseq table` and `edgeseq log`: the numbers of results for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.api.result_tables import csv_text, write_csv, write_parquet
from edgeseq.cli.console import print_line
from edgeseq.cli.report import ResultsArgument
from edgeseq.formats.storage import write_bytes
from edgeseq.reporting.trace import trace_json


def table(
    results: ResultsArgument,
    *,
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file; replaces it.")] = None,
    parquet: Annotated[
        Path | None, typer.Option(help="Write a Parquet file (extra `parquet`); replaces it.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            help="Write the times of queries, cold starts and operators as a trace for "
            "ui.perfetto.dev; replaces the file."
        ),
    ] = None,
) -> None:
    """Write the numbers of results as a table: a row per model and runner, units in the names.

    Prints CSV without an option. Example: edgeseq table result.json --csv result.csv
    """
    loaded = [es.load_result(path) for path in results]
    rows = [row for result in loaded for row in result.to_rows()]
    if csv is not None:
        write_csv(csv, rows)
    if parquet is not None:
        write_parquet(parquet, rows)
    if trace is not None:
        write_bytes(trace, trace_json([result.record for result in loaded]))
    if csv is None and parquet is None and trace is None:
        sys.stdout.write(csv_text(rows))


def log(
    results: ResultsArgument,
    *,
    mlflow: Annotated[
        str,
        typer.Option(metavar="URI", help="Where MLflow keeps its runs, such as http://host:5000."),
    ],
    experiment: Annotated[str, typer.Option(help="MLflow's experiment.")] = "edgeseq",
    report: Annotated[
        bool, typer.Option(help="Add the report of each result to its artifacts.")
    ] = True,
) -> None:
    """Log results in MLflow: a run per result with its report, and a nested run per model.

    Example: edgeseq log result.json --mlflow http://127.0.0.1:5000
    """
    for path in results:
        run_id = es.load_result(path).log_mlflow(mlflow, experiment=experiment, report=report)
        print_line(run_id)
