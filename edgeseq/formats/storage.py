"""Writing so that nothing half-written is ever found where a whole file is expected.

Files and folders are written beside their place (`edgeseq.formats.drafts`) and renamed into it
(`edgeseq.formats.replacement`); an error or an interrupt removes what was begun, and a folder
replaces another only when the caller said that it may.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from edgeseq.errors import EdgeseqError, InputError, OutputError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.drafts import draft_folder, is_draft
from edgeseq.formats.replacement import place

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

    Raises `OutputError` when the disk is full, the place may not be written to, or what is there
    is not a plain file.
    """
    with new_file(path) as draft:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Gives the path of a draft that becomes `path` when the block ends without an error.

    Raises `OutputError` as `write_bytes` does.
    """
    with os_errors_as_output_errors(path):
        _check_plain_target(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(path.parent) as folder:
            yield folder / path.name
            place(folder / path.name, path)


def _check_plain_target(path: Path) -> None:
    """A device or a pipe (`--out /dev/null`) must not be replaced by a file."""
    kind = file_kind(path)
    if kind not in (None, "file"):
        raise OutputError(
            "is not a plain file", where=path, found=f"a {kind}", fix="choose another --out"
        )


def write_text(path: Path, content: str) -> None:
    """Writes `content` as UTF-8 to `path` completely or not at all (see `write_bytes`)."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def new_folder(path: Path, *, overwrite: bool = False, marker: str | None = None) -> Iterator[Path]:
    """Gives a temporary folder that becomes `path` when the block ends without an error.

    With `overwrite`, it takes the place of what is at `path` at that moment, not before; with a
    `marker`, only of a folder that holds a file of that name or nothing. Raises `OutputError` when
    something is in the way, the disk is full, or writing is not allowed.
    """
    path = path if path.name not in ("", "..") else path.resolve()
    if os.path.lexists(path):
        if not overwrite:
            raise OutputError("already exists", where=path, fix="choose another --out or remove it")
        _check_replaceable(path, marker)
    with os_errors_as_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(path.parent) as folder:
            draft = folder / path.name
            draft.mkdir()
            yield draft
            draft.chmod(0o755)
            place(draft, path)


def replace_folder(finished: Path, path: Path) -> None:
    """Renames the folder `finished` to `path`, in place of what is there.

    Raises `OutputError`.
    """
    with os_errors_as_output_errors(path), draft_folder(path.parent) as folder:
        draft = folder / path.name
        finished.rename(draft)
        place(draft, path)


def _check_replaceable(path: Path, marker: str | None) -> None:
    """`--overwrite` is for what this program wrote, not for a folder of the user's."""
    if marker is None or (path / marker).is_file():
        return
    kind = file_kind(path) or "link"
    if kind == "folder" and all(is_draft(entry.name) for entry in path.iterdir()):
        return
    raise OutputError(
        "will not be overwritten: this program did not write it",
        where=path,
        found=f"a {kind} without {marker}" if kind == "folder" else f"a {kind}",
        fix="choose another --out or remove it",
    )


def file_kind(path: Path) -> str | None:
    """`file`, `folder`, `pipe`, `device` or `socket`; None where nothing is.

    Raises `OSError` for a path that the system does not take (too long, or without permission).
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as failure:  # a null character
        raise OSError(errno.EINVAL, str(failure)) from failure
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}
    return kinds.get(stat.S_IFMT(mode), "socket" if stat.S_ISSOCK(mode) else "device")


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
    check_plain_file(path, error=error)
    try:
        size_bytes = path.stat().st_size
        if limit_bytes is not None and size_bytes > limit_bytes:
            raise error(
                "is too large",
                where=path,
                found=f"{size_bytes} bytes",
                expected=f"<= {limit_bytes}",
            )
        return path.read_bytes()
    except OSError as failure:
        raise error("cannot be read", where=path, found=failure.strerror) from failure


def check_path(path: Path, *, error: type[EdgeseqError] = InputError) -> None:
    """Raises `error` for a path that the system does not take; it need not exist."""
    try:
        file_kind(path)
    except OSError as failure:
        raise error("cannot be read", where=path, found=failure.strerror) from failure


def check_plain_file(path: Path, *, error: type[EdgeseqError] = InputError) -> None:
    """Raises `error` where `path` is missing, or not a file that can be read to its end.

    A pipe would be waited for without end, and a device may give data without end.
    """
    try:
        kind = file_kind(path)
    except OSError as failure:
        raise error("cannot be read", where=path, found=failure.strerror) from failure
    if kind is None:
        raise error("no such file", where=path, fix="check the path")
    if kind == "folder":
        raise error("is a folder, not a file", where=path, fix="name a file in it")
    if kind != "file":
        raise error("is not a plain file", where=path, found=f"a {kind}", fix="name a file")


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
