"""One pinned package of npm's index, fetched by npm and kept in the user's cache.

npm runs in a child process, so the user's configuration (index, proxy, certificates) holds. It
only fetches the archive (`npm pack`): nothing of it is installed or run. The archive is hashed
here on every use.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

import msgspec
import platformdirs

from edgeseq.errors import FetchError
from edgeseq.formats.drafts import draft_folder
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command

TIMEOUT_S = 600.0


class NpmPackage(msgspec.Struct, frozen=True):
    """A release; `integrity` is its SHA-512 in base64, as npm's lock files have it."""

    name: str
    version: str
    integrity: str

    @property
    def filename(self) -> str:
        """The archive's name, as `npm pack` makes it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


def npm_cache_folder() -> Path:
    """Where fetched archives are kept: `npm` in the user's cache folder of edgeseq."""
    return platformdirs.user_cache_path("edgeseq") / "npm"


def fetch_npm_package(package: NpmPackage) -> Path:
    """The path of the package's archive on this machine, fetched when it is not in the cache.

    The cache never holds a partial file. Raises `FetchError` when npm is missing, the index cannot
    be reached, or the hash is wrong, and `OutputError` when the cache cannot be written.
    """
    cached = npm_cache_folder() / package.filename
    if cached.is_file() and _integrity(cached) == package.integrity:
        return cached
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            "npm is needed to fetch it and is not installed here",
            where=_title(package),
            fix=f"install npm, or put {package.filename} into {cached.parent}",
        )
    with os_errors_as_output_errors(cached.parent):
        cached.parent.mkdir(parents=True, exist_ok=True)
        with draft_folder(cached.parent) as folder:
            _pack(npm, package, folder)
            (folder / package.filename).replace(cached)
    return cached


def _pack(npm: str, package: NpmPackage, folder: Path) -> None:
    command = (npm, "pack", "--silent", "--ignore-scripts", f"--pack-destination={folder}")
    try:
        output = run_command((*command, _title(package)), timeout_s=TIMEOUT_S)
    except CommandTimeoutError as error:
        raise FetchError(f"npm did not finish in {TIMEOUT_S:g} s", where=_title(package)) from error
    path = folder / package.filename
    if output.returncode != 0 or not path.is_file():
        raise FetchError(
            "npm cannot fetch it",
            where=_title(package),
            found=last_line(output.stderr or output.stdout) or format_exit(output.returncode),
            fix=f"check npm's configuration, or put {package.filename} into {npm_cache_folder()}",
        )
    if (found := _integrity(path)) != package.integrity:
        raise FetchError(
            "does not have the pinned hash",
            where=package.filename,
            found=f"sha512-{found}",
            expected=f"sha512-{package.integrity}",
            fix="check the index that npm is configured for",
        )


def _integrity(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode("ascii")


def _title(package: NpmPackage) -> str:
    return f"{package.name}@{package.version}"
