"""`edgeseq train`: trains or fine-tunes one model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeseq.cli.console import (
    JsonOption,
    mute_native_stderr,
    out,
    print_json,
    print_note,
    progress_bars,
)
from edgeseq.cli.train_runs import spread_of_seeds, train_several, training_of

if TYPE_CHECKING:
    from edgeseq.formats.trained_model import TrainedModel


def train(
    task: Annotated[str, typer.Argument(help="Task: sentiment, pos, ner, coref or lm.")],
    *,
    arch: Annotated[str, typer.Option("--arch", help="Architecture: lstm or bert.")],
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
    transfer: Annotated[
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
            "one text per line, or as --data). Repeatable.",
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
    keep_every: Annotated[
        float,
        typer.Option(
            min=0,
            help="Save a checkpoint beside --out every N seconds (0: every step); the same "
            "command resumes from it.",
        ),
    ] = 60.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite the output if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train an LSTM or fine-tune a BERT.

    Example: edgeseq train sentiment --arch lstm --teacher models/minilm --out models/lstm
    """
    from edgeseq.datasets.registry import default_name, load_dataset
    from edgeseq.errors import InputError
    from edgeseq.tasks.registry import get_task
    from edgeseq_converters.training.settings import BertSettings, LstmSettings, read_settings

    get_task(task)
    data = default_name(task) if data is None else data
    if arch not in ("lstm", "bert"):
        raise InputError("unknown", where="--arch", found=repr(arch), expected="lstm or bert")
    if task == "lm":
        from edgeseq.cli.train_lm import train_next_word

        if transfer or unlabelled or seeds > 1:
            raise InputError(
                "--transfer, --unlabelled and --seeds are not for models of the next word",
                fix="leave them out",
            )
        given = _settings(setting or [], epochs=epochs, seed=seed, layers=layers)
        train_next_word(
            arch,
            out_dir,
            given,
            data=data,
            data_dir=data_dir,
            options={
                "checkpoint": checkpoint,
                "teacher": teacher,
                "keep_every_s": keep_every,
                "overwrite": overwrite,
            },
            json=json,
        )
        return
    named = {"epochs": epochs, "seed": seed, "layers": layers, "transfer": transfer}
    values = _settings(setting or [], unlabelled=unlabelled or None, **named)
    bert = read_settings(values, BertSettings, task) if arch == "bert" else None
    lstm = read_settings(values, LstmSettings, task) if arch == "lstm" else None
    with progress_bars() as report:
        dataset = load_dataset(data, task=task, data_dir=data_dir, progress=report)
    _start_tensorflow()
    with progress_bars() as report:
        common: dict[str, Any] = {
            "teacher": teacher,
            "data_dir": data_dir,
            "keep_every_s": keep_every,
            "progress": report,
        }
        if checkpoint is not None:
            common["checkpoint"] = checkpoint
        settings = bert or lstm
        if seeds == 1:
            train_one = training_of(arch)
            model = train_one(dataset, out_dir, settings=settings, overwrite=overwrite, **common)
        else:
            model = train_several(
                arch, dataset, settings, out_dir, count=seeds, overwrite=overwrite, options=common
            )
    _say(model, out_dir, json=json)


def _start_tensorflow() -> None:
    """Imports TensorFlow without its greeting: lines about CUDA where there is none."""
    import os

    # What fails comes as an exception; what it logs as an error is "oneDNN does not support …".
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import edgeseq_converters  # noqa: F401 - sets what TensorFlow reads when it is imported

    with mute_native_stderr():
        import tensorflow as tf

        tf.config.list_logical_devices()


def _settings(given: list[str], **named: int | list[str] | None) -> dict[str, Any]:
    """The settings as a table, values read as JSON (`0.1`, `true`) or else as a word."""
    import msgspec

    from edgeseq.errors import InputError

    values: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals:
            raise InputError("is not NAME=VALUE", where="--set", found=repr(item))
        try:
            values[name] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            values[name] = text  # a bare word is a string
    return values


def _say(model: TrainedModel, out_dir: Path, *, json: bool) -> None:
    if json:
        print_json(model.manifest)
        return
    training = model.manifest.training
    out.print(
        f"{model.manifest.name}: {training.dev_score:.1%} on the development part, "
        f"{model.parameters:,} parameters, {training.seconds:.0f} s",
        markup=False,
    )
    if training.seed_scores:
        out.print(spread_of_seeds(training.seed_scores), markup=False)
    print_note(f"next: edgeseq convert {out_dir} --out bundles/{model.manifest.name}")
