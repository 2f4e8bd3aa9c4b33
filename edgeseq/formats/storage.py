"""Writing so that nothing half-written is ever found where a whole file is expected.

Files and folders are written beside their place and renamed into it; an error or an interrupt
removes what was begun. POSIX `rename(2)` replaces a file atomically; a folder is moved into
place only when nothing is there, or when the caller said that it may be replaced.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgeseq.errors import EdgeseqError, InputError, OutputError
from edgeseq.formats.codec import decode_json

T = TypeVar("T")


@contextlib.contextmanager
def os_errors_as_output_errors(path: Path) -> Iterator[None]:
    """Turns the operating system's refusals to write below `path` into `OutputError`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fix = "free some space or choose another --out"
            raise OutputError("the disk is full", where=path, fix=fix) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            fix = "choose another --out"
            raise OutputError("may not be written to", where=path, fix=fix) from error
        raise OutputError(
            "cannot be written", where=path, found=error.strerror or str(error), fix="check --out"
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` completely or not at all.

    Raises `OutputError` when the disk is full or the place may not be written to.
    """
    with os_errors_as_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes private files; what is written here is meant to be read by others.
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_text(path: Path, content: str) -> None:
    """Writes `content` as UTF-8 to `path` completely or not at all (see `write_bytes`)."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary folder that becomes `path` when the block ends without an error.

    With `overwrite`, what is at `path` is removed at that moment, not before. Raises
    `OutputError` when something is in the way, the disk is full, or writing is not allowed.
    """
    if path.exists() and not overwrite:
        raise OutputError("already exists", where=path, fix="choose another --out or remove it")
    with os_errors_as_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        with os_errors_as_output_errors(path):
            yield draft
            draft.chmod(0o755)
            if overwrite and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif overwrite:
                path.unlink(missing_ok=True)
            draft.rename(path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else _sha256_chunks(file)
        )


def _sha256_chunks(file: Any) -> str:
    digest = hashlib.sha256()  # hashlib.file_digest came with Python 3.11
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def read_bytes(
    path: Path, *, error: type[EdgeseqError] = InputError, limit_bytes: int | None = None
) -> bytes:
    """The content of a file that the user named.

    Raises `error` when it is missing, a folder, unreadable, or larger than `limit_bytes`.
    """
    if not path.exists():
        raise error("no such file", where=path, fix="check the path")
    if path.is_dir():
        raise error("is a folder, not a file", where=path, fix="name a file in it")
    size_bytes = path.stat().st_size
    if limit_bytes is not None and size_bytes > limit_bytes:
        raise error(
            "is too large", where=path, found=f"{size_bytes} bytes", expected=f"<= {limit_bytes}"
        )
    try:
        return path.read_bytes()
    except OSError as failure:
        raise error("cannot be read", where=path, found=failure.strerror) from failure


def write_json(path: Path, value: Any) -> None:
    """Writes a msgspec struct or plain value as indented JSON (see `write_bytes`)."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


class _Versioned(msgspec.Struct):
    schema_version: int = 1


def read_json(
    path: Path,
    type_: type[T],
    *,
    error: type[EdgeseqError] = InputError,
    limit_bytes: int | None = None,
    schema_version: int | None = None,
) -> T:
    """Reads a JSON file as `type_`, strictly.

    Raises `error` when the file has another schema version, and naming the file and the place in
    it (`$.rows[3].p50_ms`) that does not fit.
    """
    content = read_bytes(path, error=error, limit_bytes=limit_bytes)
    try:
        if schema_version is not None:
            version = decode_json(content, _Versioned).schema_version
            if version != schema_version:
                raise error(
                    "has another schema version",
                    where=path,
                    found=version,
                    expected=schema_version,
                    fix="write it again with this version of edgeseq",
                )
        return decode_json(content, type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        raise error("is not what was expected", where=path, found=str(failure)) from failure
