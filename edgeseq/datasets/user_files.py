"""A user's own files as a data set: one file that is divided here, or one for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from edgeseq.datasets.readers import (
    LABELLED_SUFFIXES,
    Columns,
    read_labelled,
    read_multilabel,
    read_rows,
)
from edgeseq.datasets.splits import SPLITS, fill_splits, make_dataset
from edgeseq.datasets.tables import holds_several_labels
from edgeseq.datasets.tagged_files import TAGGED_SUFFIXES, read_tagged
from edgeseq.datasets.tagged_sources import tagged_dataset
from edgeseq.tasks.examples import (
    AnyDataset,
    AnyExample,
    Dataset,
    MultilabelExample,
    SplitName,
    TaggedExample,
    TextExample,
    labels_of,
)
from edgeseq.tasks.registry import get_task

TextExampleT = TypeVar("TextExampleT", TextExample, MultilabelExample)

LICENCE = "the user's own"
WORD_SUFFIXES = {".conllu": "pos", ".conll": "ner", ".bio": "ner", ".iob": "ner"}
"""The default task of a file with tagged words, by its suffix."""


def task_of_file(path: str | Path, columns: Columns | None = None) -> str:
    """The default task of a file: by its suffix, and of a table by whether a text in it has
    several labels (`holds_several_labels`). Raises `DataError` for a damaged table."""
    path = Path(path)
    suffix = path.suffix.lower()
    is_table = suffix in LABELLED_SUFFIXES and path.is_file()
    if is_table and holds_several_labels(read_rows(path, columns)):
        return "multilabel-classification"
    return WORD_SUFFIXES.get(suffix, "text-classification")


def suffixes_of(task: str) -> tuple[str, ...]:
    """The suffixes of files that can be read for `task`; none for running text."""
    readable: dict[type[AnyExample], tuple[str, ...]] = {
        TextExample: LABELLED_SUFFIXES,
        MultilabelExample: LABELLED_SUFFIXES,
        TaggedExample: TAGGED_SUFFIXES,
    }
    return readable.get(get_task(task).example, ())


def load_files(
    task: str,
    *,
    train: Path,
    dev: Path | None = None,
    test: Path | None = None,
    columns: Columns | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
) -> AnyDataset:
    """A data set from the user's tables of texts (`read_labelled`, `read_multilabel`) or files of
    tagged words (`read_tagged`), as `task` needs.

    Splits without a file are cut from `train` by hash (`fill_splits`), so the same file gives the
    same splits everywhere. Labels of texts are in alphabetical order unless `labels` gives them,
    in which case any other is an error; `columns` is for tables.

    Raises `DataError` for an unreadable file, for a label in dev or test that train lacks, and
    when there are too few examples for three splits.
    """
    files: dict[SplitName, Path | None] = {"train": train, "dev": dev, "test": test}
    paths = {split: path for split, path in files.items() if path is not None}
    name, origin = name or train.stem, ", ".join(path.name for path in paths.values())
    if get_task(task).example is TaggedExample:
        sentences = {split: read_tagged(path, task) for split, path in paths.items()}
        return tagged_dataset(name, task, fill_splits(sentences), licence=LICENCE, origin=origin)
    read = read_multilabel if get_task(task).is_multilabel else read_labelled
    texts = {split: read(path, columns, labels=labels) for split, path in paths.items()}
    return labelled_dataset(name, task, texts, labels=labels, licence=LICENCE, origin=origin)


def labelled_dataset(
    name: str,
    task: str,
    splits: Mapping[SplitName, tuple[TextExampleT, ...]],
    *,
    labels: Sequence[str] | None,
    licence: str,
    origin: str,
) -> Dataset[TextExampleT]:
    """A data set of labelled texts; missing splits are cut from train by hash.

    Ids become `split/id`, since two files may count their examples alike.
    """
    filled = fill_splits(splits)
    renamed = {
        split: tuple(
            msgspec.structs.replace(example, id=f"{split}/{example.id}")
            for example in filled[split]
        )
        for split in SPLITS
    }
    if labels is None:
        labels = sorted({label for example in filled["train"] for label in labels_of(example)})
    return make_dataset(name, task, labels, renamed, licence=licence, origin=origin)
