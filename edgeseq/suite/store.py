"""A store of what steps made, by the hash of all that they were made from.

    steps/FINGERPRINT.tar    `record.json` and the files of a step's output
    inputs/SHA256.tar        the same of the user's files and checkpoints
    states/FINGERPRINT.tar   the state of a training that has not ended
    teachers/SHA256.tar      a teacher's outputs for texts

Any machine reaches it by a URL of fsspec: a folder, `ssh://host/folder`, `s3://bucket/folder`.
An entry is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec
import msgspec

from edgeseq.errors import StoreError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.storage import new_file
from edgeseq.suite.outputs import OutputFile

StoreKind = Literal["steps", "inputs", "states", "teachers"]
_RECORD = "record.json"
_COPIES_WHOLE = ("s3", "s3a", "gs", "gcs", "abfs", "az")
"""Where a file that is being written cannot be read yet."""


class StoredRecord(msgspec.Struct, frozen=True):
    """What is known of an entry: its files, and of a step its answer, time and memory."""

    files: tuple[OutputFile, ...]
    answer: dict[str, Any] = {}
    began_unix_s: float = 0.0
    seconds: float = 0.0
    peak_memory_bytes: int | None = None
    worker: str = ""


class Store:
    """The store at a URL."""

    def __init__(self, url: str) -> None:
        """Opens the store, and makes its folder where there is none.

        Raises `StoreError` where it cannot be reached or needs a package that is not installed.
        """
        self.url = url
        with self._errors():
            self._files, root = fsspec.core.url_to_fs(url)
            self._root = str(root).rstrip("/")
            self._is_local = "file" in _protocols(self._files)
            self._files.makedirs(self._root, exist_ok=True)

    def has(self, kind: StoreKind, key: str) -> bool:
        """Whether there is such an entry; raises `StoreError`."""
        with self._errors():
            return bool(self._files.exists(self._path(kind, key)))

    def read_record(self, kind: StoreKind, key: str) -> StoredRecord | None:
        """What is known of an entry, None where there is none; raises `StoreError`."""
        path = self._path(kind, key)
        with self._errors():
            if not self._files.exists(path):
                return None
            with self._files.open(path, "rb") as file, tarfile.open(fileobj=file) as archive:
                return _read_record(archive, path)

    def put(
        self, kind: StoreKind, key: str, record: StoredRecord, folder: Path, *, prefix: str = ""
    ) -> None:
        """Stores the record's files, which are below `folder` by their paths without `prefix`.

        Raises `StoreError`.
        """
        path = self._path(kind, key)
        with self._errors():
            if self._is_local:
                with new_file(Path(path)) as draft:
                    _write_archive(draft, record, folder, prefix)
                return
            with temporary_folder() as scratch:
                draft = scratch / "entry.tar"
                _write_archive(draft, record, folder, prefix)
                self._upload(draft, path)

    def fetch(self, kind: StoreKind, key: str, folder: Path) -> StoredRecord | None:
        """Writes the files of an entry below `folder`, each checked by its hash.

        None where there is no such entry; raises `StoreError`, also where one is damaged.
        """
        path = self._path(kind, key)
        with self._errors():
            if not self._files.exists(path):
                return None
        with (
            self._errors(),
            self._files.open(path, "rb") as file,
            tarfile.open(fileobj=file) as archive,
        ):
            record = _read_record(archive, path)
            for described in record.files:
                _extract(archive, described, folder, path)
        return record

    def remove(self, kind: StoreKind, key: str) -> None:
        """Removes an entry if it is there; raises `StoreError`."""
        with self._errors(), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(kind, key))

    def _path(self, kind: StoreKind, key: str) -> str:
        return f"{self._root}/{kind}/{key}.tar"

    def _upload(self, draft: Path, path: str) -> None:
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if _protocols(self._files).intersection(_COPIES_WHOLE):
            self._files.put_file(str(draft), path)
            return
        unfinished = f"{path}.{uuid.uuid4().hex}.part"
        try:
            self._files.put_file(str(draft), unfinished)
            self._files.mv(unfinished, path)
        except BaseException:
            with contextlib.suppress(Exception):
                self._files.rm_file(unfinished)
            raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turns what any file system raises into one line; their error classes differ."""
        try:
            yield
        except StoreError:
            raise
        except ImportError as error:
            raise StoreError(
                "the store needs a package", where=self.url, found=str(error), fix="install it"
            ) from error
        except Exception as error:
            raise StoreError(
                "the store cannot be used",
                where=self.url,
                found=getattr(error, "what", "") or str(error) or type(error).__name__,
                fix="free space there or make it reachable; run the suite again to resume",
            ) from error


def _write_archive(draft: Path, record: StoredRecord, folder: Path, prefix: str) -> None:
    with draft.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            content = msgspec.json.encode(record)
            about = tarfile.TarInfo(_RECORD)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
            for described in record.files:
                source = folder / described.path.removeprefix(prefix)
                archive.add(source, arcname=described.path, recursive=False)
        file.flush()
        os.fsync(file.fileno())


def _protocols(files: Any) -> set[str]:
    return {files.protocol} if isinstance(files.protocol, str) else set(files.protocol)


def _read_record(archive: tarfile.TarFile, path: str) -> StoredRecord:
    first = archive.next()
    content = archive.extractfile(first) if first is not None and first.name == _RECORD else None
    if content is None:
        raise StoreError("is not an entry of a store", where=path, fix="remove it")
    return decode_json(content.read(), StoredRecord)


def _extract(archive: tarfile.TarFile, file: OutputFile, folder: Path, path: str) -> None:
    """Writes the next file of an archive, if it is the one that the record describes."""
    relative = PurePosixPath(file.path)
    member = archive.next()
    source = archive.extractfile(member) if member is not None and member.isreg() else None
    if source is None or member is None or member.name != file.path:
        raise StoreError("an entry lacks a file", where=path, found=file.path, fix="remove it")
    if relative.is_absolute() or ".." in relative.parts:
        raise StoreError("an entry names a file outside", where=path, found=file.path)
    target = folder / relative
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with target.open("wb") as copy:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != file.sha256:
        raise StoreError("an entry is damaged", where=path, found=file.path, fix="remove it")
