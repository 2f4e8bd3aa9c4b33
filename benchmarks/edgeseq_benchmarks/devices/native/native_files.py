"""The runner and LiteRT's library for one target: what a board needs beside a bundle.

The library for another processor comes out of that processor's wheel, fetched once by this
machine's pip, with this machine's settings, in the release that is installed here.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import platformdirs

from edgeseq.errors import DeviceError
from edgeseq.formats.archives import extract_members
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.subprocesses.child_process import format_exit, last_line
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command
from edgeseq_benchmarks.devices.wheels import LITERT
from edgeseq_benchmarks.native.build import build_runner
from edgeseq_benchmarks.native.library import LIBRARY, MODULE, installed_library, installed_version
from edgeseq_benchmarks.native.targets import NativeTarget, host_target

TESTED_VERSION = "2.3.0"
"""The release that is fetched where none is installed here."""

_TIMEOUT_S = 900.0


class NativeFiles(NamedTuple):
    """The two files on this machine, and the release of LiteRT that the library is of."""

    runner: Path
    library: Path
    version: str


def native_files(
    target: NativeTarget,
    *,
    cache_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> NativeFiles:
    """The runner, built for that target and an old C library, and LiteRT's library.

    Raises `DeviceError` when the runner cannot be built or the library not be fetched.
    """
    runner = build_runner(target, portable=True, cache_dir=cache_dir, progress=progress)
    version = installed_version() or TESTED_VERSION
    return NativeFiles(runner, find_library(target, version, cache_dir=cache_dir), version)


def find_library(target: NativeTarget, version: str, *, cache_dir: Path | None = None) -> Path:
    """The library of that release: the installed one for this machine, else from a wheel.

    Raises `DeviceError` when it cannot be fetched, `FetchError` for a wheel without it.
    """
    if target == host_target() and version == installed_version():
        return installed_library()
    folder = (cache_dir or platformdirs.user_cache_path("edgeseq")) / "native"
    library = folder / f"litert-{version}-{target.name}" / LIBRARY
    if not library.is_file():
        with tempfile.TemporaryDirectory(prefix="edgeseq-") as scratch:
            wheel = _fetch_wheel(target, version, Path(scratch))
            extract_members(wheel, {f"{MODULE}/{LIBRARY}": LIBRARY}, library.parent)
    return library


def _fetch_wheel(target: NativeTarget, version: str, folder: Path) -> Path:
    requirement = f"{LITERT.package}=={version}"
    if importlib.util.find_spec("pip") is None:
        raise DeviceError(
            "pip is needed to fetch LiteRT's library and is not installed here",
            where=requirement,
            fix=f"run `{sys.executable} -m ensurepip` (or `uv pip install pip`)",
        )
    python = ".".join(map(str, min(sys.version_info[:2], LITERT.newest_python)))
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"),
        *("--only-binary=:all:", "--platform", target.wheel_platform, "--python-version", python),
        *("--dest", str(folder), requirement),
    ]
    try:
        output = run_command(command, timeout_s=_TIMEOUT_S)
    except CommandTimeoutError as error:
        raise DeviceError(
            "pip did not fetch LiteRT's library in time",
            where=requirement,
            expected=f"<= {_TIMEOUT_S:g} s",
            fix="check the network and try again",
        ) from error
    wheels = list(folder.glob("*.whl"))
    if output.returncode or len(wheels) != 1:
        raise DeviceError(
            f"LiteRT's library for {target.name} cannot be fetched",
            where=requirement,
            found=last_line(output.stderr) or format_exit(output.returncode),
            fix="check the network and pip's index",
        )
    return wheels[0]


def copy_native_files(files: NativeFiles, folder: Path) -> tuple[Path, Path]:
    """Copies both files into `folder`, which is made if it is missing; returns the copies.

    Raises `DeviceError` when they cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (
            Path(shutil.copy(files.runner, folder / files.runner.name)),
            Path(shutil.copy(files.library, folder / LIBRARY)),
        )
    except OSError as error:
        raise DeviceError(
            "the native runner cannot be copied",
            where=folder,
            found=error.strerror or str(error),
            fix="choose another --out",
        ) from error
