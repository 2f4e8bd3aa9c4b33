"""One pinned file from the package index, fetched by pip and kept in the user's cache.

pip runs in a child process, so the user's configuration (index, proxy, certificates)
holds. The release is pinned by SHA-256 twice: pip checks it (`--require-hashes`) before it looks
inside, and the file is hashed here again on every use.

For a source distribution pip also prepares the metadata, which runs that release's `setup.py`;
pip does that only after the hash has matched.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import platformdirs

from edgeseq.errors import FetchError
from edgeseq.formats.archives import extract_members, read_members
from edgeseq.formats.drafts import draft_folder
from edgeseq.formats.storage import sha256_file
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.child_process import STDOUT, ChildProcess

__all__ = ["PackageFile", "cache_folder", "extract_members", "fetch_package_file", "read_members"]

TIMEOUT_S = 1800.0
"""Half an hour: 90 MB over 0.5 Mbit/s; pip itself gives up on a silent connection after 15 s."""

_POLL_S = 0.1
_HASH_MISMATCH = "THESE PACKAGES DO NOT MATCH THE HASHES"
_DISK_FULL = f"[Errno {errno.ENOSPC}]"


class PackageFile(msgspec.Struct, frozen=True):
    """One file of one release: its name in the index and what it must hash to.

    `sha256` is in hexadecimal; `size_bytes`, when known, only scales the progress bar.
    """

    name: str
    version: str
    filename: str
    sha256: str
    kind: Literal["sdist", "wheel"]
    size_bytes: int | None = None


def cache_folder() -> Path:
    """Where fetched packages are kept: `packages` in the user's cache folder of edgeseq."""
    return platformdirs.user_cache_path("edgeseq") / "packages"


def is_at_hand(
    package: PackageFile, *, cache_dir: Path | None = None, local_dir: Path | None = None
) -> bool:
    """Whether the file lies in the cache or in `local_dir`, so that no index is needed.

    Only its presence is looked at; `fetch_package_file` checks the content.
    """
    folders = (cache_dir or cache_folder(), *([local_dir] if local_dir else []))
    return any((folder / package.filename).is_file() for folder in folders)


def fetch_package_file(
    package: PackageFile,
    *,
    cache_dir: Path | None = None,
    local_dir: Path | None = None,
    timeout_s: float = TIMEOUT_S,
    progress: ProgressCallback = no_progress,
) -> Path:
    """The path of `package` on this machine, fetched from the package index when needed.

    A copy in `local_dir` is used first, then one in `cache_dir` (default: `cache_folder()`). A
    cached file with a wrong hash is fetched again; a local one is an error, since it is the
    user's. The cache never holds a partial file: it is written beside and renamed.

    Raises `FetchError` when pip is missing, the index cannot be reached or lacks the release
    (with pip's last line), the hash is wrong, the disk is full, or `timeout_s` has passed.
    """
    if local_dir is not None and (local := local_dir / package.filename).is_file():
        _check_hash(local, package, fix="remove it or put the pinned release there")
        return local
    cached = (cache_dir or cache_folder()) / package.filename
    if cached.is_file() and sha256_file(cached) == package.sha256:
        return cached
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            "pip is needed to fetch it and is not installed here",
            where=_requirement(package),
            fix=f"run `{sys.executable} -m ensurepip` (or `uv pip install pip`), or put "
            f"{package.filename} into a folder and name that with --data-dir",
        )
    with (
        os_errors_as_fetch_errors(cached.parent),
        _working_folder(cached.parent) as work,
    ):
        fetched = _download(package, work, timeout_s, progress)
        _check_hash(fetched, package, fix="check the index that pip is configured for")
        fetched.replace(cached)
    return cached


