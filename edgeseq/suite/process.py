"""Runs one step in a process of its own.

Why its own: TensorFlow's memory goes back to the system before anything is measured, a crash of
native code ends one step and not the run, and Ctrl-C has one thing to stop. The child
(`edgeseq.suite.jobs`) gets its job as one JSON line on stdin, answers with JSON lines on stdout,
and everything that libraries print goes to a log. Its stdin stays open for as long as the parent
lives; when the parent dies, the child reads end-of-file there and ends too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from edgeseq import errors
from edgeseq.errors import EdgeseqError, StepError
from edgeseq.files import os_errors_as_output_errors
from edgeseq.progress import Progress, Report, silent

GRACE_S = 10.0
JOBS = (sys.executable, "-m", "edgeseq.suite.jobs")


class Job(msgspec.Struct, frozen=True):
    """What the child is asked: the function of `edgeseq.suite.jobs` and its arguments."""

    name: str
    arguments: dict[str, Any]


class Failure(msgspec.Struct, frozen=True):
    """An error of the child: the name of its class in `edgeseq.errors` and its line."""

    error: str
    line: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the child; exactly one of the three is set."""

    progress: Progress | None = None
    answer: dict[str, Any] | None = None
    failure: Failure | None = None
    peak_memory_bytes: int | None = None


def run_job(
    job: Job,
    *,
    log: Path,
    cwd: Path,
    report: Report = silent,
    command: Sequence[str] = JOBS,
) -> tuple[dict[str, Any], int | None]:
    """Runs `job` in a child started in `cwd`; gives its answer and its peak memory in bytes.

    `command` starts the child, which must speak as `ChildSide` does.

    Raises the child's own `EdgeseqError`, `StepError` when it died or ended without an answer
    (naming the log), `OutputError` when the log cannot be written, and `KeyboardInterrupt` after
    the child has been stopped.
    """
    with os_errors_as_output_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as chatter:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=chatter,
                cwd=cwd,
            )
    try:
        return _converse(child, job, log, report)
    finally:
        _stop(child)


def _converse(
    child: subprocess.Popen[bytes], job: Job, log: Path, report: Report
) -> tuple[dict[str, Any], int | None]:
    stdin, stdout = _pipes(child)
    with contextlib.suppress(BrokenPipeError):  # a child that died at once is reported below
        stdin.write(msgspec.json.encode(job) + b"\n")
        stdin.flush()
    for line in stdout:
        message = msgspec.json.decode(line, type=Message)
        if message.progress is not None:
            report(message.progress)
        elif message.failure is not None:
            raise _rebuild(message.failure)
        elif message.answer is not None:
            return message.answer, message.peak_memory_bytes
    code = child.wait()
    cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        cause += " (out of memory?)"
    raise StepError(f"the step {job.name} died: {cause}", fix=f"see {log}")


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise StepError("a child was started without pipes")
    return child.stdin, child.stdout


def _rebuild(failure: Failure) -> EdgeseqError:
    class_ = getattr(errors, failure.error, StepError)
    if not (isinstance(class_, type) and issubclass(class_, EdgeseqError)):
        class_ = StepError
    return class_(failure.line)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends a child that still runs: asked first (it cleans up), killed after a grace period."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


class ChildSide:
    """The child's end: takes stdout for messages and sends everything else to stderr."""

    def __init__(self) -> None:
        self._messages = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # whatever libraries print on stdout, native code too, goes to the log
        self.job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        # The descriptor, not `sys.stdin`: a thread that holds the buffer's lock when the
        # interpreter shuts down makes it abort.
        while os.read(0, 1 << 12):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    def send(self, message: Message) -> None:
        """Sends one line; a parent that is gone is noticed by the thread on stdin."""
        with contextlib.suppress(BrokenPipeError):
            self._messages.write(msgspec.json.encode(message) + b"\n")
            self._messages.flush()

    def report(self, progress: Progress) -> None:
        """A `Report` that passes on to the parent."""
        self.send(Message(progress=progress))
