"""One training, for a suite's step and the Python API: with one seed, or the best of several."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.trained_model import Arch, TrainedModel
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq_converters.training.distil import train_lstm
from edgeseq_converters.training.finetune import train_bert
from edgeseq_converters.training.language_model.settings import LmBertSettings, LmSettings
from edgeseq_converters.training.language_model.train_transformer import train_lm_bert
from edgeseq_converters.training.language_model.training import to_the_end, train_lm
from edgeseq_converters.training.seeds import teacher_sha256, train_seeds
from edgeseq_converters.training.settings import BertSettings, LstmSettings, read_settings


class TrainingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to train, and from what.

    `settings` are those of the architecture by name; `checkpoint` are a BERT's weights, and
    `checkpoint_sha256` the identity of a local folder of them.
    """

    arch: Arch
    settings: dict[str, Any] = {}
    name: str | None = None
    teacher: Path | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    seeds: int = 1
    data_dir: Path | None = None
    checkpoint_interval_s: float | None = None
    overwrite: bool = False


def train_model(
    data: AnyDataset,
    out: Path,
    request: TrainingRequest,
    *,
    progress: ProgressCallback = no_progress,
) -> TrainedModel:
    """Trains as requested and writes the trained-model folder `out`.

    Raises `InputError` for settings that do not fit, `CheckpointError` for weights or a teacher
    that cannot be used, and `OutputError` when `out` is in the way.
    """
    train, settings = _trainer(data.task, request)

    def train_seed(seed: int, folder: Path) -> TrainedModel:
        return train(
            data,
            folder,
            teacher=request.teacher,
            settings=msgspec.structs.replace(settings, seed=seed),
            name=request.name or out.name,
            data_dir=request.data_dir,
            overwrite=request.overwrite or request.seeds > 1,
            keep_every_s=request.checkpoint_interval_s,
            progress=progress,
        )

    if request.seeds == 1:
        return train_seed(settings.seed, out)
    facts = {
        "arch": request.arch,
        "data": data.sha256,
        "settings": msgspec.to_builtins(settings),
        "checkpoint": [request.checkpoint, request.checkpoint_sha256],
        "teacher": teacher_sha256(request.teacher),
    }
    return train_seeds(
        train_seed,
        out,
        first=settings.seed,
        count=request.seeds,
        facts=facts,
        overwrite=request.overwrite,
    )


def _trainer(task: str, request: TrainingRequest) -> tuple[Callable[..., TrainedModel], Any]:
    """The function that trains, and its settings."""
    if task_of(task).is_streaming:
        if request.arch == "bert":
            settings: Any = read_settings(request.settings, LmBertSettings)
            return partial(to_the_end, train_lm_bert, checkpoint=request.checkpoint), settings
        return partial(to_the_end, train_lm), read_settings(request.settings, LmSettings)
    if request.arch == "bert":
        settings = read_settings(request.settings, BertSettings, task)
        return partial(train_bert, checkpoint=request.checkpoint), settings
    return train_lstm, read_settings(request.settings, LstmSettings, task)
