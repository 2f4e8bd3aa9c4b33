"""Published files of data sets, fetched over any number of interruptions and checked by hash.

What has come of a file is kept beside it as `NAME.part` and continued by an HTTP range request, in
this process or a later one. A file gets its name only after its SHA-256 has matched.

`EDGESEQ_DATA_MIRROR` is the address of a mirror that is used in place of
https://raw.githubusercontent.com. Proxies are those of the environment (`HTTPS_PROXY`).
"""

from __future__ import annotations

import fcntl
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from edgeseq.datasets.local_source import RemoteFile
from edgeseq.datasets.packages import os_errors_as_fetch_errors
from edgeseq.errors import FetchError
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

MIRROR_VARIABLE = "EDGESEQ_DATA_MIRROR"
_PUBLIC = "https://raw.githubusercontent.com"
_CHUNK_BYTES = 1 << 16
_RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


class Patience(msgspec.Struct, frozen=True):
    """How long a download waits before it gives up.

    `silence_s` without a byte ends a connection. `attempts` connections in succession may bring
    nothing, with a pause of `pause_s` between the first two that doubles from then on; after one
    that did bring something the count begins anew. `total_s` is for one file.
    """

    silence_s: float = 30.0
    attempts: int = 4
    pause_s: float = 0.5
    total_s: float = 1800.0


PATIENCE = Patience()


class _ConnectionLostError(Exception):
    """A connection gave less than it should, for the reason in its text."""


def fetch_files(
    files: Sequence[RemoteFile],
    folder: Path,
    *,
    patience: Patience = PATIENCE,
    progress: ProgressCallback = no_progress,
) -> tuple[Path, ...]:
    """The paths of `files` in `folder`, fetched where they are missing or not what they should be.

    Raises `FetchError` when an address cannot be reached, serves something else (by size or
    SHA-256; nothing of it is kept), or the disk is full.
    """
    fix = f"check the network, or put {', '.join(file.name for file in files)} into {folder}"
    return tuple(_fetch_file(file, folder, fix, patience, progress) for file in files)


def _fetch_file(
    file: RemoteFile, folder: Path, fix: str, patience: Patience, progress: ProgressCallback
) -> Path:
    path = folder / file.name
    if _is_complete(path, file):
        return path
    with os_errors_as_fetch_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        part_path = path.with_name(f"{path.name}.part")
        with _locked(part_path) as part:
            if _is_complete(path, file):  # by another process, in the meantime
                part_path.unlink()
                return path
            try:
                _fetch_verified(file, part, fix, patience, progress)
            except BaseException:
                if part.seek(0, os.SEEK_END) == 0:
                    part_path.unlink()
                raise
            os.fsync(part.fileno())
            part_path.replace(path)
    return path


def _fetch_verified(
    file: RemoteFile, part: BinaryIO, fix: str, patience: Patience, progress: ProgressCallback
) -> None:
    """Completes `part`; leaves nothing in it where its content is another."""
    was_begun = part.seek(0, os.SEEK_END) > 0
    try:
        _complete(file, part, fix, patience, progress)
        if was_begun and sha256_file(Path(part.name)) != file.sha256:
            part.truncate(0)  # it may have been begun by another version
            _complete(file, part, fix, patience, progress)
        if (sha256 := sha256_file(Path(part.name))) != file.sha256:
            raise _other_content(file, f"sha256 {sha256}", f"sha256 {file.sha256}")
    except _OtherContentError:
        part.truncate(0)
        raise


class _OtherContentError(FetchError):
    """The address serves another file."""


