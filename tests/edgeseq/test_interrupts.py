"""A signal ends a command in the same way, whatever it is at."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import atexit, os, signal, sys, time
from edgeseq import cli, interrupts

def terminate(number=signal.SIGTERM):
    os.kill(os.getpid(), number)

def load_library():
    try:
        terminate()
    except BaseException as error:
        raise ImportError("initialization failed") from error

def measure():
    from edgeseq_benchmarks.bench.runner import sigterm_as_interrupt
    with sigterm_as_interrupt():
        terminate()

def finalize(number=signal.SIGTERM):
    class Kept:
        def __del__(self):
            terminate(number)
    Kept()
    time.sleep(60)

def finalize_at_ctrl_c():
    try:
        finalize(signal.SIGINT)
    except KeyboardInterrupt:
        sys.exit(130)

def command():
    {command}
    sys.exit(0)

cli.app = lambda prog_name: command()
cli.main()
"""


def _exit_status(command: str, folder: Path) -> tuple[int, str]:
    (folder / "interrupted.py").write_text(SCRIPT.format(command=command))
    # Whoever starts the tests in the background has them ignore the signal.
    start = ["env", "--default-signal=INT,TERM", sys.executable, "-m", "interrupted"]
    done = subprocess.run(
        start, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "terminate()",
        "exec('terminate()')",  # as in the making of a dataclass
        "load_library()",
        "measure()",
        "finalize()",
    ],
)
def test_a_terminated_command_exits_with_143(command: str, tmp_path: Path) -> None:
    assert _exit_status(command, tmp_path) == (128 + signal.SIGTERM, "")


def test_what_a_finished_command_cleans_up_is_not_interrupted(tmp_path: Path) -> None:
    assert _exit_status("atexit.register(terminate)", tmp_path) == (0, "")


def test_ctrl_c_in_a_finalizer_is_not_lost(tmp_path: Path) -> None:
    assert _exit_status("finalize_at_ctrl_c()", tmp_path) == (130, "")
