"""Training: an LSTM or a fine-tuned BERT, alone or distilled from a teacher."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from edgeseq.api.data import DatasetSource, resolve_dataset
from edgeseq.api.model import Model, output_folder, resolve_model
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.errors import InputError
from edgeseq.formats.trained_model import Arch
from edgeseq_converters.training import settings as training
from edgeseq_converters.training.loop import PausedTraining

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TrainingOptions(TypedDict, total=False):
    """Options of `train`."""

    checkpoint: str | Path
    epochs: int
    seed: int
    seeds: int
    layers: int
    transfer_size: int
    unlabelled: Sequence[str]
    settings: Mapping[str, Any]
    data_dir: str | Path | None
    checkpoint_interval_s: float | None
    max_seconds: float | None
    overwrite: bool
    progress: ProgressOption


def train(
    data: DatasetSource,
    *,
    arch: Arch = "lstm",
    teacher: Model | str | Path | None = None,
    out: str | Path | None = None,
    **options: Unpack[TrainingOptions],
) -> Model:
    """Train an LSTM or fine-tune a BERT; the best epoch on the validation split is kept.

    Args:
        data: A data set, or what `load_dataset` takes.
        arch: `lstm`; `bert` (by default MiniLM-L6); or `bag`, pooled embeddings without recurrence.
        teacher: A fine-tuned BERT to distil from.
        out: The trained-model folder to write; by default a temporary one that is removed with
            the model (see `Model.save`).
        checkpoint: BERT weights: a folder or hub id.
        epochs: Passes over the train split.
        seed: The same seed gives the same weights on one machine.
        seeds: Train with this many seeds and keep the best.
        layers: Layers of an LSTM, or how many of a BERT's are kept.
        transfer_size: With a teacher, learn its logits of this many texts made from the train
            split.
        unlabelled: With a teacher, learn its logits of these texts too (files or data sets).
        settings: Any other setting by name (docs/formats.md lists them).
        data_dir: Folder of local copies of weights and data.
        checkpoint_interval_s: Save the state beside `out` this often (seconds, 0: every step), so
            that the same call resumes after an interrupt; by default nothing is saved.
        max_seconds: Pause after this time with the state saved; the same call resumes.
        overwrite: Overwrite `out` if it exists.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        InputError: A setting is unknown, out of range or needs a teacher, training diverged, or it
            paused after `max_seconds`.
        CheckpointError: Weights or teacher cannot be used.
        OutputError: `out` exists or cannot be written.

    Examples:
        >>> teacher = es.train(data, arch="bert")
        >>> student = es.train(data, arch="lstm", teacher=teacher)
    """
    model = run_training(data, arch, teacher, out, options)
    if isinstance(model, Model):
        return model
    raise InputError(
        "the training is paused",
        where=model.path,
        found=f"step {model.step} of {model.total}",
        fix="call train again with the same out to resume",
    )


def run_training(
    data: DatasetSource,
    arch: str,
    teacher: Model | str | Path | None,
    out: str | Path | None,
    options: TrainingOptions,
) -> Model | PausedTraining:
    """As `train`; a training that used up `max_seconds` is a result."""
    check_options(options, TrainingOptions)
    checkpoint, data_dir = options.get("checkpoint"), options.get("data_dir")
    with progress_of(options.get("progress", "auto")) as callback:
        dataset = resolve_dataset(data, data_dir=data_dir, progress=callback)
        settings = check_settings(options, arch, dataset.task, has_teacher=teacher is not None)
        run_options = training.TrainerOptions(
            teacher=None if teacher is None else resolve_model(teacher).source,
            checkpoint=None if checkpoint is None else str(checkpoint),
            data_dir=None if data_dir is None else Path(data_dir),
            checkpoint_interval_s=options.get("checkpoint_interval_s"),
            max_seconds=options.get("max_seconds"),
            overwrite=options.get("overwrite", False),
        )
        start_tensorflow()  # takes seconds, so only where it is needed
        from edgeseq_converters.training import trainer  # noqa: PLC0415 - TensorFlow takes seconds, so only where it is needed

        num_seeds = options.get("seeds", 1)
        with output_folder(out, arch) as (path, folder):
            if num_seeds > 1:
                trainer.train_best_seed(
                    dataset, path, settings, run_options, num_seeds=num_seeds, progress=callback
                )
                return Model(path, _folder=folder)
            trained = trainer.train(dataset, path, settings, run_options, progress=callback)
        return trained if isinstance(trained, PausedTraining) else Model(path, _folder=folder)


def check_settings(
    options: TrainingOptions, arch: str, task: str, *, has_teacher: bool
) -> training.AnySettings:
    """The settings among the options; raises `InputError` for one that does not fit."""
    settings = training.read_settings(_settings(options), arch, task)
    training.check_teacher(settings, has_teacher=has_teacher)
    return settings


_NAMED = ("epochs", "seed", "layers", "transfer_size", "unlabelled")


def _settings(options: TrainingOptions) -> dict[str, Any]:
    named = {name: options.get(name) for name in _NAMED}
    return {
        **options.get("settings", {}),
        **{name: value for name, value in named.items() if value is not None},
    }


def start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, without the messages of its native code."""
    # Errors are raised; what it logs as an error is "oneDNN does not support …".
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        import tensorflow as tf  # noqa: PLC0415 - TensorFlow takes seconds, so only where it is needed

        tf.config.list_logical_devices()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