def _download(
    package: PackageFile, work: Path, timeout_s: float, progress: ProgressCallback
) -> Path:
    """Runs pip in `work`; returns the one file that it left."""
    stage = f"fetch {package.name} {package.version}"
    requirements, target, scratch = work / "requirements.txt", work / "file", work / "tmp"
    scratch.mkdir()
    requirements.write_text(
        f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8"
    )
    source = "--no-binary" if package.kind == "sdist" else "--only-binary"
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"),
        *("--disable-pip-version-check", "--no-input", "--progress-bar", "off"),
        *("-r", str(requirements), "-d", str(target), source, package.name),
    ]
    progress(ProgressUpdate(stage, 0, package.size_bytes))
    code, output = _run(command, scratch, timeout_s, package, progress)
    if code != 0:
        raise _failure(package, output)
    files = [path for path in target.iterdir() if path.is_file()] if target.is_dir() else []
    if len(files) != 1:
        raise FetchError(
            "pip left no single file",
            where=_requirement(package),
            found=f"{len(files)} files",
            expected=package.filename,
            fix="check pip's configuration",
        )
    done = package.size_bytes or files[0].stat().st_size
    progress(ProgressUpdate(stage, done, done, note="bytes"))
    return files[0]


def _run(
    command: list[str],
    scratch: Path,
    timeout_s: float,
    package: PackageFile,
    progress: ProgressCallback,
) -> tuple[int, str]:
    """Runs `command` with `scratch` as its place for temporary files; returns code and output."""
    stage = f"fetch {package.name} {package.version}"
    # pip downloads into TMPDIR: beside the cache, so that there is one disk to be full, and the
    # size of what has come so far can be seen.
    environment = {**os.environ, "TMPDIR": str(scratch), "LC_ALL": "C.UTF-8"}
    until = time.monotonic() + timeout_s
    output = bytearray()
    with ChildProcess(command, stderr=STDOUT, env=environment) as process:
        process.stdin.close()
        while (content := process.read(_POLL_S)) != b"":
            output += content or b""
            if time.monotonic() > until:
                raise _too_slow(package, timeout_s)
            if package.size_bytes:
                done = min(_largest_file_bytes(scratch), package.size_bytes - 1)
                progress(ProgressUpdate(stage, done, package.size_bytes, note="bytes"))
        process.end(max(0.0, until - time.monotonic()))
        return process.returncode or 0, output.decode("utf-8", "replace")


def _largest_file_bytes(folder: Path) -> int:
    sizes = [0]
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append((Path(root) / name).stat().st_size)
            except FileNotFoundError:  # pip removed it in the meantime
                continue
    return max(sizes)


def _failure(package: PackageFile, output: str) -> FetchError:
    """What pip's output means, as one line."""
    where = _requirement(package)
    if _DISK_FULL in output:
        return _disk_full(where)
    if _HASH_MISMATCH in output:
        return FetchError(
            "the index offers a file with another hash",
            where=where,
            expected=f"sha256 {package.sha256}",
            fix="check the index that pip is configured for",
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["nothing"])[-1].removeprefix("ERROR: ")
    return FetchError(
        "pip could not fetch it",
        where=where,
        found=f"pip saying {last!r}",
        fix=f"check the network and pip's index, or put {package.filename} into a folder and "
        "name that with --data-dir",
    )


def _too_slow(package: PackageFile, timeout_s: float) -> FetchError:
    return FetchError(
        f"pip did not finish within {timeout_s:.0f} s",
        where=_requirement(package),
        fix="check the network and try again",
    )


def _check_hash(path: Path, package: PackageFile, *, fix: str) -> None:
    sha256 = sha256_file(path)
    if sha256 != package.sha256:
        raise FetchError(
            "does not have the hash of the pinned release",
            where=path,
            found=f"sha256 {sha256}",
            expected=package.sha256,
            fix=fix,
        )


@contextmanager
def _working_folder(cache_dir: Path) -> Iterator[Path]:
    cache_dir.mkdir(parents=True, exist_ok=True)
    with draft_folder(cache_dir) as folder:
        yield folder


@contextmanager
def os_errors_as_fetch_errors(cache_dir: Path) -> Iterator[None]:
    """Turns the operating system's refusals to write into the cache into `FetchError`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(str(cache_dir)) from error
        raise FetchError(
            "the cache folder cannot be used",
            where=cache_dir,
            found=error.strerror or str(error),
            fix="make it writable, or set XDG_CACHE_HOME to a folder that is",
        ) from error


def _disk_full(where: str) -> FetchError:
    return FetchError(
        "the disk is full",
        where=where,
        fix="free some space, or set XDG_CACHE_HOME to a folder on another disk",
    )


def _requirement(package: PackageFile) -> str:
    return f"{package.name}=={package.version}"
