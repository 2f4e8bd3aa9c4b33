"""A device that is none: it answers as it was told, and fails when it was told to.

For tests of what is built on a device, and for trying such code without a board.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.command_runs import CommandOutput, LineCallback
from edgeseq_benchmarks.devices.base import DeviceLostError

Answer = CommandOutput | Callable[[Sequence[str], bytes], CommandOutput]
"""What a command gives: always the same, or made from its arguments and its input."""


class FakeDevice:
    """Keeps files in a dictionary and gives scripted answers.

    `answers` are looked up by the words that a command begins with, the longest first; a command
    that none fits ends with 127. `lost_at` holds the numbers of the calls (from 1; connect, run,
    put and get count) at which the connection breaks; it stays broken until `connect` is called
    again, which fails at the numbers in `lost_at` like any call. `hangs_at` are calls that do not
    answer until their timeout, which passes at once. `room_bytes` is how much the disk takes.
    `calls` lists what was asked: the verb and its subject.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | None = None,
        *,
        name: str = "fake",
        emulated: bool = False,
        files: Mapping[str, bytes] | None = None,
        lost_at: Sequence[int] = (),
        hangs_at: Sequence[int] = (),
        room_bytes: int | None = None,
    ) -> None:
        self._name = name
        self._emulated = emulated
        self._answers = dict(answers or {})
        self.files = dict(files or {})
        self.calls: list[tuple[str, str]] = []
        self.connected = False
        self.closed = 0
        self._lost_at = frozenset(lost_at)
        self._hangs_at = frozenset(hangs_at)
        self._room_bytes = room_bytes

    @property
    def name(self) -> str:
        return self._name

    @property
    def emulated(self) -> bool:
        return self._emulated

    def connect(self, *, timeout_s: float) -> None:
        """Connects, unless this is a call to be lost at."""
        self._called("connect", self._name, timeout_s)
        self.connected = True

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        """The scripted answer; its lines go to `on_line` if that is given."""
        words = " ".join(command)
        self._called("run", words, timeout_s)
        for begin in sorted(self._answers, key=len, reverse=True):
            if words.startswith(begin):
                answer = self._answers[begin]
                finished = answer if isinstance(answer, CommandOutput) else answer(command, stdin)
                break
        else:
            return CommandOutput(127, b"", f"{command[0]}: not found".encode())
        if on_line is None:
            return finished
        for line in finished.stdout.splitlines():
            on_line(line)
        return msgspec.structs.replace(finished, stdout=b"")

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:
        """Keeps the file's content, if there is room for it."""
        self._called("put", str(target), timeout_s)
        content = source.read_bytes()
        used_bytes = sum(map(len, self.files.values()))
        if self._room_bytes is not None and used_bytes + len(content) > self._room_bytes:
            raise DeviceError("the disk is full", where=self._name, found=str(target))
        self.files[str(target)] = content

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:
        """Writes what was kept under that name."""
        self._called("get", str(source), timeout_s)
        if str(source) not in self.files:
            raise DeviceError("no such file", where=self._name, found=str(source))
        target.write_bytes(self.files[str(source)])

    def close(self) -> None:
        """Ends the connection."""
        self.connected = False
        self.closed += 1

    def _called(self, verb: str, subject: str, timeout_s: float) -> None:
        self.calls.append((verb, subject))
        number = len(self.calls)
        if number in self._hangs_at:
            raise DeviceLostError(
                f"did not answer within {timeout_s:g} s", where=self._name, worth_retrying=True
            )
        if number in self._lost_at or (verb != "connect" and not self.connected):
            self.connected = False
            raise DeviceLostError("the connection was lost", where=self._name, worth_retrying=True)
