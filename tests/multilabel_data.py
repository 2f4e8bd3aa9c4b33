"""An invented corpus of texts with any number of labels, which their words tell."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.tasks.examples import Dataset, MultilabelExample

LABELS = ("broken", "late", "price")
SAID = {
    "broken": ("broke", "leaks", "damaged"),
    "late": ("week", "days", "march"),
    "price": ("worth", "cent", "waste"),
}
"""Words that the vocabulary of `small_bert_checkpoint` has."""
THINGS = ("kettle", "lamp", "tent", "router", "jacket", "camera")


def invented_rows(count: int, *, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Texts with their labels, in alphabetical order, reproducible by seed."""
    rng = random.Random(seed)  # noqa: S311 - an invented corpus, not a secret
    rows = []
    for number in range(count):
        labels = tuple(label for label in LABELS if rng.random() < 0.35)
        words = ["the", rng.choice(THINGS), "came", "with", "my", "order", str(number)]
        for label in labels:
            words.insert(rng.randrange(len(words) + 1), rng.choice(SAID[label]))
        rows.append((" ".join(words), labels))
    return rows


def multilabel_data(train: int = 240, dev: int = 60, test: int = 40) -> Dataset[Any]:
    """The corpus as a data set."""
    counts = dict(zip(SPLITS, (train, dev, test), strict=True))
    splits = {
        name: [
            MultilabelExample(f"{name}{number}", text, labels)
            for number, (text, labels) in enumerate(invented_rows(counts[name], seed=seed))
        ]
        for seed, name in enumerate(SPLITS)
    }
    return make_dataset(
        "parcels", "multilabel-classification", LABELS, splits, licence="", origin=""
    )


def write_table(path: Path, count: int = 300) -> Path:
    """The corpus as CSV, its labels in one cell."""
    rows = (f"{text},{';'.join(labels)}\n" for text, labels in invented_rows(count, seed=0))
    path.write_text("text,labels\n" + "".join(rows), encoding="utf-8")
    return path


def as_multilabel(data: Dataset[Any]) -> Dataset[Any]:
    """The texts of another data set: two of three keep their label, every second has the first."""
    splits = {
        name: tuple(
            MultilabelExample(
                one.id,
                one.text,
                tuple({*([one.label] * (number % 3 > 0)), *(data.labels[:1] * (number % 2))}),
            )
            for number, one in enumerate(getattr(data, name))
        )
        for name in SPLITS
    }
    return msgspec.structs.replace(data, task="multilabel-classification", **splits)
