"""Suites by name, and `edgeseq run --quick`: the same suite on a data subset, in minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.errors import InputError
from edgeseq.formats.storage import check_path
from edgeseq.suite.schema import BenchSection, DataSection, ModelSection, Suite
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.task import Task

Value = TypeVar("Value")

OTHER_TEXTS = 200
"""Of the dev and the test split: enough to tell scores apart that differ by ten points."""

TRAIN_TEXTS = {"coref": 1_000, "text-classification": 2_000, "token-classification": 1_000}
"""By task, or by head where it has no number of its own; a passage of `coref` is long."""

QUICK_RECIPES = 2
"""Of each model: float and int8 in every suite of the package."""

_STUDENT: dict[str, Any] = {"hidden_size": 64, "embedding_size": 64, "min_piece_count": 1}
"""A quarter of the time per step; of so few texts, most pieces are seen once."""

_TEXTS: dict[str, dict[str, Any]] = {
    "bert": {"epochs": 2, "batch_size": 16, "learning_rate": 2e-4, "frozen_layers": 2},
    "lstm": _STUDENT | {"epochs": 8, "batch_size": 32, "transfer_size": 2_000},
    "bag": _STUDENT | {"epochs": 8, "batch_size": 32, "transfer_size": 2_000},
}

QUICK_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "coref": {
        "bert": {"epochs": 1, "batch_size": 8, "learning_rate": 2e-4, "layers": 3},
        "lstm": _STUDENT | {"epochs": 8, "batch_size": 32},
    },
    "text-classification": _TEXTS,
    "multilabel-classification": _TEXTS,
    "token-classification": {
        "bert": {"epochs": 3, "batch_size": 8, "learning_rate": 3e-4, "layers": 3}
        | {"frozen_layers": 0, "warmup_ratio": 0.1, "max_tokens": 128},
        "lstm": _STUDENT
        | {"epochs": 12, "batch_size": 16, "learning_rate": 4e-3, "dropout": 0.2}
        | {"patience": 12, "max_tokens": 128},
    },
}
"""By task or head, and architecture: many small steps, so that a model learns from a part of the
texts, where with a full suite's settings it takes so few that all words are `O`. Other settings are
the suite's."""

QUICK_PASS = 0.1


def quick_suite(suite: Suite) -> Suite:
    """The suite with few texts, one model per architecture, one seed and two recipes per model, and
    a quick benchmark.

    Its models differ from the full suite's (`QUICK_SETTINGS`); the result and the report say so.
    The suite's settings must have been checked (`edgeseq.suite.checks`).
    """
    task = task_of(suite.task)
    data: DataSection = msgspec.structs.replace(
        suite.data,
        max_train=_of_task(task, TRAIN_TEXTS, 1_000),
        max_dev=OTHER_TEXTS,
        max_test=OTHER_TEXTS,
    )
    bench = BenchSection(
        quick=True,
        threads=suite.bench.threads,
        runners=suite.bench.runners,
        working_memory=suite.bench.working_memory,
    )
    settings = _of_task(task, QUICK_SETTINGS, {})
    models = tuple(
        _quick_stream(model)
        if task.is_streaming
        else _quick_model(model, settings.get(model.arch, {}))
        for model in _first_of_each_arch(suite.models)
    )
    return msgspec.structs.replace(
        suite, name=f"{suite.name}-quick", data=data, bench=bench, models=models
    )


def _of_task(task: Task, values: Mapping[str, Value], default: Value) -> Value:
    return values.get(task.name, values.get(task.head, default))


def _first_of_each_arch(models: Sequence[ModelSection]) -> list[ModelSection]:
    """The first model of each architecture, and their teachers."""
    first = {model.arch: model for model in reversed(models)}
    needed = {name for model in first.values() for name in (model.name, model.teacher)}
    return [model for model in models if model.name in needed]


def _quick_model(model: ModelSection, settings: Mapping[str, Any]) -> ModelSection:
    train = {**model.train, **settings}
    train.pop("unlabelled", None)  # tens of thousands of texts
    if model.teacher is None:
        train.pop("transfer_size", None)
    return msgspec.structs.replace(
        model, train=train, seeds=1, recipes=model.recipes[:QUICK_RECIPES]
    )


def _quick_stream(model: ModelSection) -> ModelSection:
    """A model of the next word: a tenth of a pass over the text, 200,000 words of WikiText-2."""
    train = {**model.train, "epochs": QUICK_PASS, "warmup_steps": 20}
    return msgspec.structs.replace(
        model, train=train, seeds=1, recipes=model.recipes[:QUICK_RECIPES]
    )


def find_suite(name: str) -> Path:
    """The file that `name` is, or the suite of that name that comes with this package.

    Raises `InputError` when it is neither.
    """
    path = Path(name)
    check_path(path)
    if path.exists() or path.suffix == ".toml":
        return path
    folder = Path(__file__).parent.parent / "suites"
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        raise InputError(
            "no such suite", where=name, expected=f"a .toml file, or {', '.join(known)}"
        )
    return folder / f"{name}.toml"


def take_subset(
    dataset: AnyDataset, *, max_train: int | None, max_dev: int | None, max_test: int | None
) -> AnyDataset:
    """At most so many examples of each split, evenly spread over it; the name says so.

    The data set itself without limits. Raises `DataError` when a label has no example left.
    """
    limits = dict(zip(SPLITS, (max_train, max_dev, max_test), strict=True))
    if all(limit is None or len(getattr(dataset, part)) <= limit for part, limit in limits.items()):
        return dataset
    parts = {}
    for part, limit in limits.items():
        examples = getattr(dataset, part)
        count = len(examples) if limit is None else min(limit, len(examples))
        parts[part] = tuple(examples[n * len(examples) // count] for n in range(count))
    sizes = " / ".join(str(len(parts[part])) for part in SPLITS)
    return make_dataset(
        f"{dataset.name} (a part: {sizes})",
        dataset.task,
        dataset.labels,
        parts,
        licence=dataset.licence,
        origin=dataset.origin,
    )
