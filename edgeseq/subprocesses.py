"""Child processes: the one module that starts them, talks to them and ends them.

`run_command` runs a program to its end, `ChildProcess` keeps one for as long as it is needed, and
`JobProcess` runs a function of this toolkit: TensorFlow's memory goes back to the system before
anything is measured, a crash of native code ends one step and not the run, and Ctrl-C has one thing
to stop. A job's process (`JobChannel` is its side) gets a `JobRequest` as one JSON line on stdin
and sends JSON lines on stdout; everything that libraries print goes to a log.

Each child is the leader of a process group: Ctrl-C in a terminal does not reach it, and what it
started is killed with it. Its stdin stays open for as long as this process lives, so that it can
end with it. Waiting blocks in poll(2), so nothing is spent while a child measures.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from edgeseq import errors, interrupts
from edgeseq.errors import EdgeseqError, StepError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

GRACE_S = 5.0
"""What a child may take to end once it was interrupted, before it is killed."""
STEP_GRACE_S = 2 * GRACE_S
"""The same for a step of a suite, which may have a child to end first."""
JOBS = (sys.executable, "-m", "edgeseq.suite.jobs")
# A device that sends without end must not fill this machine's memory.
OUTPUT_LIMIT_BYTES = 1 << 30
STDERR_LIMIT_BYTES = 1 << 20
_LINE_LIMIT_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 16
DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT
# How soon a thread notices that it was interrupted; the main thread is interrupted by a signal.
_NOTICE_S = 0.2

LineCallback = Callable[[bytes], None]
"""Takes each line of stdout (without its line end) while the command still runs."""


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
        return os.read(self.fileno(), _CHUNK_BYTES)

    def read_lines(self) -> list[bytes]:
        """The lines that have come, after waiting for something; raises `EOFError` at the end."""
        content = os.read(self.fileno(), _CHUNK_BYTES)  # not `read`, which waits for all of it
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
            self._waiting = memoryview(self._file.read(_CHUNK_BYTES))
        if not self._waiting:
            return False
        try:
            written = os.write(descriptor, self._waiting[:_CHUNK_BYTES])
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
                content = os.read(key.fd, _CHUNK_BYTES)
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
        self, job: JobRequest, *, log: Path, cwd: Path, command: Sequence[str] = JOBS
    ) -> None:
        """Starts the process in `cwd` and sends it the job.

        Raises `OutputError` when the log cannot be written.
        """
        self.name = job.name
        self._log = log
        self._is_interrupted = False
        with os_errors_as_output_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as stderr:
                self._child = ChildProcess(command, stderr=stderr, cwd=cwd)
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
        """Sends one line; the end of the parent is noticed by the thread on stdin."""
        with contextlib.suppress(BrokenPipeError):
            self._messages.write(msgspec.json.encode(message) + b"\n")
            self._messages.flush()

    def report(self, update: ProgressUpdate) -> None:
        """A `ProgressCallback` that passes on to the parent."""
        self.send(JobMessage(progress=update))