def _is_complete(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and sha256_file(path) == file.sha256


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to append to, after any other process that has opened it in this way."""
    while True:
        with path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            is_renamed = not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino
            if not is_renamed:
                yield file
                return


def _complete(
    file: RemoteFile, part: BinaryIO, fix: str, patience: Patience, progress: ProgressCallback
) -> None:
    """Appends to `part` until it has the file's size."""
    until_s = time.monotonic() + patience.total_s
    failures = 0
    if part.seek(0, os.SEEK_END) > file.size_bytes:
        part.truncate(0)
    while (start := part.seek(0, os.SEEK_END)) < file.size_bytes:
        try:
            _receive(file, part, min(patience.silence_s, patience.total_s), progress, until_s)
            reason = "the connection ended early"
        except _ConnectionLostError as failure:
            reason = str(failure)
        finally:
            part.flush()
        failures = 0 if part.tell() > start else failures + 1
        if part.tell() < file.size_bytes:
            if failures == patience.attempts or time.monotonic() > until_s:
                raise FetchError("cannot be fetched", where=address_of(file), found=reason, fix=fix)
            time.sleep(patience.pause_s * 2 ** max(0, failures - 1))


def _receive(
    file: RemoteFile, part: BinaryIO, silence_s: float, progress: ProgressCallback, until_s: float
) -> None:
    """Appends to `part` what one connection gives."""
    start = part.tell()
    with _connect(file, start, silence_s) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            part.truncate(0)
            start = 0
        _check_size(file, response, start)
        while content := _read(response):
            if part.tell() + len(content) > file.size_bytes:
                raise _other_content(file, "more bytes", f"{file.size_bytes} bytes")
            part.write(content)
            done_bytes = part.tell()
            progress(
                ProgressUpdate(f"fetch {file.name}", done_bytes, file.size_bytes, note="bytes")
            )
            if time.monotonic() > until_s:
                raise _ConnectionLostError("it took too long")


def _connect(file: RemoteFile, start: int, silence_s: float) -> http.client.HTTPResponse:
    headers = {"Accept-Encoding": "identity", "User-Agent": "edgeseq"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(address_of(file), headers=headers)  # noqa: S310 - see the pins
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=silence_s)  # noqa: S310 - as above
    except urllib.error.HTTPError as failure:
        with failure:
            if failure.code in _RETRIED_STATUSES:
                raise _ConnectionLostError(f"the server answered {failure.code}") from failure
            if failure.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _other_content(file, f"at most {start} bytes", file.size_bytes) from failure
            raise FetchError(
                "cannot be fetched",
                where=address_of(file),
                found=f"the server answered {failure.code} {failure.reason}",
                fix=f"check {MIRROR_VARIABLE}" if os.environ.get(MIRROR_VARIABLE) else None,
            ) from failure
    except (OSError, http.client.HTTPException) as failure:
        raise _ConnectionLostError(_reason(failure)) from failure
    return response


def _check_size(file: RemoteFile, response: http.client.HTTPResponse, start: int) -> None:
    """Refuses another file before any of it is taken, where the answer tells its size."""
    if start:
        span = response.headers.get("Content-Range", "")
        expected = f"bytes {start}-{file.size_bytes - 1}/{file.size_bytes}"
        if span != expected:
            raise _other_content(file, span or "no Content-Range", expected)
        return
    length = response.headers.get("Content-Length")
    if length is not None and length != str(file.size_bytes):
        raise _other_content(file, f"{length} bytes", f"{file.size_bytes} bytes")


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as failure:
        raise _ConnectionLostError(_reason(failure)) from failure


def _reason(failure: Exception) -> str:
    reason = getattr(failure, "reason", failure)
    return str(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _other_content(file: RemoteFile, actual: str, expected: object) -> _OtherContentError:
    return _OtherContentError(
        "serves another file, of which nothing was kept",
        where=address_of(file),
        found=actual,
        expected=expected,
        fix=f"check proxies and {MIRROR_VARIABLE}, or report that the published file has changed",
    )


def address_of(file: RemoteFile) -> str:
    """Where a file is fetched from: its public address, or the same path of the user's mirror."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    return file.url.replace(_PUBLIC, mirror, 1) if mirror else file.url
