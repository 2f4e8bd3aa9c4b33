"""A function of this toolkit in a child process.

The process gets a `JobRequest` as one JSON line on stdin and sends `JobMessage`s as JSON lines on
stdout; everything that libraries print goes to a log. `JobChannel` is its side, `JobProcess` the
parent's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeseq import errors, interrupts
from edgeseq.errors import EdgeseqError, StepError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.subprocesses.child_process import ChildProcess, format_exit

GRACE_S = 5.0
"""What a child may take to end once it was interrupted, before it is killed."""
STEP_GRACE_S = 2 * GRACE_S
"""The same for a step of a suite, which may have a child to end first."""
JOBS = (sys.executable, "-m", "edgeseq.suite.jobs")


class JobRequest(msgspec.Struct, frozen=True):
    """What a job's process is to do: a function of `edgeseq.suite.jobs` and its arguments.

    A step of a suite notes in the file `journal` what it writes at or below `output`.
    """

    name: str
    arguments: dict[str, Any]
    journal: str = ""
    output: str = ""


class JobFailure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error of the job: the name of its class in `edgeseq.errors`, and its parts."""

    error: str
    what: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    fix: str | None = None

    @classmethod
    def of(cls, error: EdgeseqError) -> JobFailure:
        """The parts of an error, to be raised in another process."""
        return cls(
            error=type(error).__name__,
            what=error.what,
            where=error.where,
            found=None if error.found is None else str(error.found),
            expected=None if error.expected is None else str(error.expected),
            fix=error.fix,
        )

    def to_error(self, *, device: str | None = None) -> EdgeseqError:
        """The error again, of the same class, with the device before the place."""
        class_ = getattr(errors, self.error, StepError)
        if not (isinstance(class_, type) and issubclass(class_, EdgeseqError)):
            class_ = StepError
        where = ": ".join(part for part in (device, self.where) if part) or None
        return class_(
            self.what, where=where, found=self.found, expected=self.expected, fix=self.fix
        )


class JobMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line from the job's process; exactly one of the first three is set."""

    progress: ProgressUpdate | None = None
    answer: dict[str, Any] | None = None
    failure: JobFailure | None = None
    peak_memory_bytes: int | None = None


class JobResult(NamedTuple):
    """The end of a job: its answer, and its peak memory where it is known."""

    answer: dict[str, Any]
    peak_memory_bytes: int | None


class JobProcess:
    """A job in a child process; `stop` must be called in the end.

    `fileno` makes it something to wait for with `selectors`, several at a time.
    """

    def __init__(
        self,
        job: JobRequest,
        *,
        log: Path,
        cwd: Path,
        command: Sequence[str] = JOBS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the process in `cwd` and sends it the job; `env` is its environment, if not this.

        Raises `OutputError` when the log cannot be written.
        """
        self.name = job.name
        self._log = log
        self._is_interrupted = False
        with os_errors_as_output_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stderr:
                self._child = ChildProcess(command, stderr=stderr, cwd=cwd, env=env)
        with contextlib.suppress(BrokenPipeError):  # one that died at once is noticed by `poll`
            self._child.write(msgspec.json.encode(job) + b"\n", deadline=float("inf"))

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to `poll`."""
        return self._child.fileno()

    def poll(self, progress: ProgressCallback = no_progress) -> JobResult | None:
        """Waits for messages; passes progress on, and returns the result if it has come.

        Raises the job's own `EdgeseqError`, and `StepError` when it died or ended without an
        answer (naming the log).
        """
        try:
            lines = self._child.read_lines()
        except EOFError:
            raise self._death() from None
        for line in lines:
            message = decode_json(line, JobMessage)
            if message.progress is not None:
                progress(message.progress)
            elif message.failure is not None:
                raise message.failure.to_error()
            elif message.answer is not None:
                return JobResult(message.answer, message.peak_memory_bytes)
        return None

    def interrupt(self) -> None:
        """Interrupts a process that still runs, once; it cleans up and ends."""
        if not self._is_interrupted and self._child.returncode is None:
            self._is_interrupted = True
            self._child.signal(signal.SIGINT)

    def kill(self) -> None:
        """Kills a process that still runs; the thread that polls it collects what is left."""
        self._child.signal(signal.SIGKILL)

    def stop(self, *, grace_s: float = GRACE_S) -> None:
        """Ends a process that still runs: interrupted first, killed after a grace period."""
        self.interrupt()
        self._child.end(grace_s)

    def _death(self) -> StepError:
        code = self._child.wait(GRACE_S)
        cause = "no answer" if code is None else format_exit(code)
        if code == -signal.SIGKILL:
            cause += " (out of memory?)"
        return StepError(f"the step {self.name} died: {cause}", fix=f"see {self._log}")


def run_job(
    job: JobRequest,
    *,
    log: Path,
    cwd: Path,
    progress: ProgressCallback = no_progress,
    command: Sequence[str] = JOBS,
) -> JobResult:
    """Runs `job` in a process started in `cwd` by `command`, which must speak as `JobChannel` does.

    Raises the job's own `EdgeseqError`, `StepError` when it died or ended without an answer
    (naming the log), `OutputError` when the log cannot be written, and `KeyboardInterrupt` after
    the process has been stopped.
    """
    process = JobProcess(job, log=log, cwd=cwd, command=command)
    try:
        while (result := process.poll(progress)) is None:
            pass
    finally:
        process.stop()
    return result


def stop_all(processes: Iterable[JobProcess], *, grace_s: float = STEP_GRACE_S) -> None:
    """Ends processes that still run, all within one grace period."""
    running = list(processes)
    for process in running:
        process.interrupt()
    deadline = time.monotonic() + grace_s
    for process in running:
        process.stop(grace_s=max(0.0, deadline - time.monotonic()))


class JobChannel:
    """The job's side: takes stdout for messages and sends everything else to stderr."""

    def __init__(self) -> None:
        self._messages = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # whatever libraries print on stdout, native code too, goes to the log
        interrupts.listen((signal.SIGINT, signal.SIGTERM))
        self.job = decode_json(sys.stdin.buffer.readline(), JobRequest)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        # The descriptor, not `sys.stdin`: a thread that holds the buffer's lock when the
        # interpreter shuts down makes it abort.
        while os.read(0, 1 << 12):
            pass
        interrupts.interrupt_main_thread()
        time.sleep(STEP_GRACE_S)
        os._exit(130)  # native code that does not let itself be interrupted

    def send(self, message: JobMessage) -> None:
        """Sends one line; the end of the parent is noticed by the thread on stdin.

        After an answer or a failure this process ends undisturbed.
        """
        if message.progress is None:
            interrupts.finish()  # the parent interrupts what still runs then
        with contextlib.suppress(BrokenPipeError):
            self._messages.write(msgspec.json.encode(message) + b"\n")
            self._messages.flush()

    def report(self, update: ProgressUpdate) -> None:
        """A `ProgressCallback` that passes on to the parent."""
        self.send(JobMessage(progress=update))


def answer_job(run: Callable[[dict[str, Any], ProgressCallback], dict[str, Any]]) -> int:
    """Runs the one job on stdin by `run` and sends its answer or its `EdgeseqError`.

    Returns the exit code. Any other error is raised: its traceback ends the log, where the parent
    looks for the reason.
    """
    channel = JobChannel()
    try:
        answer = run(channel.job.arguments, channel.report)
    except EdgeseqError as error:
        channel.send(JobMessage(failure=JobFailure.of(error)))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    channel.send(JobMessage(answer=answer))
    return 0
