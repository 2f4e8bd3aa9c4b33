"""What trained-model folders say of their training, as numbers for docs/evidence.md.

A test part is looked at once; what was tried is seen in the scores of the development part. Each
folder's record is kept in benchmarks/results/trained/, one file for a task and data set, so that
settings that were given up stay on record beside those that were kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.storage import read_json, write_json
from edgeseq.formats.trained_model import TrainedModel, Training
from edgeseq.tasks.scoring import metric_of

SHOWN_SETTINGS = (
    "epochs", "learning_rate", "batch_size", "dropout", "frozen_layers", "layers", "hidden_size",
    "embedding_size", "min_piece_count", "transfer_size", "token_state_weight",
    "hard_label_weight", "score_noise", "layer_decay", "context_length", "max_tokens",
    "word_feature_size",
)  # fmt: skip
"""Settings that the table shows, where the record has them and they are not zero."""
_OF_TEACHERS = {"hard_label_weight", "token_state_weight", "transfer_size"}


class TrainedRecord(msgspec.Struct, frozen=True):
    """One training: `dev_scores` are values of the task's metric on the development part, one a
    pass; `seconds` is wall-clock time, other work of the machine included."""

    name: str
    arch: str
    parameters: int
    seed: int
    settings: dict[str, Any]
    dev_scores: tuple[float, ...]
    seconds: float
    teacher: str | None


class TaskTrainings(msgspec.Struct, frozen=True):
    """A file below benchmarks/results/trained/."""

    task: str
    data_name: str
    data_sha256: str
    models: tuple[TrainedRecord, ...]
    schema_version: int = 1


def trained(model: TrainedModel) -> TaskTrainings:
    """The record of one model, in numbers alone; raises `ResultError` for one that was not trained
    here."""
    manifest, record = model.manifest, model.manifest.training
    if not record.epochs:
        raise ResultError("was not trained by edgeseq", where=manifest.name)
    trained_record = TrainedRecord(
        name=manifest.name,
        arch=manifest.arch,
        parameters=model.parameters,
        seed=record.seed,
        settings=_shown_settings(record),
        dev_scores=record.dev_scores or (record.dev_score,),
        seconds=record.seconds,
        teacher=record.teacher,
    )
    return TaskTrainings(manifest.task, record.data_name, record.data_sha256, (trained_record,))


def _shown_settings(record: Training) -> dict[str, Any]:
    """The settings that made a difference: not those of a teacher where there is none."""
    without = set() if record.teacher else _OF_TEACHERS
    settings = {name: record.settings.get(name) for name in SHOWN_SETTINGS if name not in without}
    if settings.get("layer_decay") == 1:
        del settings["layer_decay"]
    return {name: value for name, value in settings.items() if value}


def merged(known: Sequence[TaskTrainings], new: Sequence[TaskTrainings]) -> list[TaskTrainings]:
    """All of them, each training once; raises `ResultError` where the data differ under a name."""
    by_key: dict[tuple[str, str], TaskTrainings] = {}
    for trainings in (*known, *new):
        key = (trainings.task, trainings.data_name)
        before = by_key.setdefault(key, msgspec.structs.replace(trainings, models=()))
        if before.data_sha256 != trainings.data_sha256:
            raise ResultError(
                f"other examples of {trainings.data_name} than in another training",
                where=", ".join(model.name for model in trainings.models),
                found=trainings.data_sha256,
                expected=before.data_sha256,
            )
        new_models = tuple(model for model in trainings.models if model not in before.models)
        by_key[key] = msgspec.structs.replace(before, models=before.models + new_models)
    return [by_key[key] for key in sorted(by_key)]


def read_trainings(folder: Path) -> list[TaskTrainings]:
    """The files in `folder`, by name; raises `ResultError` for one that does not fit."""
    return [
        read_json(path, TaskTrainings, error=ResultError) for path in sorted(folder.glob("*.json"))
    ]


def write_trainings(folder: Path, trainings: Sequence[TaskTrainings]) -> None:
    """Writes one file for each task and data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for task_trainings in trainings:
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{task_trainings.task}-{task_trainings.data_name}")
        write_json(folder / f"{name}.json", task_trainings)


def table(trainings: TaskTrainings) -> Iterator[str]:
    """Markdown lines: every training, its settings and its score on the development part."""
    metric = metric_of(trainings.task)
    yield f"Trainings tried on {trainings.data_name}, scored on the dev split after each epoch:"
    yield ""
    yield f"| model | settings | {metric.title}, by epoch | minutes |"
    yield "|---|---|---|---|"
    for model in trainings.models:
        settings = [f"{name} {value}" for name, value in model.settings.items()]
        settings += [f"teacher {model.teacher}"] * bool(model.teacher)
        scores = ", ".join(metric.show(score) for score in model.dev_scores)
        size = f"{model.name} ({model.arch}, {model.parameters / 1e6:.1f} M)"
        yield f"| {size} | {', '.join(settings)} | {scores} | {model.seconds / 60:.0f} |"
