"""Texts whose labels, if any, are ignored: what a teacher labels for its students."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseq.datasets import wikitext
from edgeseq.datasets.registry import entries, load_dataset
from edgeseq.errors import DataError
from edgeseq.formats.storage import read_bytes
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.registry import task_of


def read_unlabelled(
    name: str, *, data_dir: Path | None = None, progress: ProgressCallback = no_progress
) -> list[str]:
    """The lines of a `.txt` file, or the texts of a data set's train split; of running text its
    sentences (`wikitext.sentences`). Words of tagged sentences and running text have a space
    between them.

    Raises `DataError` and `FetchError` as reading a data set does.
    """
    if Path(name).suffix.lower() == ".txt":
        content = read_bytes(Path(name), error=DataError)
        try:
            return [line.strip() for line in content.decode("utf-8").splitlines()]
        except UnicodeDecodeError as failure:
            raise DataError("is not UTF-8", where=name, found=str(failure)) from failure
    dataset: Any = load_dataset(name, data_dir=data_dir, progress=progress)
    if task_of(dataset.task).is_streaming:
        return [
            " ".join(sentence)
            for article in dataset.train
            for sentence in wikitext.sentences(article.words)
        ]
    return [example.text for example in dataset.train]


def is_absent(name: str, data_dir: Path | None) -> bool:
    """Whether `name` is a data set that only a local folder can hold, and `data_dir` does not."""
    return any(entry.name == name and not entry.is_local for entry in entries(data_dir))
