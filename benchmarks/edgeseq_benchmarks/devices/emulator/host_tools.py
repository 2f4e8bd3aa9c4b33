"""The programs of the host that build and run an emulated board."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.child_process import format_exit
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command

# Program: the package of Debian and its relatives that brings it.
_PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "qemu-system-aarch64": "qemu-system-arm",
    "ssh-keygen": "openssh-client",
    "ssh": "openssh-client",
}
BUILD_TOOLS = ("mmdebstrap", "mke2fs", "ssh-keygen")
START_TOOLS = ("qemu-system-aarch64", "ssh")
# Where Debian keeps mke2fs; not every user's PATH has it.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def find_tool(name: str) -> str | None:
    """The full path of a program, None when it is not installed."""
    return shutil.which(name, path=_PATH)


def require_tools(names: Sequence[str]) -> None:
    """Raises `DeviceError` with the command that installs what is missing."""
    missing = [name for name in names if find_tool(name) is None]
    if missing:
        packages = " ".join(dict.fromkeys(_PACKAGES[name] for name in missing))
        raise DeviceError(
            "needs programs that are not installed",
            where="emulated board",
            found=f"no {', '.join(missing)}",
            fix=f"install them: sudo apt install {packages}",
        )


def run_tool(command: Sequence[str], *, timeout_s: float) -> str:
    """Runs a program of the host and returns its stdout.

    Raises `DeviceError` with the last line that it wrote when it fails or takes too long.
    """
    program = find_tool(command[0]) or command[0]
    try:
        output = run_command([program, *command[1:]], timeout_s=timeout_s)
    except CommandTimeoutError as error:
        raise DeviceError(
            "did not end in time", where=command[0], expected=f"<= {timeout_s:g} s"
        ) from error
    except OSError as error:
        raise DeviceError("cannot be run", where=command[0], found=error.strerror) from error
    if output.returncode:
        text = (output.stderr + output.stdout).decode("utf-8", errors="replace")
        lines = [line for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(("E:", "ERROR", "error"))]
        message = " / ".join((errors or lines)[-3:]) or format_exit(output.returncode)
        raise DeviceError("failed", where=command[0], found=message)
    return output.stdout.decode("utf-8", errors="replace")
