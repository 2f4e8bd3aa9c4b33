"""The steps `train`: one model, with one seed or the best of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.trained_model import Arch
from edgeseq.progress import ProgressCallback
from edgeseq.suite.jobs.data import DataArguments, load_unchanged
from edgeseq.suite.training import TrainingRequest, train_model
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.training.checkpoints import EVERY_S


class TrainArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a training step reads and writes; the state is saved beside `out`, to be resumed."""

    name: str
    arch: Arch
    task: str
    settings: dict[str, Any]
    data: DataArguments
    data_sha256: str
    out: str
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    teacher: str | None = None
    seeds: int = 1


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Trains and writes the trained-model folder `out`."""
    request = from_builtins(arguments, TrainArguments)
    data = request.data
    model = train_model(
        load_unchanged(data, request.data_sha256, progress),
        Path(request.out),
        TrainingRequest(
            arch=request.arch,
            settings=request.settings,
            name=request.name,
            teacher=None if request.teacher is None else Path(request.teacher),
            checkpoint=request.checkpoint,
            checkpoint_sha256=request.checkpoint_sha256,
            seeds=request.seeds,
            data_dir=None if data.data_dir is None else Path(data.data_dir),
            checkpoint_interval_s=EVERY_S,
            overwrite=True,
        ),
        progress=progress,
    )
    score = model.manifest.training.dev_score
    return {
        "parameters": model.parameters,
        "dev_score": score,
        "note": f"{model.parameters / 1e6:.1f} M parameters, "
        f"{metric_of(request.task).show(score)} on dev",
    }
