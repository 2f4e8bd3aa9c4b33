"""Training: an LSTM or a fine-tuned BERT, alone or distilled from a teacher."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from edgeseq.api.data import DatasetSource, resolve_dataset
from edgeseq.api.model import Model, output_folder, resolve_model
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgeseq.suite.training import TrainingRequest


class TrainOptions(TypedDict, total=False):
    """Options of `train`."""

    checkpoint: str | Path
    epochs: int
    seed: int
    seeds: int
    layers: int
    transfer: int
    unlabelled: Sequence[str]
    settings: Mapping[str, Any]
    data_dir: str | Path | None
    checkpoint_interval_s: float | None
    overwrite: bool
    progress: ProgressOption


def train(
    data: DatasetSource,
    *,
    arch: Literal["lstm", "bert"] = "lstm",
    teacher: Model | str | Path | None = None,
    out: str | Path | None = None,
    **options: Unpack[TrainOptions],
) -> Model:
    """Train an LSTM or fine-tune a BERT; the best epoch on the validation split is kept.

    Args:
        data: A data set, or what `load_dataset` takes.
        arch: `lstm`, or `bert` (by default MiniLM-L6).
        teacher: A fine-tuned BERT to distil from.
        out: The trained-model folder to write; by default a temporary one that is removed with
            the model (see `Model.save`).
        checkpoint: BERT weights: a folder or hub id.
        epochs: Passes over the train split.
        seed: The same seed gives the same weights on one machine.
        seeds: Train with this many seeds and keep the best.
        layers: Layers of an LSTM, or how many of a BERT's are kept.
        transfer: With a teacher, learn its logits of this many texts made from the train split.
        unlabelled: With a teacher, learn its logits of these texts too (files or data sets).
        settings: Any other setting by name (docs/formats.md lists them).
        data_dir: Folder of local copies of weights and data.
        checkpoint_interval_s: Save the state beside `out` this often (seconds, 0: every step), so
            that the same call resumes after an interrupt; by default nothing is saved.
        overwrite: Overwrite `out` if it exists.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        InputError: A setting is unknown, out of range or needs a teacher, or training diverged.
        CheckpointError: Weights or teacher cannot be used.
        OutputError: `out` exists or cannot be written.

    Example:
        >>> teacher = es.train(data, arch="bert")
        >>> student = es.train(data, arch="lstm", teacher=teacher)
    """
    if arch not in ("lstm", "bert"):
        raise InputError("unknown", where="arch", found=repr(arch), expected="lstm or bert")
    with progress_of(options.get("progress", "auto")) as callback:
        dataset = resolve_dataset(data, data_dir=options.get("data_dir"), progress=callback)
        request = _request(arch, teacher, options)
        # TensorFlow takes seconds to import.
        from edgeseq.suite.training import train_model

        with output_folder(out, arch) as (path, folder):
            train_model(dataset, path, request, progress=callback)
        return Model(path, _folder=folder)


_NAMED = ("epochs", "seed", "layers", "transfer", "unlabelled")


def _settings(options: TrainOptions) -> dict[str, Any]:
    named = {name: options.get(name) for name in _NAMED}
    return {
        **options.get("settings", {}),
        **{name: value for name, value in named.items() if value is not None},
    }


def _request(
    arch: Literal["lstm", "bert"],
    teacher: Model | str | Path | None,
    options: TrainOptions,
) -> TrainingRequest:
    # TensorFlow takes seconds to import.
    with quiet_tensorflow():
        from edgeseq.suite.training import TrainingRequest
    checkpoint, data_dir = options.get("checkpoint"), options.get("data_dir")
    return TrainingRequest(
        arch=arch,
        settings=_settings(options),
        teacher=None if teacher is None else resolve_model(teacher).source,
        checkpoint=None if checkpoint is None else str(checkpoint),
        seeds=options.get("seeds", 1),
        data_dir=None if data_dir is None else Path(data_dir),
        checkpoint_interval_s=options.get("checkpoint_interval_s"),
        overwrite=options.get("overwrite", False),
    )


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Hides what TensorFlow's native code prints while it is imported: lines about CUDA."""
    # Errors are raised; what it logs as an error is "oneDNN does not support …".
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as devnull:
            os.dup2(devnull.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
