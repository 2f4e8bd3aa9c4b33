"""A user's own files as a data set: one file that is divided here, or one for each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeseq.datasets.readers import Columns, read_labelled
from edgeseq.datasets.splits import SPLITS, bucket, make_dataset
from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, SplitName, TextExample

Splits = dict[SplitName, tuple[TextExample, ...]]


def load_files(
    task: str,
    *,
    train: Path,
    dev: Path | None = None,
    test: Path | None = None,
    columns: Columns | None = None,
    header: bool | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str = "the user's own",
) -> Dataset:
    """A data set from the user's own CSV, TSV or JSON-lines files (see `read_labelled`).

    Splits without a file are cut from `train` by hash (see `divide_train`), so the same file gives
    the same splits everywhere. Labels are in alphabetical order unless `labels` gives them, in
    which case any other is an error.

    Raises `DataError` for an unreadable file, for a label in dev or test that train lacks, and
    when there are too few examples for three splits.
    """
    files: dict[SplitName, Path | None] = {"train": train, "dev": dev, "test": test}
    splits_given: Splits = {
        split: read_labelled(path, columns, header=header, labels=labels)
        for split, path in files.items()
        if path is not None
    }
    return from_splits(
        name or train.stem,
        task,
        splits_given,
        labels=labels,
        licence=licence,
        origin=", ".join(path.name for path in files.values() if path is not None),
    )


def from_splits(
    name: str,
    task: str,
    splits_given: Splits,
    *,
    labels: Sequence[str] | None,
    licence: str,
    origin: str,
) -> Dataset:
    """A data set from the splits there are; missing ones are cut from train by hash.

    Ids become `split/id`, since two files may count their examples alike.
    """
    splits = divide_train(splits_given)
    renamed = {
        split: tuple(
            msgspec.structs.replace(example, id=f"{split}/{example.id}")
            for example in splits[split]
        )
        for split in SPLITS
    }
    known = sorted({example.label for example in splits["train"]}) if labels is None else labels
    return make_dataset(name, task, known, **renamed, licence=licence, origin=origin)


def divide_train(splits_given: Splits) -> Splits:
    """The three splits: those missing are cut from train, 10 of 100 buckets each.

    What is hashed is an example's group, or its text where there is none, so that equal texts
    and the members of a group are never divided (see `splits.bucket`). Dev takes buckets 80..89,
    test 90..99.
    """
    if "train" not in splits_given:
        raise DataError("has no train split", expected="train, with or without dev and test")
    cut: dict[SplitName, list[TextExample]] = {split: [] for split in SPLITS}
    for example in splits_given["train"]:
        number = bucket(example.group or example.text)
        split: SplitName = "train" if number < 80 else "dev" if number < 90 else "test"
        cut["train" if split in splits_given else split].append(example)
    return {
        split: tuple(cut[split])
        if split == "train" or split not in splits_given
        else splits_given[split]
        for split in SPLITS
    }
