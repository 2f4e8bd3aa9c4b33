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

if TYPE_CHECKING:
    from edgeseq.model_folder import TrainedModel


def train(
    task: Annotated[str, typer.Argument(help="The task: sentiment.")],
    *,
    arch: Annotated[str, typer.Option("--arch", help="lstm or bert.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The trained-model folder to write.")],
    data: Annotated[
        str, typer.Option("--data", help="A name of `edgeseq data list`, or a file.")
    ] = "customer-feedback",
    teacher: Annotated[
        Path | None, typer.Option("--teacher", help="Trained BERT to distil an LSTM from.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", help="BERT weights: all-MiniLM-L6-v2, a folder or a hub id."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the train part.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same weights.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, as NAME=VALUE; may be repeated."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="EDGESEQ_DATA", help="Folder with local copies of data."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what stands there.")] = False,
    json: JsonOption = False,
) -> None:
    """Train an LSTM or fine-tune a BERT.

    Example: edgeseq train sentiment --arch lstm --teacher models/minilm --out models/lstm
    """
    from edgeseq_converters.train.settings import BertSettings, LstmSettings, read_settings

    from edgeseq.data.registry import load_dataset
    from edgeseq.errors import InputError
    from edgeseq.tasks import get_task

    get_task(task)
    if arch not in ("lstm", "bert"):
        raise InputError("unknown", where="--arch", found=repr(arch), expected="lstm or bert")
    if arch == "bert" and teacher is not None:
        raise InputError(
            "distils an LSTM; a BERT takes none", where="--teacher", found=str(teacher)
        )
    values = _settings(setting or [], epochs=epochs, seed=seed)
    bert = read_settings(values, BertSettings) if arch == "bert" else None
    lstm = read_settings(values, LstmSettings) if arch == "lstm" else None
    with progress_bars() as report:
        dataset = load_dataset(data, data_dir=data_dir, report=report)
    _start_tensorflow()
    with progress_bars() as report:
        common: dict[str, Any] = {"data_dir": data_dir, "replace": replace, "report": report}
        if checkpoint is not None:
            common["checkpoint"] = checkpoint
        if bert is not None:
            from edgeseq_converters.train.finetune import train_bert

            model = train_bert(dataset, out_dir, settings=bert, **common)
        else:
            from edgeseq_converters.train.distil import train_lstm

            model = train_lstm(dataset, out_dir, teacher=teacher, settings=lstm, **common)
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


def _settings(given: list[str], **named: int | None) -> dict[str, Any]:
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
    print_note(f"next: edgeseq convert {out_dir} --out bundles/{model.manifest.name}")
