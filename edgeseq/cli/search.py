"""`edgeseq search`: the best model within a budget."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import edgeseq as es
from edgeseq.api.export import check_export_target
from edgeseq.api.search import SearchKeywords, SearchOutput
from edgeseq.cli.console import (
    JsonOption,
    err,
    out,
    print_error,
    print_json,
    print_line,
    print_note,
    progress_bars,
)
from edgeseq.cli.run import DataDirOption, SchedulerOption, StoreOption, closing_lines
from edgeseq.errors import RefusedError
from edgeseq.formats.search_record import SearchTrial
from edgeseq.tasks.registry import get_task
from edgeseq.tasks.scoring import metric_of


def search(
    task: Annotated[
        str,
        typer.Argument(
            help="Task: text-classification, multilabel-classification or token-classification "
            "of your data; sentiment, pos, ner or coref."
        ),
    ],
    *,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            help='Limits such as "memory=16MB p95=5ms size=1MB"; also model_memory, p50, '
            "cold_start, and drop: points of the score that a cheaper model may lose.",
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Name from `edgeseq data list`, or a file; default: the task's first data set.",
        ),
    ] = None,
    dev: Annotated[
        Path | None, typer.Option("--dev", help="File of the dev split; default: part of --data.")
    ] = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="File of the test split; default: part of --data.")
    ] = None,
    text_column: Annotated[
        str, typer.Option("--text-column", help="Column of the text: a name, or a number from 1.")
    ] = "text",
    label_column: Annotated[
        str, typer.Option("--label-column", help="Column of the label: a name, or a number from 1.")
    ] = "label",
    out_dir: Annotated[
        Path, typer.Option("--out", help="Output folder; that of a stopped search resumes.")
    ] = Path("edgeseq-search"),
    trials: Annotated[
        int,
        typer.Option("--trials", min=1, help="Candidates to try, those of earlier runs included."),
    ] = 50,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout", help="End the trials after this time, such as 30min or 2h, and report."
        ),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(
            "--family",
            help="bag, lstm or bert; default: bag and lstm, and bert with --teacher or "
            "--checkpoint. Repeatable.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", help="Trained BERT that candidates may be distilled from."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="Start of BERTs and tokenizers: a folder or hub id."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="Passes over the train split of a whole training."),
    ] = None,
    runner: Annotated[
        str, typer.Option("--runner", help="Program that is measured: native or python.")
    ] = "native",
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="Database for Optuna, such as sqlite:///study.db; default: a file in --out.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the sampler.")] = 0,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", help="Export the winner to OUT/export: mediapipe, web, micro or native."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    scheduler: SchedulerOption = None,
    store: StoreOption = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smoke run: a data subset and few epochs (minutes).")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Search for the best model of your data within a budget; running it again resumes.

    Exits with 3 when nothing fits. Example:
    edgeseq search sentiment --data reviews.csv --budget "memory=16MB p95=5ms size=1MB" --timeout 2h
    """
    get_task(task)
    metric = metric_of(task)

    def print_trial(trial: SearchTrial) -> None:
        score = "" if trial.dev_score is None else f"{metric.show(trial.dev_score)} on dev"
        note = score or trial.reason
        err.print(
            f"trial {trial.number}: {trial.model} {trial.recipe} {trial.outcome}, "
            f"{trial.seconds:.0f} s, {note}",
            soft_wrap=True,
            markup=False,
        )

    options: SearchKeywords = {
        "trials": trials,
        "timeout": timeout,
        "families": family or (),
        "teacher": teacher,
        "checkpoint": checkpoint,
        "epochs": epochs,
        "runner": runner,
        "storage": storage,
        "seed": seed,
        "quick": quick,
        "text_column": text_column,
        "label_column": label_column,
        "data_dir": data_dir,
        "scheduler": scheduler,
        "store": store,
        "on_trial": print_trial,
    }
    if dev is not None:
        options["dev"] = dev
    if test is not None:
        options["test"] = test
    if export is not None:
        check_export_target(export)
    try:
        # Nothing may move on the screen by itself while a model is measured.
        with progress_bars(still=True) as progress:
            options["progress"] = progress
            found = es.search(task, data, budget=budget, out=out_dir, **options)
    except KeyboardInterrupt:
        print_error("interrupted; finished trials are kept: run it again to resume")
        raise typer.Exit(130) from None
    _print_output(found, out_dir, json=json)
    disturbance = found.run.disturbance
    if found.winner is None:
        raise RefusedError(
            "the finalists could not be measured"
            if disturbance
            else "none of the finalists can ship after the full measurement",
            where=out_dir,
            found=disturbance or found.run.report["verdict"]["why"],
            fix="run it again on an idle machine: it measures them again, and trains nothing"
            if disturbance
            else "raise --trials",
        )
    if disturbance:
        print_note(f"run it again on an idle machine, which measures again: {disturbance}")
    if export is not None:
        exported = es.export(found.winner, export, out=out_dir / "export", overwrite=True)
        print_line(f"export   {exported.path}")


def _print_output(found: SearchOutput, out_dir: Path, *, json: bool) -> None:
    answer = found.run.report
    if json:
        print_json(
            {
                "root": str(out_dir),
                "trials": found.trials,
                "finalists": found.run.record.finalists,
                "verdict": answer["verdict"],
            }
        )
        return
    headline, *lines = closing_lines(
        out_dir, answer, found.run.seconds, found.run.peak_memory_bytes
    )
    out.print()
    out.print(headline, markup=False, style="bold", soft_wrap=True)
    for line in lines:
        print_line(line)
