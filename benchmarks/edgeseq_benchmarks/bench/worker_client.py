"""The parent's side of a measured process: start it, ask it, wait for it, end it.

Waiting blocks in poll(2): the parent uses no processor time while a child measures.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

import msgspec

from edgeseq.errors import BundleError, DeviceError, EdgeseqError
from edgeseq.formats.bundle import Bundle
from edgeseq.formats.codec import json_decoder
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.protocol import AnyCommand, AnyReply

R = TypeVar("R", bound=protocol.Reply)
Wrap = Callable[[Sequence[str]], list[str]]
"""Puts a command in front of the worker's own, to start it inside of a limit."""

# Columns of one slice are a few hundred kB; more than this is not a reply of ours.
REPLY_LIMIT_BYTES = 256 << 20
_STDERR_TAIL_BYTES = 4096
_END_TIMEOUT_S = 5.0


class WorkerLostError(EdgeseqError):
    """The measured process died, hung or spoke nonsense; `hung` tells the second from the rest.

    Raised to the code that measures, which turns it into a finding of that bundle or, when
    loading, into `BundleError`. `returncode` is negative for a signal, None while it runs.
    """

    exit_code = 4

    def __init__(self, what: str, *, where: str, found: object, hung: bool = False) -> None:
        super().__init__(what, where=where, found=found)
        self.hung = hung
        self.returncode: int | None = None


