"""`edgeseq train`: train or fine-tune one model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

import edgeseq as es
from edgeseq.api.train import TrainingOptions, check_settings, run_training
from edgeseq.cli.console import (
    JsonOption,
    out,
    print_json,
    print_note,
    progress_bars,
)
from edgeseq.datasets.registry import default_name
from edgeseq.errors import InputError
from edgeseq.formats.trained_model import ModelManifest
from edgeseq.tasks.registry import get_task
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.training.loop import PausedTraining


def train(
    task: Annotated[
        str,
        typer.Argument(
            help="Task: text-classification, multilabel-classification or token-classification "
            "of your data; sentiment, pos, ner, coref or lm."
        ),
    ],
    *,
    arch: Annotated[
        str, typer.Option("--arch", help="lstm, bert, or bag: pooled embeddings, no recurrence.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Trained-model folder to write.")],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Name from `edgeseq data list`, or a file; default: the task's first data set.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", help="Trained BERT to distil an LSTM or a smaller BERT from."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="BERT weights: all-MiniLM-L6-v2, a folder or a hub id."),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of layers of an LSTM, or to keep of a BERT."),
    ] = None,
    transfer_size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With a teacher: also train on its logits for N texts "
            "derived from the training texts.",
        ),
    ] = None,
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            "--unlabelled",
            help="With a teacher: also train on its logits for these texts (a .txt file with "
            "one text per line, or as --data; of wikitext2 its sentences). Repeatable.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the train split.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed; the same seed gives the same weights.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Train with N seeds and keep the best model on the dev split."),
    ] = 1,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as NAME=VALUE. Repeatable."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="EDGESEQ_DATA",
            help="Folder with local copies of data sets and weights.",
        ),
    ] = None,
    checkpoint_interval: Annotated[
        float,
        typer.Option(
            min=0,
            help="Save a checkpoint beside --out every N seconds (0: every step); the same "
            "command resumes from it.",
        ),
    ] = 60.0,
    max_seconds: Annotated[
        float | None,
        typer.Option(help="Pause after this time; the same command resumes the training."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train an LSTM or fine-tune a BERT.

    Example: edgeseq train sentiment --arch lstm --teacher models/minilm --out models/lstm
    """
    get_task(task)
    options: TrainingOptions = {
        "settings": _parse_settings(setting or [])
        | {
            name: value
            for name, value in {
                "epochs": epochs,
                "seed": seed,
                "layers": layers,
                "transfer_size": transfer_size,
                "unlabelled": unlabelled,
            }.items()
            if value is not None
        },
        "seeds": seeds,
        "data_dir": data_dir,
        "checkpoint_interval_s": checkpoint_interval,
        "max_seconds": max_seconds,
        "overwrite": overwrite,
    }
    if checkpoint is not None:
        options["checkpoint"] = checkpoint
    # Before data and TensorFlow are loaded, which takes seconds.
    check_settings(options, arch, task, has_teacher=teacher is not None)
    with progress_bars() as progress:
        options["progress"] = progress
        dataset = es.load_dataset(
            data or default_name(task), task=task, data_dir=data_dir, progress=progress
        )
        model = run_training(dataset, arch, teacher, out_dir, options)
    if json:
        print_json(model if isinstance(model, PausedTraining) else model.manifest)
    elif isinstance(model, PausedTraining):
        out.print(f"paused at step {model.step} of {model.total}: {model.path}", markup=False)
        print_note("next: the same command resumes the training")
    elif model.manifest is not None:
        _print_model(model, model.manifest, out_dir)


def _parse_settings(items: list[str]) -> dict[str, Any]:
    """NAME=VALUE items as a table, values read as JSON (`0.1`, `true`) or else as a string."""
    values: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise InputError("is not NAME=VALUE", where="--set", found=repr(item))
        try:
            values[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            values[name] = text
    return values


def _print_model(model: es.Model, manifest: ModelManifest, out_dir: Path) -> None:
    name, training = manifest.name, manifest.training
    score = metric_of(manifest.task).show(training.dev_score)
    out.print(
        f"{name}: {score} on the development split, {model.parameters:,} parameters, "
        f"{training.seconds:.0f} s",
        markup=False,
    )
    if training.seed_scores:
        out.print(format_seed_scores(training.seed_scores), markup=False)
    print_note(f"next: edgeseq convert {out_dir} --out bundles/{name}")


def format_seed_scores(scores: Mapping[str, float]) -> str:
    """Mean and standard deviation (n - 1) of two seeds or more, in percent, as a line."""
    values = [100 * score for score in scores.values()]
    by_seed = ", ".join(f"{seed}: {score:.1%}" for seed, score in scores.items())
    return (
        f"{len(values)} seeds, mean {statistics.fmean(values):.1f} % ± "
        f"{statistics.stdev(values):.1f} ({by_seed}); the best is kept"
    )
