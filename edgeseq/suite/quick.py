"""Suites by name, and `edgeseq run --quick`: the same suite on a data subset, in minutes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.errors import InputError
from edgeseq.formats.storage import check_path
from edgeseq.suite.schema import BenchSection, DataSection, ModelSection, Suite
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.registry import task_of

TRAIN_TEXTS, OTHER_TEXTS = 1_000, 200
"""What MiniLM-L6 goes through once in about a minute on two cores; 200 texts tell scores apart
that differ by ten points."""
TRANSFER_TEXTS = 200
"""Texts made of the train part, each of which the teacher must label."""
EPOCHS = {"bert": 1, "lstm": 4, "bag": 4}
QUICK_PASS = 0.1


def quick_suite(suite: Suite) -> Suite:
    """The suite with few texts and epochs, one seed per model, and a quick benchmark.

    Its models differ from the full suite's; the result and the report say so. The suite's settings
    must have been checked (`edgeseq.suite.checks`).
    """
    data: DataSection = msgspec.structs.replace(
        suite.data, max_train=TRAIN_TEXTS, max_dev=OTHER_TEXTS, max_test=OTHER_TEXTS
    )
    bench = BenchSection(
        quick=True,
        threads=suite.bench.threads,
        runners=suite.bench.runners,
        working_memory=suite.bench.working_memory,
    )
    shorter = _quick_stream if task_of(suite.task).is_streaming else _quick_model
    models = tuple(shorter(model) for model in suite.models)
    return msgspec.structs.replace(
        suite, name=f"{suite.name}-quick", data=data, bench=bench, models=models
    )


def _quick_model(model: ModelSection) -> ModelSection:
    epochs = min(model.train.get("epochs", EPOCHS[model.arch]), EPOCHS[model.arch])
    train = {**model.train, "epochs": epochs}
    if model.arch != "bert" and "min_piece_count" not in train:
        train["min_piece_count"] = 1  # of so few texts, most pieces are seen once
    if train.get("transfer_size"):
        train["transfer_size"] = min(train["transfer_size"], TRANSFER_TEXTS)
    train.pop("unlabelled", None)  # tens of thousands of texts
    return msgspec.structs.replace(model, train=train, seeds=1)


def _quick_stream(model: ModelSection) -> ModelSection:
    """A model of the next word: a tenth of a pass over the text, 200,000 words of WikiText-2."""
    train = {**model.train, "epochs": QUICK_PASS, "warmup_steps": 20}
    return msgspec.structs.replace(model, train=train, seeds=1)


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
