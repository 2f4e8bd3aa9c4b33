"""The real adb client for tests: with a server, keys and a home of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ADB = shutil.which("adb")


@contextmanager
def private_adb(folder: Path) -> Iterator[Path]:
    """A folder to put in front of the PATH: its `adb` keeps away from everything of the user's."""
    if ADB is None:
        pytest.skip("needs the adb client: apt install adb")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = folder / "bin"
    programs.mkdir()
    lines = (
        "#!/bin/sh",
        f'export HOME="{folder}" ANDROID_USER_HOME="{folder}" TMPDIR="{folder}"',
        f'exec {ADB} -P {port} "$@"',
    )
    (programs / "adb").write_text("\n".join(lines) + "\n")
    (programs / "adb").chmod(0o755)
    run = [str(programs / "adb")]
    subprocess.run([*run, "start-server"], check=True, capture_output=True, timeout=60)
    try:
        yield programs
    finally:
        subprocess.run([*run, "kill-server"], check=False, capture_output=True, timeout=60)
