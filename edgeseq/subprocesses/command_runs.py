"""Runs a command to its end, in the main thread or in one that another can interrupt."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

import msgspec

from edgeseq.subprocesses.child_process import CHUNK_BYTES, ChildProcess

# A device that sends without end must not fill this machine's memory.
OUTPUT_LIMIT_BYTES = 1 << 30
STDERR_LIMIT_BYTES = 1 << 20
_LINE_LIMIT_BYTES = 1 << 26
# How soon a thread notices that it was interrupted; the main thread is interrupted by a signal.
_NOTICE_S = 0.2

LineCallback = Callable[[bytes], None]
"""Takes each line of stdout (without its line end) while the command still runs."""


class CommandOutput(msgspec.Struct, frozen=True):
    """A command that has ended; `stdout` is empty when its lines went to a `LineCallback`."""

    returncode: int
    stdout: bytes
    stderr: bytes


class CommandTimeoutError(Exception):
    """The command did not end in time, and was killed; `stderr` is what it had written."""

    def __init__(self, stderr: bytes) -> None:
        super().__init__("timed out")
        self.stderr = stderr


class Interruption(threading.Event):
    """Set by one thread to interrupt commands that others run (see `interruptible`)."""


_thread = threading.local()


@contextlib.contextmanager
def interruptible(interruption: Interruption) -> Iterator[None]:
    """Lets `interruption` end the commands and pauses of this thread as Ctrl-C ends the main one's.

    `KeyboardInterrupt` is raised once; what cleans up after it runs to its end.
    """
    _thread.interruption = interruption
    try:
        yield
    finally:
        _thread.interruption = None


def pause(seconds: float) -> None:
    """Sleeps; raises `KeyboardInterrupt` when this thread is interrupted meanwhile."""
    interruption = getattr(_thread, "interruption", None)
    if interruption is None:
        time.sleep(seconds)
        return
    interruption.wait(seconds)
    _raise_interruption()


def _raise_interruption() -> None:
    interruption = getattr(_thread, "interruption", None)
    if interruption is not None and interruption.is_set():
        _thread.interruption = None
        raise KeyboardInterrupt


class _OutputBuffer:
    """One of a command's two outputs, kept or passed on line by line."""

    def __init__(self, limit_bytes: int, on_line: LineCallback | None = None) -> None:
        self.content = bytearray()
        self._limit_bytes = limit_bytes
        self._on_line = on_line

    def add(self, content: bytes) -> None:
        self.content += content
        if self._on_line is not None:
            *lines, rest = bytes(self.content).split(b"\n")
            self.content[:] = rest[-_LINE_LIMIT_BYTES:]
            for line in lines:
                self._on_line(line)
        elif len(self.content) > self._limit_bytes:
            del self.content[: len(self.content) - self._limit_bytes]

    def finish(self) -> None:
        if self._on_line is not None and self.content:
            self._on_line(bytes(self.content))
            self.content.clear()


class _InputSource:
    """A command's input: bytes, or what a file holds, written as fast as it is read."""

    def __init__(self, source: bytes | IO[bytes]) -> None:
        self._waiting = memoryview(source if isinstance(source, bytes) else b"")
        self._file = None if isinstance(source, bytes) else source

    def write(self, descriptor: int) -> bool:
        """Writes some of it; False when there is no more, or the command reads no more."""
        if not self._waiting and self._file is not None:
            self._waiting = memoryview(self._file.read(CHUNK_BYTES))
        if not self._waiting:
            return False
        try:
            written = os.write(descriptor, self._waiting[:CHUNK_BYTES])
        except BlockingIOError:
            return True
        except BrokenPipeError:  # its exit status gives the reason
            return False
        self._waiting = self._waiting[written:]
        return True


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
    """Runs a command to its end, its process group killed when anything goes wrong.

    Stdout goes line by line to `on_line`, or unchanged to `output`, or into the answer. With
    `keep_stdin_open` the command sees the end of its input only when it has ended: so a program on
    the other side can tell that this one is still there. An exception of `on_line` ends the command
    too. Raises `CommandTimeoutError` after `timeout_s`, `OSError` when there is no such program.
    """
    deadline = time.monotonic() + timeout_s
    stdout, stderr = _OutputBuffer(OUTPUT_LIMIT_BYTES, on_line), _OutputBuffer(STDERR_LIMIT_BYTES)
    buffers = [stdout, stderr] if output is None else [stderr]
    with ChildProcess(
        command, stdout=subprocess.PIPE if output is None else output, env=env
    ) as child:
        try:
            _transfer(child, _InputSource(stdin), buffers, deadline, keep_stdin_open)
            returncode = child.wait(max(0.0, deadline - time.monotonic()) + 0.1)
        except TimeoutError:
            returncode = None
        if returncode is None:
            raise CommandTimeoutError(bytes(stderr.content))
        stdout.finish()
    return CommandOutput(returncode, bytes(stdout.content), bytes(stderr.content))


def _transfer(
    child: ChildProcess,
    source: _InputSource,
    buffers: Sequence[_OutputBuffer],
    deadline: float,
    keep_stdin_open: bool,
) -> None:
    """Writes the input and reads the outputs until they end; raises `TimeoutError`."""
    open_outputs = dict(zip(child.outputs, buffers, strict=True))
    with selectors.DefaultSelector() as selector:
        for pipe in open_outputs:
            selector.register(pipe, selectors.EVENT_READ)
        selector.register(child.stdin, selectors.EVENT_WRITE)
        while open_outputs:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            _raise_interruption()
            wait_s = 3600 if getattr(_thread, "interruption", None) is None else _NOTICE_S
            for key, _ in selector.select(min(left_s, wait_s)):
                if key.fileobj is child.stdin:
                    if not source.write(key.fd):
                        selector.unregister(child.stdin)
                        if not keep_stdin_open:
                            child.stdin.close()
                    continue
                pipe = next(pipe for pipe in open_outputs if pipe is key.fileobj)
                content = os.read(key.fd, CHUNK_BYTES)
                if content:
                    open_outputs[pipe].add(content)
                else:
                    selector.unregister(pipe)
                    del open_outputs[pipe]


def command_text(command: Sequence[str], *, timeout_s: float) -> str:
    """What a command of this machine prints, "" where it is missing or does not end in time."""
    try:
        return run_command(command, timeout_s=timeout_s).stdout.decode("utf-8", errors="replace")
    except (OSError, CommandTimeoutError):
        return ""
