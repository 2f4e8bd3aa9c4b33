"""The steps `train`: one model, with one seed or the best of several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq.formats.codec import from_builtins
from edgeseq.formats.trained_model import Arch
from edgeseq.progress import ProgressCallback
from edgeseq.suite.jobs.data import DataArguments, load_unchanged
from edgeseq.suite.teacher_outputs import StoredTeacherOutputs
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.training.checkpoints import INTERVAL_S
from edgeseq_converters.training.settings import TrainerOptions, read_settings
from edgeseq_converters.training.trainer import train_best_seed


class TrainArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a training step reads and writes; the state is saved beside `out`, to be resumed.

    `teacher_outputs` is the store of teachers' outputs.
    """

    name: str
    arch: Arch
    task: str
    settings: dict[str, Any]
    data: DataArguments
    data_sha256: str
    out: str
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None
    unlabelled_sha256: dict[str, str] = {}
    teacher: str | None = None
    teacher_sha256: str | None = None
    seeds: int = 1
    teacher_outputs: str | None = None


def run(arguments: dict[str, Any], progress: ProgressCallback) -> dict[str, Any]:
    """Trains and writes the trained-model folder `out`."""
    request = from_builtins(arguments, TrainArguments)
    data = request.data
    options = TrainerOptions(
        name=request.name,
        teacher=None if request.teacher is None else Path(request.teacher),
        checkpoint=request.checkpoint,
        data_dir=None if data.data_dir is None else Path(data.data_dir),
        overwrite=True,
        checkpoint_interval_s=INTERVAL_S,
        teacher_cache=None
        if request.teacher_outputs is None
        else StoredTeacherOutputs(request.teacher_outputs),
    )
    model = train_best_seed(
        load_unchanged(data, request.data_sha256, progress),
        Path(request.out),
        read_settings(request.settings, request.arch, request.task),
        options,
        num_seeds=request.seeds,
        facts={
            "checkpoint_sha256": request.checkpoint_sha256,
            "unlabelled_sha256": request.unlabelled_sha256,
        },
        progress=progress,
    )
    score = model.manifest.training.dev_score
    return {
        "parameters": model.parameters,
        "dev_score": score,
        "dev_scores": list(model.manifest.training.dev_scores),
        "note": f"{model.parameters / 1e6:.1f} M parameters, "
        f"{metric_of(request.task).show(score)} on dev",
    }
