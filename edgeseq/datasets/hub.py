"""Data sets of the Hugging Face hub, by name: `hf:NAME[:CONFIG][@REVISION]`.

They are read through the `datasets` package (extra `datasets`), which never runs a data set's
own loading script here. Which columns hold text and label is read from the declared features.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from edgeseq.datasets.tables import Columns
from edgeseq.datasets.user_files import labelled_dataset
from edgeseq.errors import DataError, FetchError
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import AnyDataset, MultilabelExample, SplitName, TextExample
from edgeseq.tasks.registry import get_task

PREFIX = "hf:"

_COMMIT = re.compile(r"@([0-9a-f]{40})/")
_HUB_SPLITS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "dev": ("validation", "dev", "val"),
    "test": ("test",),
}


class HubSplit(Protocol):
    """What is used of a `datasets.Dataset`: declared features and rows as mappings."""

    @property
    def features(self) -> Mapping[str, Any]: ...

    def __iter__(self) -> Any: ...


def load_hub(
    name: str,
    *,
    task: str | None = None,
    columns: Columns | None = None,
    progress: ProgressCallback = no_progress,
) -> AnyDataset:
    """The data set `hf:NAME[:CONFIG][@REVISION]` of the hub; `columns` by name, else found by their
    types. Without `task` it is for one label per text, or for several where they are a list. Its
    origin names the commit that was taken, which as REVISION gives the same texts again.

    Missing splits are cut from train by hash; a split whose labels are withheld (-1) counts as
    missing. Raises `FetchError` when the `datasets` package is missing or the hub cannot be
    reached, and `DataError` when the data set has no text column or no label column.
    """
    address, _, revision = name.removeprefix(PREFIX).partition("@")
    hub_name, _, config = address.partition(":")
    if not hub_name:
        raise DataError("no data set named", where=name, expected="hf:NAME[:CONFIG][@REVISION]")
    try:
        import datasets  # noqa: PLC0415 - optional: the extra datasets
    except ImportError as error:
        raise FetchError(
            "the hub's data sets need the package `datasets`",
            where=name,
            fix="install it with `pip install 'edgeseq[datasets]'`",
        ) from error
    progress(ProgressUpdate(f"fetch {hub_name}"))
    try:
        pinned = {"revision": revision} if revision else {}
        splits = datasets.load_dataset(hub_name, config or None, **pinned)
    # What `datasets` and the hub's client raise for an unknown name, a wrong configuration, and
    # no network are FileNotFoundError, ValueError, ConnectionError and other OSErrors.
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()
        raise FetchError(
            "cannot be had from the hub",
            where=name,
            found=first[0] if first else type(error).__name__,
            fix="check the name, the configuration and the network",
        ) from error
    dataset = from_hub_splits(name, task, splits, columns=columns)
    progress(ProgressUpdate(f"fetch {hub_name}", 1, 1))
    return dataset


def from_hub_splits(
    name: str, task: str | None, splits: Mapping[str, HubSplit], *, columns: Columns | None = None
) -> AnyDataset:
    """A data set from the splits of a `datasets.DatasetDict` (see `load_hub`)."""
    if "train" not in splits:
        raise DataError(
            "has no train split", where=name, found=", ".join(splits) or "nothing", expected="train"
        )
    features = splits["train"].features
    text, label = _columns(name, features, columns)
    labels, is_list = _class_names(features[label]), hasattr(features[label], "feature")
    if task is None:
        task = "multilabel-classification" if is_list else "text-classification"
    if is_list != get_task(task).is_multilabel:
        raise DataError(
            "its labels are not those of the task",
            where=name,
            found=f"{'lists of labels' if is_list else 'one label per text'}, and {task}",
            fix="name another task or column",
        )
    make = _multilabel_examples if is_list else _examples
    examples_by_split: dict[SplitName, tuple[Any, ...]] = {}
    for split, hub_names in _HUB_SPLITS.items():
        for hub_name in hub_names:
            if hub_name in splits and split not in examples_by_split:
                examples = tuple(make(splits[hub_name], text, label, labels, name))
                if examples:
                    examples_by_split[split] = examples
    return labelled_dataset(
        name,
        task,
        examples_by_split,
        labels=labels,
        licence="see the data set's card on the hub",
        origin=f"Hugging Face hub, {name.removeprefix(PREFIX)}{_commit(splits['train'])}",
    )


def _class_names(feature: Any) -> Sequence[str] | None:
    """The names of a class, or of the classes that a list is of; None for another type."""
    names: Sequence[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return names


def _commit(split: HubSplit) -> str:
    """` at COMMIT`, from the addresses of the files that the split was made of; "" if unknown."""
    info = getattr(split, "info", None)
    checksums: Mapping[str, Any] = getattr(info, "download_checksums", None) or {}
    commits = {match[1] for url in checksums if (match := _COMMIT.search(url))}
    return f" at {commits.pop()}" if len(commits) == 1 else ""


def _columns(name: str, features: Mapping[str, Any], columns: Columns | None) -> tuple[str, str]:
    """The columns of text and label: those named, else the only ones of their type."""
    texts = [key for key, feature in features.items() if getattr(feature, "dtype", "") == "string"]
    classes = [key for key, feature in features.items() if _class_names(feature) is not None]
    chosen = columns or Columns()
    text = str(chosen.text) if chosen.text in features else texts[0] if len(texts) == 1 else None
    label = (
        str(chosen.label) if chosen.label in features else classes[0] if len(classes) == 1 else None
    )
    if text is None or label is None:
        raise DataError(
            f"its {'text' if text is None else 'label'} column is not plain",
            where=name,
            found=", ".join(map(repr, features)),
            fix="name the columns of the text and the label",
        )
    return text, label


def _examples(
    rows: Iterable[Mapping[str, Any]],
    text: str,
    label: str,
    labels: Sequence[str] | None,
    name: str,
) -> Iterable[TextExample]:
    for number, row in enumerate(rows):
        value = row[label]
        if value is None or value == -1:  # withheld, as in the test splits of competitions
            continue
        content = _text(row, text, name, number)
        if labels is not None:
            value = _label_name(value, labels, name, number)
        yield TextExample(id=str(number), text=content, label=str(value))


def _multilabel_examples(
    rows: Iterable[Mapping[str, Any]],
    text: str,
    label: str,
    labels: Sequence[str] | None,
    name: str,
) -> Iterable[MultilabelExample]:
    for number, row in enumerate(rows):
        values = row[label]
        if values is None:
            continue
        if labels is not None:
            values = [_label_name(value, labels, name, number) for value in values]
        unique = tuple(dict.fromkeys(map(str, values)))
        yield MultilabelExample(str(number), _text(row, text, name, number), unique)


def _text(row: Mapping[str, Any], column: str, name: str, number: int) -> str:
    text = row[column]
    if isinstance(text, str) and text.strip():
        return text.strip()
    where = f"{name}, row {number}"
    raise DataError("the text is empty", where=where, fix="choose another text column")


def _label_name(value: object, labels: Sequence[str], name: str, number: int) -> str:
    if isinstance(value, int) and 0 <= value < len(labels):
        return labels[value]
    where = f"{name}, row {number}"
    raise DataError("unknown label", where=where, found=value, expected=f"0 to {len(labels) - 1}")
