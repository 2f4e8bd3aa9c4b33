"""Data sets that can be named, and those among them that are read from files on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import platformdirs

from edgeseq.errors import DataError
from edgeseq.formats.storage import sha256_file
from edgeseq.tasks.examples import AnyDataset
from edgeseq.units import format_bytes


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


class RemoteFile(msgspec.Struct, frozen=True):
    """A published file: `name` in the cache, its address, and what it must hold."""

    name: str
    url: str
    sha256: str
    size_bytes: int


class LocalSource(msgspec.Struct, frozen=True):
    """A data set that is read from files: the user's copies, or those in the cache.

    Copies are looked for in each of `folders` below the folder of local copies, and in that
    itself; any of `file_sets` is enough. `downloads` are the files as `edgeseq data get` fetches
    them, in the order of one of `file_sets`.
    """

    entry: DatasetEntry
    folders: tuple[str, ...]
    file_sets: tuple[tuple[str, ...], ...]
    read: Callable[[DatasetEntry, tuple[Path, ...]], AnyDataset]
    downloads: tuple[RemoteFile, ...]

    @property
    def cache_dir(self) -> Path:
        """Where downloads of this data set are kept."""
        return platformdirs.user_cache_path("edgeseq") / "datasets" / self.entry.name

    @property
    def download_bytes(self) -> int:
        """The size of all downloads."""
        return sum(file.size_bytes for file in self.downloads)

    def find(self, data_dir: Path | None) -> tuple[Path, ...] | None:
        """The user's copies below `data_dir`, else the files in the cache, if a set is complete."""
        file_sets = [
            tuple(data_dir / folder / name for name in names)
            for folder in (*self.folders, ".")
            for names in self.file_sets
            if data_dir is not None
        ]
        file_sets.append(tuple(self.cache_dir / file.name for file in self.downloads))
        return next((paths for paths in file_sets if all(path.is_file() for path in paths)), None)

    def describe(self, data_dir: Path | None) -> DatasetEntry:
        """The entry, and whether its files are on this machine."""
        return msgspec.structs.replace(self.entry, is_local=self.find(data_dir) is not None)

    def load(self, data_dir: Path | None) -> AnyDataset:
        """The data set; raises `DataError` when its files are missing or not as published."""
        paths = self.find(data_dir)
        if paths is None:
            name = self.entry.name
            raise DataError(
                f"{name} is not on this machine",
                where=data_dir,
                expected=", ".join(file.name for file in self.downloads),
                fix=f"run `edgeseq data get {name}` ({format_bytes(self.download_bytes)}), or put "
                "the files into a folder and name that with --data-dir or EDGESEQ_DATA",
            )
        for path, file in zip(paths, self.downloads, strict=False):
            if path.parent == self.cache_dir and sha256_file(path) != file.sha256:
                raise DataError(
                    "is damaged", where=path, fix=f"run `edgeseq data get {self.entry.name}`"
                )
        return self.read(self.entry, paths)
