"""The C compilers of this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.child_process import format_exit
from edgeseq.subprocesses.command_runs import CommandTimeoutError, run_command

SYSTEM_COMPILERS = ("cc", "gcc", "clang")
_TIMEOUT_S = 300.0


def find_system_compiler(names: Sequence[str] = SYSTEM_COMPILERS) -> tuple[str, ...] | None:
    """The command of the first of these compilers that is installed; None for none."""
    path = next(filter(None, map(shutil.which, names)), None)
    return None if path is None else (path,)


def find_zig_compiler() -> tuple[str, ...] | None:
    """The command of the C compiler in PyPI's `ziglang`; None where that is not installed."""
    if importlib.util.find_spec("ziglang") is None:
        return None
    return (sys.executable, "-m", "ziglang", "cc")


def run_compiler(command: Sequence[str], *, what: str) -> None:
    """Runs a compiler to its end.

    Raises `DeviceError` that begins with `what`, with the compiler's first error, and when it does
    not end in time.
    """
    # Messages in one language; zig's own cache stays where the user has it.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    try:
        output = run_command(command, timeout_s=_TIMEOUT_S, env=environment)
    except CommandTimeoutError as error:
        raise DeviceError(
            "the compiler did not end in time", where=command[0], expected=f"<= {_TIMEOUT_S:g} s"
        ) from error
    if output.returncode:
        lines = output.stderr.decode("utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "error:" in line] or lines
        raise DeviceError(
            what,
            where=command[0],
            found=errors[0] if errors else format_exit(output.returncode),
            fix="try another compiler: pip install 'edgeseq[native]' brings zig's",
        )
