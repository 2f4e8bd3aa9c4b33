"""Runs `edgeseq` in processes that are killed, and looks for what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgeseq.formats.drafts import is_draft

LIMIT_S = 300.0
"""A tiny command takes seconds; on a busy machine many times as long. What hangs is killed."""
ORPHAN_LIMIT_S = 30.0
_MARK = "EDGESEQ_FAULTS"
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


class Command:
    """A command line of `edgeseq` with a temporary folder of its own."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        scratch: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.arguments = [sys.executable, "-m", "edgeseq", *map(str, arguments)]
        self.scratch = scratch
        self._mark = uuid.uuid4().hex
        self._environment = {**os.environ, **(environment or {})}

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # Whoever starts the tests in the background has them ignore the signal.
            ["env", "--default-signal=INT,TERM", *self.arguments],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**self._environment, "TMPDIR": str(self.scratch), _MARK: self._mark},
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        """Runs to the end, undisturbed."""
        process = self.start()
        stdout, stderr = _output(process)
        return subprocess.CompletedProcess(self.arguments, process.returncode, stdout, stderr)

    def run_and_signal(
        self,
        number: signal.Signals,
        delay_s: float,
        *,
        after: Callable[[], object] | None = None,
        until: Callable[[], object] | None = None,
    ) -> int | None:
        """Sends `number` after `delay_s`, counted from when `after` holds, or once `until` does.

        Returns the exit status, or None when the command had ended before.
        """
        process = self.start()
        if after is not None:
            _wait_for(after, process, LIMIT_S)
        _wait_for(until, process, delay_s)
        if process.poll() is not None:
            _output(process)
            return None
        process.send_signal(number)
        _, stderr = _output(process)
        assert "Traceback" not in stderr, stderr
        return process.returncode

    def wait_for_processes(self) -> list[int]:
        """Waits for every process that the command started; those that stay are orphans."""
        deadline = time.monotonic() + ORPHAN_LIMIT_S
        while (left := list(self._processes())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return left

    def _processes(self) -> Iterator[int]:
        mark = f"{_MARK}={self._mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def _wait_for(
    condition: Callable[[], object] | None, process: subprocess.Popen[str], seconds: float
) -> None:
    """Waits for a condition, at most so long, and no longer than the process lives."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if condition is not None and condition():
            return
        time.sleep(0.005)


def _output(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it writes until its end; one that hangs is killed."""
    try:
        return process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()


def drafts(*folders: Path) -> list[Path]:
    """What is unfinished below these folders."""
    return [path for folder in folders for path in folder.rglob("*") if is_draft(path.name)]


def abandoned_control_groups() -> list[Path]:
    """Control groups of runs whose process is gone."""
    groups = []
    for root, folders, _ in os.walk(_CONTROL_GROUPS):
        for name in folders:
            parts = name.split("-")
            is_ours = parts[0] == "edgeseq" and len(parts) > 1 and parts[1].isdigit()
            if is_ours and not Path(f"/proc/{parts[1]}").exists():
                groups.append(Path(root) / name)
    return groups
