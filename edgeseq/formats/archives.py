"""Taking named members out of a .whl, .zip or .tar.gz, and nothing else.

An archive is data from outside. Only members that the caller named are read; a member that is a
link, a device or a folder is refused; sizes are bounded while decompressing, not by what a header
claims; where a member lands is decided by the caller, never by the name inside the archive.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from edgeseq.errors import FetchError
from edgeseq.formats.drafts import draft_folder
from edgeseq.formats.storage import os_errors_as_output_errors

MEMBER_LIMIT_BYTES = 1 << 29
"""512 MiB: what the named members may hold together, unless the caller says otherwise."""

SCAN_LIMIT_BYTES = 1 << 28
"""256 MiB: how much of a .tar.gz is decompressed on the way to the named members; also what a
forged header (an endless name) can make the reader hold."""

_COPY_BYTES = 1 << 20
# gzip raises BadGzipFile, an OSError, and EOFError for an archive that was cut off; zipfile raises
# NotImplementedError, ValueError and struct.error for a directory whose numbers make no sense.
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, OSError, ValueError, NotImplementedError),
)
_SUPPORTED_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_members(
    archive: Path | bytes, names: Sequence[str], *, limit_bytes: int = MEMBER_LIMIT_BYTES
) -> dict[str, bytes]:
    """The content of the members `names` of a .whl, .zip or .tar.gz, in the order of `names`.

    `archive` is a file, or the bytes of one: an archive inside an archive is read by giving
    what this function returned for it. The format is told by the content, not by the name.

    Raises `FetchError` when the archive is damaged, a member is missing or not a plain file, or
    the members hold more than `limit_bytes` together.
    """
    label = _label(archive)
    members: dict[str, bytes] = {}
    left_bytes = limit_bytes
    with _damage_as_fetch_error(label):
        for name, file in _named_members(archive, names):
            content = file.read(left_bytes + 1)
            left_bytes -= len(content)
            if left_bytes < 0:
                raise _too_large(label, name, limit_bytes)
            members[name] = content
    _check_complete(label, names, members)
    return {name: members[name] for name in names}


def extract_members(
    archive: Path | bytes,
    targets: Mapping[str, str],
    out_dir: Path,
    *,
    limit_bytes: int = MEMBER_LIMIT_BYTES,
) -> dict[str, Path]:
    """Writes members of an archive to files below `out_dir`; returns the file of each member.

    `targets` maps a member's name to a path relative to `out_dir`, without `..`. Members are
    copied in pieces, so a large one needs no memory. No file appears under its own name before
    all members have been unpacked.

    Raises `FetchError` as `read_members` does, and `OutputError` when `out_dir` does not take it.
    """
    label = _label(archive)
    paths = {name: out_dir / _relative(target) for name, target in targets.items()}
    with os_errors_as_output_errors(out_dir):
        out_dir.mkdir(parents=True, exist_ok=True)
    with draft_folder(out_dir) as draft:
        drafts: dict[str, Path] = {}
        left_bytes = limit_bytes
        with _damage_as_fetch_error(label):
            for name, source in _named_members(archive, tuple(targets)):
                drafts[name] = draft / str(len(drafts))
                left_bytes -= _copy(source, drafts[name], left_bytes + 1, out_dir)
                if left_bytes < 0:
                    raise _too_large(label, name, limit_bytes)
        _check_complete(label, tuple(targets), drafts)
        with os_errors_as_output_errors(out_dir):
            for name, path in paths.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                drafts[name].replace(path)
    return paths


def _copy(source: IO[bytes], target: Path, limit_bytes: int, out_dir: Path) -> int:
    """Copies at most `limit_bytes`; only trouble with the target is an `OutputError`."""
    copied = 0
    with os_errors_as_output_errors(out_dir):
        file = target.open("xb")
    with file:
        while copied < limit_bytes:
            piece = source.read(min(_COPY_BYTES, limit_bytes - copied))
            if not piece:
                break
            with os_errors_as_output_errors(out_dir):
                file.write(piece)
            copied += len(piece)
        with os_errors_as_output_errors(out_dir):
            file.flush()
            os.fsync(file.fileno())
    return copied


def _named_members(archive: Path | bytes, names: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yields each named member once, open for reading; ends when all have been seen."""
    file: IO[bytes] = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    with file:
        magic = file.read(4)
        file.seek(0)
        if magic[:2] == b"\x1f\x8b":
            yield from _tar_members(file, set(names), _label(archive))
        elif magic == b"PK\x03\x04":
            yield from _zip_members(file, names, _label(archive))
        else:
            raise FetchError(
                "is not an archive that can be unpacked",
                where=_label(archive),
                found=f"a file that begins with {magic.hex()}",
                expected=".whl, .zip or .tar.gz",
                fix="remove it and fetch it again",
            )


