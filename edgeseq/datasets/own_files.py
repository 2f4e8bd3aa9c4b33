"""A user's own files as a data set: one file that is divided here, or one for each part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeseq.datasets.parts import PARTS, bucket, make_dataset
from edgeseq.datasets.readers import Columns, read_labelled
from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, PartName, TextExample

Parts = dict[PartName, tuple[TextExample, ...]]


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

    Parts without a file are cut from `train` by hash (see `divide_train`), so the same file gives
    the same parts everywhere. Labels are in alphabetical order unless `labels` gives them, in
    which case any other is an error.

    Raises `DataError` for an unreadable file, for a label in dev or test that train lacks, and
    when there are too few examples for three parts.
    """
    files: dict[PartName, Path | None] = {"train": train, "dev": dev, "test": test}
    given: Parts = {
        part: read_labelled(path, columns, header=header, labels=labels)
        for part, path in files.items()
        if path is not None
    }
    return from_parts(
        name or train.stem,
        task,
        given,
        labels=labels,
        licence=licence,
        origin=", ".join(path.name for path in files.values() if path is not None),
    )


def from_parts(
    name: str,
    task: str,
    given: Parts,
    *,
    labels: Sequence[str] | None,
    licence: str,
    origin: str,
) -> Dataset:
    """A data set from the parts there are; missing ones are cut from train by hash.

    Ids become `part/id`, since two files may count their examples alike.
    """
    parts = divide_train(given)
    renamed = {
        part: tuple(msgspec.structs.replace(one, id=f"{part}/{one.id}") for one in parts[part])
        for part in PARTS
    }
    known = sorted({one.label for one in parts["train"]}) if labels is None else labels
    return make_dataset(name, task, known, **renamed, licence=licence, origin=origin)


def divide_train(given: Parts) -> Parts:
    """The three parts: those missing are cut from train, 10 of 100 buckets each.

    What is hashed is an example's group, or its text where there is none, so that equal texts
    and the members of a group are never divided (see `parts.bucket`). Dev takes buckets 80..89,
    test 90..99.
    """
    if "train" not in given:
        raise DataError("there is no train part", expected="train, with or without dev and test")
    cut: dict[PartName, list[TextExample]] = {part: [] for part in PARTS}
    for one in given["train"]:
        number = bucket(one.group or one.text)
        part: PartName = "train" if number < 80 else "dev" if number < 90 else "test"
        cut["train" if part in given else part].append(one)
    return {
        part: tuple(cut[part]) if part == "train" or part not in given else given[part]
        for part in PARTS
    }
