"""A command with its input, its output by lines, and an end in time: what `local`, `ssh` and `adb`
share."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

from edgeseq_benchmarks.devices.base import CommandOutput, LineCallback

_CHUNK_BYTES = 1 << 16
# A device that sends without end must not fill this machine's memory.
OUTPUT_LIMIT_BYTES = 1 << 30
STDERR_LIMIT_BYTES = 1 << 20
_LINE_LIMIT_BYTES = 1 << 26


class CommandTimeoutError(Exception):
    """The command did not end in time, and was killed; `stderr` is what it had said."""

    def __init__(self, stderr: bytes) -> None:
        super().__init__("took too long")
        self.stderr = stderr


class Interruption(threading.Event):
    """Set by one thread to interrupt commands that others run (see `interruptible`)."""


_here = threading.local()
# How soon a thread notices that it was interrupted; the main thread is interrupted by a signal.
_NOTICE_S = 0.2


@contextlib.contextmanager
def interruptible(interruption: Interruption) -> Iterator[None]:
    """Lets `interruption` end the commands and pauses of this thread as Ctrl-C ends the main one's.

    `KeyboardInterrupt` is raised once; what cleans up after it runs to its end.
    """
    _here.interruption = interruption
    try:
        yield
    finally:
        _here.interruption = None


def pause(seconds: float) -> None:
    """Sleeps; raises `KeyboardInterrupt` when this thread is interrupted meanwhile."""
    interruption = getattr(_here, "interruption", None)
    if interruption is None:
        time.sleep(seconds)
        return
    interruption.wait(seconds)
    _notice()


def _notice() -> None:
    interruption = getattr(_here, "interruption", None)
    if interruption is not None and interruption.is_set():
        _here.interruption = None
        raise KeyboardInterrupt


class _Output:
    """One of a command's two outputs, kept or handed on line by line."""

    def __init__(self, limit_bytes: int, on_line: LineCallback | None = None) -> None:
        self.kept = bytearray()
        self._limit_bytes = limit_bytes
        self._on_line = on_line

    def take(self, content: bytes) -> None:
        self.kept += content
        if self._on_line is not None:
            *lines, rest = bytes(self.kept).split(b"\n")
            self.kept[:] = rest[-_LINE_LIMIT_BYTES:]
            for line in lines:
                self._on_line(line)
        elif len(self.kept) > self._limit_bytes:
            del self.kept[: len(self.kept) - self._limit_bytes]

    def end(self) -> None:
        if self._on_line is not None and self.kept:
            self._on_line(bytes(self.kept))
            self.kept.clear()


def run_command(
    command: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | IO[bytes] = b"",
    on_line: LineCallback | None = None,
    output: IO[bytes] | None = None,
    keep_stdin_open: bool = False,
    env: Mapping[str, str] | None = None,
) -> CommandOutput:
    """Runs a local command to its end, its process group killed when anything goes wrong.

    Stdout goes line by line to `on_line`, or as it is to `output`, or into the answer. With
    `keep_stdin_open` the command sees the end of its input only when it is over: so a program on
    the other side can tell that somebody is still there. An exception of `on_line` ends the
    command too. Raises `CommandTimeoutError` after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=None if env is None else dict(env),
        # Ctrl-C in a terminal goes to a whole process group; the caller ends its commands.
        start_new_session=True,
    )
    outputs = {"out": _Output(OUTPUT_LIMIT_BYTES, on_line), "err": _Output(STDERR_LIMIT_BYTES)}
    try:
        _move(process, stdin, outputs, deadline, keep_stdin_open)
        returncode = process.wait(max(0.0, deadline - time.monotonic()) + 0.1)
        outputs["out"].end()
    except (TimeoutError, subprocess.TimeoutExpired):
        raise CommandTimeoutError(bytes(outputs["err"].kept)) from None
    finally:
        _end(process)
    return CommandOutput(returncode, bytes(outputs["out"].kept), bytes(outputs["err"].kept))


class _Input:
    """A command's input: bytes, or what a file holds, written as fast as it is taken."""

    def __init__(self, source: bytes | IO[bytes]) -> None:
        self._waiting = memoryview(source if isinstance(source, bytes) else b"")
        self._file = None if isinstance(source, bytes) else source

    def write(self, descriptor: int) -> bool:
        """Writes some of it; False when there is no more, or nobody wants it."""
        if not self._waiting and self._file is not None:
            self._waiting = memoryview(self._file.read(_CHUNK_BYTES))
        if not self._waiting:
            return False
        try:
            written = os.write(descriptor, self._waiting[:_CHUNK_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # its exit status says why
            return False
        self._waiting = self._waiting[written:]
        return True


def _move(
    process: subprocess.Popen[bytes],
    stdin: bytes | IO[bytes],
    outputs: Mapping[str, _Output],
    deadline: float,
    keep_stdin_open: bool,
) -> None:
    """Writes the input and reads the outputs until they end; raises `TimeoutError`."""
    source = _Input(stdin)
    reading = [pipe for pipe in (process.stdout, process.stderr) if pipe is not None]
    with selectors.DefaultSelector() as selector:
        for pipe in reading:
            selector.register(pipe, selectors.EVENT_READ)
        assert process.stdin is not None  # noqa: S101 - it was asked for
        os.set_blocking(process.stdin.fileno(), False)
        selector.register(process.stdin, selectors.EVENT_WRITE)
        while reading:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            _notice()
            patience_s = 3600 if getattr(_here, "interruption", None) is None else _NOTICE_S
            for key, _ in selector.select(min(left_s, patience_s)):
                if key.fileobj is process.stdin:
                    if not source.write(key.fd):
                        selector.unregister(process.stdin)
                        if not keep_stdin_open:
                            process.stdin.close()
                    continue
                content = os.read(key.fd, _CHUNK_BYTES)
                if content:
                    outputs["err" if key.fileobj is process.stderr else "out"].take(content)
                else:
                    selector.unregister(key.fileobj)
                    reading = [pipe for pipe in reading if pipe is not key.fileobj]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what is left of the command and of its process group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def last_line(stderr: bytes) -> str:
    """The last thing that a command said, for a message; "" when it said nothing."""
    lines = [line.strip() for line in stderr.decode("utf-8", errors="replace").splitlines()]
    return next((line[:300] for line in reversed(lines) if line), "")
