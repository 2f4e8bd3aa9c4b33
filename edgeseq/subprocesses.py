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
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

import msgspec

from edgeseq import errors
from edgeseq.errors import EdgeseqError, StepError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

GRACE_S = 5.0
"""What a child may take to end once it was interrupted, before it is killed."""
STEP_GRACE_S = 2 * GRACE_S
"""The same for a step of a suite, which may have a child of its own to end first."""
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

    progress: ProgressUpdate | None = None
    answer: dict[str, Any] | None = None
    failure: Failure | None = None
    peak_memory_bytes: int | None = None


class Answered(msgspec.Struct, frozen=True):
    """The end of a job: what the child answered, and its peak memory if it said so."""

    answer: dict[str, Any]
    peak_memory_bytes: int | None


class Child:
    """A job in a process of its own, as its parent sees it; `stop` must be called in the end.

    `fileno` makes it something to wait for with `selectors`, several at a time.
    """

    def __init__(self, job: Job, *, log: Path, cwd: Path, command: Sequence[str] = JOBS) -> None:
        """Starts the child in `cwd` and hands it the job.

        Raises `OutputError` when the log cannot be written.
        """
        self.name = job.name
        self._log = log
        self._received = bytearray()
        self._asked_to_stop = False
        with os_errors_as_output_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as chatter:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=chatter,
                    cwd=cwd,
                )
        self._stdin, self._stdout = _pipes(self._process)
        with contextlib.suppress(BrokenPipeError):  # one that died at once is noticed by `listen`
            self._stdin.write(msgspec.json.encode(job) + b"\n")
            self._stdin.flush()

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to `listen` to."""
        return self._stdout.fileno()

    def listen(self, progress: ProgressCallback = no_progress) -> Answered | None:
        """Waits until the child says something; passes progress on, gives its answer if it came.

        Raises the child's own `EdgeseqError`, and `StepError` when it died or ended without an
        answer (naming the log).
        """
        chunk = os.read(self.fileno(), 1 << 16)  # not `read`, which waits for as much as asked
        if not chunk:
            raise self._death()
        *lines, rest = (bytes(self._received) + chunk).split(b"\n")
        self._received[:] = rest
        for line in lines:
            message = decode_json(line, Message)
            if message.progress is not None:
                progress(message.progress)
            elif message.failure is not None:
                raise _rebuild(message.failure)
            elif message.answer is not None:
                return Answered(message.answer, message.peak_memory_bytes)
        return None

    def ask_to_stop(self) -> None:
        """Interrupts a child that still runs, once; it cleans up and ends."""
        if not self._asked_to_stop and self._process.poll() is None:
            self._asked_to_stop = True
            self._process.send_signal(signal.SIGINT)

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Ends a child that still runs: asked first, killed after a grace period."""
        self.ask_to_stop()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _death(self) -> StepError:
        code = self._process.wait()
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == -signal.SIGKILL:
            cause += " (out of memory?)"
        return StepError(f"the step {self.name} died: {cause}", fix=f"see {self._log}")


def run_job(
    job: Job,
    *,
    log: Path,
    cwd: Path,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = JOBS,
) -> tuple[dict[str, Any], int | None]:
    """Runs `job` in a child started in `cwd`; gives its answer and its peak memory in bytes.

    `command` starts the child, which must speak as `ChildSide` does.

    Raises the child's own `EdgeseqError`, `StepError` when it died or ended without an answer
    (naming the log), `OutputError` when the log cannot be written, and `KeyboardInterrupt` after
    the child has been stopped.
    """
    child = Child(job, log=log, cwd=cwd, command=command)
    try:
        while (answered := child.listen(progress)) is None:
            pass
    finally:
        child.stop()
    return answered.answer, answered.peak_memory_bytes


def stop_all(children: Iterable[Child], *, grace_s: float = STEP_GRACE_S) -> None:
    """Ends children that still run, all within one grace period."""
    todo = list(children)
    for child in todo:
        child.ask_to_stop()
    deadline = time.monotonic() + grace_s
    for child in todo:
        child.stop(grace_s=max(0.0, deadline - time.monotonic()))


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if child.stdin is None or child.stdout is None:
        raise StepError("a child was started without pipes")
    return child.stdin, child.stdout


def _rebuild(failure: Failure) -> EdgeseqError:
    class_ = getattr(errors, failure.error, StepError)
    if not (isinstance(class_, type) and issubclass(class_, EdgeseqError)):
        class_ = StepError
    return class_(failure.line)


class ChildSide:
    """The child's end: takes stdout for messages and sends everything else to stderr."""

    def __init__(self) -> None:
        self._messages = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # whatever libraries print on stdout, native code too, goes to the log
        # Ctrl-C reaches this process from the terminal and again from its parent.
        signal.signal(signal.SIGINT, _interrupt_once)
        self.job = decode_json(sys.stdin.buffer.readline(), Job)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        # The descriptor, not `sys.stdin`: a thread that holds the buffer's lock when the
        # interpreter shuts down makes it abort.
        while os.read(0, 1 << 12):
            pass
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(STEP_GRACE_S)
        os._exit(130)  # native code that does not let itself be interrupted

    def send(self, message: Message) -> None:
        """Sends one line; a parent that is gone is noticed by the thread on stdin."""
        with contextlib.suppress(BrokenPipeError):
            self._messages.write(msgspec.json.encode(message) + b"\n")
            self._messages.flush()

    def report(self, update: ProgressUpdate) -> None:
        """A `Report` that passes on to the parent."""
        self.send(Message(progress=update))


def _interrupt_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Raises `KeyboardInterrupt`; what is then cleaned up is not interrupted again."""
    # A function and not SIG_IGN, which a process that is started meanwhile would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    raise KeyboardInterrupt
