"""A program in a process group of its own, and how its end is told."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT
CHUNK_BYTES = 1 << 16
"""How much is read from or written to a pipe at a time."""


class ChildProcess:
    """A program in a process group, with a pipe to its stdin; a context manager that kills it.

    `read_line` reads its stdout, unless `stdout` is a file.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: IO[bytes] | int = subprocess.PIPE,
        stderr: IO[bytes] | int = subprocess.PIPE,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the program; raises `OSError` when there is none."""
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            cwd=cwd,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
        self._received = bytearray()
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self.stdin: IO[bytes] = self._process.stdin
        self.outputs = [pipe for pipe in (self._process.stdout, self._process.stderr) if pipe]
        os.set_blocking(self.stdin.fileno(), False)

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def fileno(self) -> int:
        """The descriptor of its stdout, to wait for with `selectors`."""
        return self.outputs[0].fileno()

    def write(self, content: bytes, *, deadline: float) -> None:
        """Writes to its stdin; `deadline` is a time of `time.monotonic`.

        Raises `TimeoutError`, and `BrokenPipeError` when it has ended.
        """
        rest = memoryview(content)
        while rest:
            _wait_for(self.stdin.fileno(), select.POLLOUT, deadline)
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(self.stdin.fileno(), rest) :]

    def read_line(self, *, deadline: float, limit_bytes: int) -> bytes:
        """The next line of its stdout.

        Raises `TimeoutError`, `EOFError` when there is none, `OverflowError` when it is too long.
        """
        while (end := self._received.find(b"\n")) < 0:
            _wait_for(self.fileno(), select.POLLIN, deadline)
            content = os.read(self.fileno(), 1 << 20)
            if not content:
                raise EOFError
            self._received += content
            if len(self._received) > limit_bytes:
                raise OverflowError
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    def read(self, timeout_s: float) -> bytes | None:
        """Output of its stdout, b"" at its end; None when there is none within `timeout_s`."""
        try:
            _wait_for(self.fileno(), select.POLLIN, time.monotonic() + timeout_s)
        except TimeoutError:
            return None
        return os.read(self.fileno(), CHUNK_BYTES)

    def read_lines(self) -> list[bytes]:
        """The lines that have come, after waiting for something; raises `EOFError` at the end."""
        content = os.read(self.fileno(), CHUNK_BYTES)  # not `read`, which waits for all of it
        if not content:
            raise EOFError
        *lines, rest = (bytes(self._received) + content).split(b"\n")
        self._received[:] = rest
        return lines

    def signal(self, number: int) -> None:
        """Sends a signal to the process, if it still runs."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit status once it has ended; None when it still runs after `timeout_s`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def end(self, grace_s: float) -> None:
        """Waits for its end, and kills it after `grace_s`."""
        try:
            self.wait(grace_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends what is left of it and of its process group; may be called twice."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for pipe in (self.stdin, *self.outputs):
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.wait()


def _wait_for(descriptor: int, event: int, deadline: float) -> None:
    """Blocks until the descriptor is ready; raises `TimeoutError`."""
    poller = select.poll()
    poller.register(descriptor, event)
    while (left_s := deadline - time.monotonic()) > 0:
        if poller.poll(max(1, min(left_s * 1000, 3_600_000))):
            return
    raise TimeoutError


def format_exit(returncode: int) -> str:
    """`exit status 1` or `killed by SIGKILL`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def last_line(output: bytes) -> str:
    """The last line that is not empty, for a message; "" when there is none."""
    lines = [line.strip() for line in output.decode("utf-8", errors="replace").splitlines()]
    return next((line[:300] for line in reversed(lines) if line), "")
