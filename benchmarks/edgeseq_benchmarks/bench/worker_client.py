"""The parent's side of a measured process: starts it, sends requests, waits, ends it.

Waiting blocks in poll(2): the parent uses no processor time while a child measures.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import msgspec

from edgeseq.errors import BundleError, DeviceError, EdgeseqError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.codec import json_decoder
from edgeseq.subprocesses.child_process import ChildProcess, format_exit, last_line
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.launcher import Launcher, python_launcher
from edgeseq_benchmarks.bench.protocol import AnyCommand, AnyReply

R = TypeVar("R", bound=protocol.Reply)
Wrap = Callable[[Sequence[str]], list[str]]
"""Puts a command in front of the worker's own, to start it inside of a limit."""

# Columns of one slice are a few hundred kB; a worker never sends more than this.
REPLY_LIMIT_BYTES = 256 << 20
_STDERR_TAIL_BYTES = 4096
_END_TIMEOUT_S = 5.0
# A shell's exit status for a process that a signal ended, which is what another machine tells.
_SIGNAL_STATUS = 128


class WorkerLostError(EdgeseqError):
    """The measured process died, hung (`hung`) or broke the protocol.

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

    def __init__(
        self, name: str, launcher: Launcher | None = None, *, wrap: Wrap | None = None
    ) -> None:
        """Starts the process (default: Python on this machine); `name` names its bundle in
        messages. Raises `DeviceError` when there is no such program."""
        self.name = name
        self.launcher = launcher or python_launcher()
        command = self.launcher.command
        command_here = self.launcher.start_command(wrap(command) if wrap else command)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        self._decoder = json_decoder(AnyReply)
        self._encoder = msgspec.json.Encoder()
        self._is_lost = False
        self._is_skipping = self.launcher.connection is not None
        self._spawned_ns = time.perf_counter_ns()
        environment = self.launcher.environment()
        try:
            self._process = ChildProcess(
                command_here, stderr=self._stderr, cwd="/", env=environment
            )
        except OSError as error:
            self._stderr.close()
            raise DeviceError(
                "the process to measure cannot be started",
                where=name,
                found=f"{command_here[0]}: {error.strerror}",
            ) from error

    @property
    def spawned_ns(self) -> int:
        """When the process was started; 0 where its machine has another clock."""
        return 0 if self.launcher.connection else self._spawned_ns

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def request(self, command: AnyCommand, reply: type[R], *, timeout_s: float) -> R:
        """Sends a command and waits for its reply.

        Raises `WorkerLostError` when the process dies, hangs or sends another reply, the error
        that the process reports (`BundleError`, `DeviceError`), and `MachineLostError`.
        """
        deadline = time.monotonic() + timeout_s
        self.send(command, deadline=deadline)
        return self.receive(reply, deadline=deadline)

    def send(self, command: AnyCommand, *, deadline: float) -> None:
        """Sends a command; `deadline` is a time of `time.monotonic`."""
        try:
            self._process.write(self._encoder.encode(command) + b"\n", deadline=deadline)
        except TimeoutError:
            raise self._lost("did not answer in time", hung=True) from None
        except BrokenPipeError:
            raise self._lost("ended before it was done", ended=True) from None

    def receive(self, reply: type[R], *, deadline: float) -> R:
        """The next reply, which must be one of `reply` (see `request`)."""
        message = self.receive_any(deadline=deadline)
        if isinstance(message, protocol.CommandError):
            kind = BundleError if message.kind == "bundle" else DeviceError
            raise kind(
                message.what,
                where=message.where or self.name,
                found=message.found,
                expected=message.expected,
                fix=message.fix,
            )
        if not isinstance(message, reply):
            raise self._lost(f"answered {type(message).__name__} instead of {reply.__name__}")
        return message

    def receive_any(self, *, deadline: float) -> AnyReply:
        """The next reply of any kind; raises `WorkerLostError` as `request` does."""
        try:
            self._skip_to_marker(deadline)
            line = self._process.read_line(deadline=deadline, limit_bytes=REPLY_LIMIT_BYTES)
            reply: AnyReply = self._decoder.decode(line)
        except TimeoutError:
            raise self._lost("did not answer in time", hung=True) from None
        except EOFError:
            raise self._lost("ended before it was done", ended=True) from None
        except OverflowError:
            raise self._lost("sends a reply without end") from None
        except msgspec.DecodeError as failure:
            raise self._lost(f"breaks the protocol ({failure})") from failure
        return reply

    def _skip_to_marker(self, deadline: float) -> None:
        """Skips what an account on another machine prints at each login."""
        while self._is_skipping and self.launcher.connection is not None:
            line = self._process.read_line(deadline=deadline, limit_bytes=REPLY_LIMIT_BYTES)
            self._is_skipping = not line.endswith(self.launcher.connection.marker)

    def _lost(self, what: str, *, hung: bool = False, ended: bool = False) -> WorkerLostError:
        # A process that hangs or breaks the protocol is not asked to finish.
        self._is_lost = not ended
        returncode = self._process.wait(_END_TIMEOUT_S) if ended else self._process.returncode
        if self.launcher.connection is not None:
            self.launcher.connection.check()
            if returncode is not None and returncode > _SIGNAL_STATUS:
                returncode = _SIGNAL_STATUS - returncode
        state = "it still runs" if returncode is None else format_exit(returncode)
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
        return last_line(os.pread(self._stderr.fileno(), _STDERR_TAIL_BYTES, start))

    def end(self) -> None:
        """Asks the process to finish, and kills it when it does not."""
        grace_s = 0.0
        if not self._is_lost and self._process.returncode is None:
            grace_s = _END_TIMEOUT_S
            with contextlib.suppress(WorkerLostError):
                self.send(protocol.Finish(), deadline=time.monotonic() + 0.2)
        self._process.end(grace_s)
        self._stderr.close()

    def kill(self) -> None:
        """Kills the process and waits until the kernel has let go of it."""
        self._process.kill()
        self._stderr.close()


def load_command(
    bundle: BundleFiles,
    child: WorkerClient,
    *,
    threads: int,
    first_text: protocol.Text,
    ledger: bool = False,
    announce: bool = False,
) -> protocol.LoadModel:
    """The command that loads `bundle`, from where the launcher of `child` has its files."""
    signature = bundle.manifest.signature
    model_path, tokenizer_path = child.launcher.paths(bundle)
    return protocol.LoadModel(
        model_path=model_path,
        tokenizer_path=tokenizer_path,
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
        padding=bundle.manifest.padding,
        thresholds=threshold_logits(bundle.manifest.thresholds),
        transitions=bundle.manifest.transitions,
        features=signature.inputs[0].shape[2] if is_numeric(bundle.head) else None,
        word_features=bundle.manifest.word_features,
    )


@contextmanager
def lost_while_loading(bundle: BundleFiles) -> Iterator[None]:
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