def _zip_members(
    file: IO[bytes], names: Sequence[str], label: str
) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        present = set(archive.namelist())
        for name in names:
            if name not in present:
                continue
            info = archive.getinfo(name)
            mode = info.external_attr >> 16
            # Archives written on Windows carry no mode; format bits of 0 mean a plain file.
            plain = stat.S_IFMT(mode) in (0, stat.S_IFREG) and not info.is_dir()
            if not plain or info.flag_bits & 1 or info.compress_type not in _SUPPORTED_ZIP:
                raise _not_plain(label, name)
            with archive.open(info) as member:
                yield name, member


def _tar_members(
    file: IO[bytes], remaining: set[str], label: str
) -> Iterator[tuple[str, IO[bytes]]]:
    with gzip.GzipFile(fileobj=file) as unpacked:
        # The stream mode reads forward only, so a member cannot send the reader back.
        bounded = _BoundedReader(unpacked, label)
        with tarfile.open(fileobj=bounded, mode="r|") as archive:
            for info in archive:
                name = str(PurePosixPath(info.name))
                if name not in remaining:
                    continue
                member = archive.extractfile(info) if info.isreg() else None
                if member is None:
                    raise _not_plain(label, name)
                remaining = remaining - {name}
                with member:
                    yield name, member
                if not remaining:
                    return


class _BoundedReader(io.RawIOBase):
    """Reads on from `source` and refuses once more than `SCAN_LIMIT_BYTES` came out of it."""

    def __init__(self, source: gzip.GzipFile, label: str) -> None:
        self._source = source
        self._label = label
        self._left_bytes = SCAN_LIMIT_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        content = self._source.read(_COPY_BYTES if size < 0 else min(size, _COPY_BYTES))
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            raise _too_large(self._label, "all its members", SCAN_LIMIT_BYTES)
        return content


@contextmanager
def _damage_as_fetch_error(label: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise FetchError(
            "cannot be unpacked",
            where=label,
            found=str(error) or type(error).__name__,
            fix="remove it and fetch it again",
        ) from error


def _relative(target: str) -> Path:
    path = PurePosixPath(target)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in target:
        raise FetchError(
            "a member may only be unpacked below the output folder",
            found=repr(target),
            expected="a relative path without '..'",
        )
    return Path(path)


def _label(archive: Path | bytes) -> str:
    return "an archive inside an archive" if isinstance(archive, bytes) else str(archive)


def _check_complete(label: str, names: Sequence[str], members: Mapping[str, object]) -> None:
    missing = [name for name in names if name not in members]
    if missing:
        raise FetchError(
            "lacks a member", where=label, expected=missing[0], fix="use the pinned release"
        )


def _not_plain(label: str, name: str) -> FetchError:
    return FetchError(
        "holds a member that is not a plain file", where=label, found=name, expected="a plain file"
    )


def _too_large(label: str, name: str, limit_bytes: int) -> FetchError:
    return FetchError(
        "unpacks to more than is allowed",
        where=label,
        found=f"{name} going over",
        expected=f"<= {limit_bytes} bytes together",
    )