class WorkerClient:
    """A measured process. A context manager: leaving it ends the process, whatever happened."""

    def __init__(self, name: str, *, wrap: Wrap | None = None) -> None:
        """Starts the process; `name` says in messages whose it is."""
        self.name = name
        # A worker inherits nothing that could load foreign code: -P keeps the working folder off
        # the module path (Python 3.11); before that, it starts in a folder that holds no modules.
        command = [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]
        command += ["-m", "edgeseq_benchmarks.bench.worker", str(os.getpid())]
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._decoder = json_decoder(AnyReply)
        self._encoder = msgspec.json.Encoder()
        self._received = bytearray()
        self._out_of_hand = False
        self.spawned_ns = time.perf_counter_ns()
        self._process = subprocess.Popen(
            wrap(command) if wrap else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            cwd="/",
            env=_environment(),
            # Ctrl-C in a terminal goes to a whole process group; the parent ends its children.
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._stdin, self._stdout = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._stdin, False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, command: AnyCommand, reply: type[R], *, timeout_s: float) -> R:
        """Sends a command and waits for its reply.

        Raises `WorkerLostError` when the process dies, hangs or sends another reply, and what the
        process refused with (`BundleError`, `DeviceError`).
        """
        deadline = time.monotonic() + timeout_s
        self.send(command, deadline=deadline)
        return self.receive(reply, deadline=deadline)

    def send(self, command: AnyCommand, *, deadline: float) -> None:
        """Sends a command; `deadline` is a time of `time.monotonic`."""
        content = memoryview(self._encoder.encode(command) + b"\n")
        while content:
            self._wait(self._stdin, select.POLLOUT, deadline)
            try:
                content = content[os.write(self._stdin, content) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._lost("ended before it was done", ended=True) from None

    def receive(self, reply: type[R], *, deadline: float) -> R:
        """The next reply, which must be one of `reply` (see `ask`)."""
        found = self.receive_any(deadline=deadline)
        if isinstance(found, protocol.Refusal):
            kind = BundleError if found.kind == "bundle" else DeviceError
            raise kind(
                found.what,
                where=found.where or self.name,
                found=found.found,
                expected=found.expected,
                fix=found.fix,
            )
        if not isinstance(found, reply):
            raise self._lost(f"answered {type(found).__name__} instead of {reply.__name__}")
        return found

    def receive_any(self, *, deadline: float) -> AnyReply:
        """The next reply of any kind; raises `WorkerLostError` as `ask` does."""
        while (end := self._received.find(b"\n")) < 0:
            self._wait(self._stdout, select.POLLIN, deadline)
            content = os.read(self._stdout, 1 << 20)
            if not content:
                raise self._lost("ended before it was done", ended=True)
            self._received += content
            if len(self._received) > REPLY_LIMIT_BYTES:
                raise self._lost("answers without end")
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            reply: AnyReply = self._decoder.decode(line)
        except msgspec.DecodeError as failure:
            raise self._lost(f"does not keep the protocol ({failure})") from failure
        return reply

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        poller = select.poll()
        poller.register(descriptor, event)
        while (left_s := deadline - time.monotonic()) > 0:
            if poller.poll(max(1, min(left_s * 1000, 3_600_000))):
                return
        raise self._lost("did not answer in time", hung=True)

    def _lost(self, what: str, *, hung: bool = False, ended: bool = False) -> WorkerLostError:
        # What no longer listens or talks nonsense is not asked to finish.
        self._out_of_hand = not ended
        if ended:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_TIMEOUT_S)
        returncode = self._process.poll()
        state = "it still runs" if returncode is None else _exit_words(returncode)
        last = self.stderr_tail()
        error = WorkerLostError(
            f"the measured process {what}",
            where=self.name,
            found=f"{state}; its last words: {last}" if last else state,
            hung=hung,
        )
        error.returncode = returncode
        return error

    def stderr_tail(self) -> str:
        """The last line that the process wrote to stderr."""
        size_bytes = os.fstat(self._stderr.fileno()).st_size
        start = max(0, size_bytes - _STDERR_TAIL_BYTES)
        content = os.pread(self._stderr.fileno(), _STDERR_TAIL_BYTES, start)
        lines = content.decode("utf-8", errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return words[-1][:300] if words else ""

    def kill(self) -> None:
        """Ends the process at once and waits until the kernel has let go of it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """Asks the process to finish, and kills it when it does not."""
        if self._out_of_hand:
            self.kill()
        if self._process.poll() is None:
            with contextlib.suppress(WorkerLostError):
                self.send(protocol.Finish(), deadline=time.monotonic() + 0.2)
            try:
                self._process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            except BaseException:
                self.kill()
                raise
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def end_at_once(self) -> None:
        """Kills the process without asking, and closes what is left of it."""
        self.kill()
        self.end()


def _exit_words(returncode: int) -> str:
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


def _environment() -> dict[str, str]:
    """The environment of a measured process: the user's, without what would make it vary."""
    environment = dict(os.environ)
    # numpy's BLAS is not used in the measured path; its buffers (one a thread) would be counted.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    # A module path relative to the working folder would point elsewhere from the child's.
    if path := environment.get("PYTHONPATH"):
        parts = [os.path.abspath(part) for part in path.split(os.pathsep) if part]  # noqa: PTH100
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    return environment


def load_command(
    bundle: Bundle,
    child: WorkerClient,
    *,
    threads: int,
    first_text: protocol.Text,
    folder: os.PathLike[str] | None = None,
    ledger: bool = False,
    announce: bool = False,
) -> protocol.LoadModel:
    """The command that loads `bundle` (from `folder` instead of its own, when given)."""
    signature = bundle.manifest.signature
    base = os.path.abspath(folder or bundle.path)  # noqa: PTH100
    return protocol.LoadModel(
        model_path=f"{base}/model.tflite",
        tokenizer_path=f"{base}/tokenizer.json",
        max_tokens=bundle.manifest.max_tokens,
        labels=(
            bundle.manifest.vocabulary_size
            if bundle.head == "language-modeling"
            else len(bundle.labels)
        ),
        signature_key=signature.key,
        input_name=signature.inputs[0].name,
        output_name=signature.outputs[0].name,
        threads=threads,
        first_text=first_text,
        spawned_ns=child.spawned_ns,
        ledger=ledger,
        announce=announce,
        head=bundle.head,
        span_labels=bundle.labels if bundle.task.bio_labels else (),
    )


@contextmanager
def lost_while_loading(bundle: Bundle) -> Iterator[None]:
    """Turns a process that died while it loaded the bundle into a `BundleError`."""
    try:
        yield
    except WorkerLostError as lost:
        raise BundleError(
            "cannot be loaded: the process that tried " + ("hung" if lost.hung else "died"),
            where=bundle.path,
            found=lost.found,
            fix="convert it again, or inspect it with `edgeseq inspect`",
        ) from lost
