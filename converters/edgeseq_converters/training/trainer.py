"""Trains a model of any task and architecture; the task's objective is all that differs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.train_logits import of_data
from edgeseq.formats.trained_model import TrainedModel, write_model_folder
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.training.checkpoints import check_output, checkpoint_file
from edgeseq_converters.training.language_model.objective import prepare_language_model
from edgeseq_converters.training.loop import Loop, PausedTraining
from edgeseq_converters.training.record import PreparedTraining, trained_model
from edgeseq_converters.training.seeds import teacher_sha256, train_seeds
from edgeseq_converters.training.sequence_classification import prepare_sequence_classification
from edgeseq_converters.training.settings import (
    AnySettings,
    LmSettings,
    TrainerOptions,
    check_teacher,
)
from edgeseq_converters.training.token_classification import prepare_token_classification

_PREPARE: dict[str, Callable[..., PreparedTraining]] = {
    "text-classification": prepare_sequence_classification,
    "multilabel-classification": prepare_sequence_classification,
    "token-classification": prepare_token_classification,
    "language-modeling": prepare_language_model,
}


def train(
    data: AnyDataset,
    out: Path,
    settings: AnySettings,
    options: TrainerOptions | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> TrainedModel | PausedTraining:
    """Trains on `data.train` and writes the trained-model folder `out`.

    Of a classifier the epoch with the best score (the task's metric) on `data.dev` is kept, and of
    a BERT its logits for the training texts (`edgeseq.formats.train_logits`); a language model's
    score is its perplexity per word on `data.dev`. `data.test` is not used. The same seed gives the
    same weights on the same machine, also when the training was interrupted.

    Args:
        settings: of the architecture and the task (`read_settings`).
        options: the teacher, the checkpoint, how long and how often to write the state.

    Returns:
        The model; a `PausedTraining` only with `options.max_seconds`.

    Raises:
        OutputError: `out` exists or cannot be written. CheckpointError, FetchError: pre-trained
        weights or the teacher cannot be read or used. InputError: settings do not fit the data, the
        checkpoint or the teacher, or training diverges.
    """
    began = time.monotonic()
    options = options or TrainerOptions()
    check_output(out, overwrite=options.overwrite)
    check_teacher(settings, has_teacher=options.teacher is not None)
    name = options.name or out.name
    prepared = _PREPARE[task_of(data.task).head](data, settings, options, progress)
    file = checkpoint_file(out, interval_s=options.checkpoint_interval_s)
    preparation_s = time.monotonic() - began
    loop = Loop(
        prepared.objective,
        data_sha256=data.sha256,
        stage=f"train {name}",
        file=file,
        max_seconds=options.max_seconds,
        progress=progress,
    )
    state = loop.run()
    if isinstance(state, PausedTraining):
        return state
    state.seconds += preparation_s
    model = trained_model(prepared, data, state, name, progress)
    logits: Any = None
    if prepared.keeps_logits:  # those of texts with swapped names follow the others
        logits = of_data(data, state.train_logits[: len(data.train)])
    write_model_folder(out, model, overwrite=options.overwrite, train_logits=logits)
    if file is not None:
        file.remove()
    return model


def train_best_seed(
    data: AnyDataset,
    out: Path,
    settings: AnySettings,
    options: TrainerOptions,
    *,
    num_seeds: int = 1,
    facts: Mapping[str, Any] | None = None,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """The best of `num_seeds` trainings with consecutive seeds (`train_seeds`).

    `facts` are what the training depends on besides data, settings, teacher and checkpoint. Raises
    as `train` does.
    """
    if num_seeds == 1:
        return train_to_completion(data, out, settings, options, progress=progress)
    if isinstance(settings, LmSettings):
        raise InputError("several seeds are not supported for language models", found=num_seeds)

    def train_seed(seed: int, folder: Path) -> TrainedModel:
        return train_to_completion(
            data,
            folder,
            msgspec.structs.replace(settings, seed=seed),
            msgspec.structs.replace(options, name=options.name or out.name, overwrite=True),
            progress=progress,
        )

    inputs = {
        "arch": type(settings).__name__,
        "data": data.sha256,
        "settings": msgspec.to_builtins(settings),
        "checkpoint": str(options.checkpoint),
        "teacher": teacher_sha256(options.teacher),
    }
    return train_seeds(
        train_seed,
        out,
        first=settings.seed,
        count=num_seeds,
        facts={**inputs, **(facts or {})},
        overwrite=options.overwrite,
    )


def train_to_completion(
    data: AnyDataset,
    out: Path,
    settings: AnySettings,
    options: TrainerOptions | None = None,
    *,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """`train` without a pause; raises `InputError` when the options ask for one."""
    model = train(data, out, settings, options, progress=progress)
    if isinstance(model, PausedTraining):
        raise InputError("the training was paused", found=f"step {model.step} of {model.total}")
    return model
