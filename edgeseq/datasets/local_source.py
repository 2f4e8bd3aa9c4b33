"""Data sets that can be named, and those among them that are read from a local folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeseq.errors import DataError
from edgeseq.tasks.examples import AnyDataset


class DatasetEntry(msgspec.Struct, frozen=True):
    """A data set, described without loading it.

    `sizes` are the numbers of examples in train, dev and test, None where they depend on the
    user's data. `is_local`: it can be loaded on this machine without a network.
    """

    name: str
    task: str
    title: str
    sizes: tuple[int, int, int] | None
    licence: str
    origin: str
    citation: str
    is_local: bool = False


class LocalSource(msgspec.Struct, frozen=True):
    """A data set that is read from a local folder.

    Its files are looked for in each of `folders` below the folder of local copies, and in that
    itself; any of `file_sets` is enough.
    """

    entry: DatasetEntry
    folders: tuple[str, ...]
    file_sets: tuple[tuple[str, ...], ...]
    read: Callable[[DatasetEntry, tuple[Path, ...]], AnyDataset]

    def find(self, data_dir: Path | None) -> tuple[Path, ...] | None:
        """The files below `data_dir`, if all of a set are there."""
        if data_dir is None:
            return None
        for folder in (*self.folders, "."):
            for names in self.file_sets:
                paths = tuple(data_dir / folder / name for name in names)
                if all(path.is_file() for path in paths):
                    return paths
        return None

    def describe(self, data_dir: Path | None) -> DatasetEntry:
        """The entry, and whether `data_dir` has the files."""
        return msgspec.structs.replace(self.entry, is_local=self.find(data_dir) is not None)

    def load(self, data_dir: Path | None) -> AnyDataset:
        """The data set; raises `DataError` when its files are missing or not as published."""
        paths = self.find(data_dir)
        if paths is None:
            raise DataError(
                f"{self.entry.name} is not on this machine",
                where=data_dir,
                expected=self.entry.origin,
                fix="put a copy into a folder and name that with --data-dir or EDGESEQ_DATA",
            )
        return self.read(self.entry, paths)
