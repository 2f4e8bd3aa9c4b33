"""Chromium without a window, opened on one page: to run an export's page in the real runtime."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

from edgeseq.errors import DeviceError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.subprocesses.child_process import ChildProcess

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextlib.contextmanager
def headless_browser(address: str) -> Iterator[ChildProcess]:
    """Has Chromium open `address` (a page of this program's own) until the block ends;
    gives its process.

    Its profile is a temporary folder. Raises `DeviceError` when Chromium is not installed.
    """
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        raise DeviceError(
            "has no Chromium",
            where="this machine",
            expected=" or ".join(_NAMES),
            fix="install it (Debian: apt-get install chromium)",
        )
    # Chromium does not start as root with its sandbox.
    flags = (*_FLAGS, "--no-sandbox") if os.geteuid() == 0 else _FLAGS
    with temporary_folder() as profile:
        command = (program, *flags, f"--user-data-dir={profile}", address)
        with ChildProcess(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            yield browser
