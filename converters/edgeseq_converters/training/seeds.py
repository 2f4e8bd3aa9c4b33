"""The same training with several seeds, of which the best on the development split is kept.

The seed alone can move the score of a small model on a small data set by a point. Every seed's
score is recorded (`seed_scores`), so a reader sees the spread beside the best.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import CheckpointError, EdgeseqError
from edgeseq.formats.storage import (
    os_errors_as_output_errors,
    read_json,
    replace_folder,
    sha256_file,
    write_json,
)
from edgeseq.formats.trained_model import ModelManifest, TrainedModel, read_model_folder
from edgeseq_converters.training.checkpoints import check_output, identity_of

_IDENTITY_FILE = "identity.json"


def train_seeds(
    train_seed: Callable[[int, Path], Any],
    out: Path,
    *,
    first: int,
    count: int,
    facts: Mapping[str, Any],
    overwrite: bool = False,
) -> TrainedModel:
    """Trains with the seeds `first` … `first + count - 1` and leaves the best at `out`.

    `train_seed(seed, folder)` writes a trained-model folder. Finished seeds are kept in `OUT.seeds`
    meanwhile; a run with the same `facts` (all that the training depends on, as plain values)
    resumes there after an interrupt. The lowest seed wins a tie.

    Raises `OutputError` when `out` exists, and what `train_seed` raises.
    """
    check_output(out, overwrite=overwrite)
    work = out.with_name(f"{out.name}.seeds")
    _claim(work, identity_of(facts, []))
    scores: dict[int, float] = {}
    for seed in range(first, first + count):
        folder = work / str(seed)
        if not folder.exists():
            train_seed(seed, folder)
        scores[seed] = _manifest(folder).training.dev_score
    best = max(scores, key=lambda seed: (scores[seed], -seed))
    chosen = work / str(best)
    manifest = _manifest(chosen)
    training = msgspec.structs.replace(
        manifest.training, seed_scores={str(seed): score for seed, score in scores.items()}
    )
    write_json(chosen / "model.json", msgspec.structs.replace(manifest, training=training))
    replace_folder(chosen, out)
    with os_errors_as_output_errors(work):
        shutil.rmtree(work)
    return read_model_folder(out)


def teacher_sha256(folder: Path | None) -> str | None:
    """The hash of a teacher's weights; None without a teacher.

    Raises `CheckpointError` when `folder` holds no weights.
    """
    if folder is None:
        return None
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        raise CheckpointError(
            "is not a trained-model folder", where=folder, fix="name what `edgeseq train` wrote"
        )
    return sha256_file(weights)


def _claim(work: Path, identity: str) -> None:
    """Creates the folder of this training, without what another one left there."""
    path = work / _IDENTITY_FILE
    try:
        if path.exists() and read_json(path, dict[str, str])["identity"] == identity:
            return
    except (EdgeseqError, KeyError):
        pass  # damaged: start again
    with os_errors_as_output_errors(work):
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
    write_json(path, {"identity": identity})


def _manifest(folder: Path) -> ModelManifest:
    return read_json(folder / "model.json", ModelManifest, error=CheckpointError)
