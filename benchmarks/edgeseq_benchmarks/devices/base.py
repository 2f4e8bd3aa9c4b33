"""The interface between a benchmark and a machine: connect, run, put, get, close.

Everything above it is written against `Device`; everything below it (`local`, `ssh`, `adb`,
`emulated`) only moves bytes and starts commands. Every call has a timeout. A path on a device is a
`PurePosixPath`: devices are Linux or Android.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from edgeseq.errors import DeviceError
from edgeseq.formats.result import ResultRecord
from edgeseq.subprocesses.command_runs import CommandOutput, LineCallback

_CONNECT_S, _EMULATED_START_S = 20.0, 300.0


class DeviceLostError(DeviceError):
    """The connection was lost, or the device did not answer within the timeout.

    `worth_retrying`: a connection that broke may come back, a host key that changed will not.
    `result` is the measurement so far, if there is one.
    """

    result: ResultRecord | None = None

    def __init__(
        self,
        what: str,
        *,
        where: str,
        found: object = None,
        fix: str | None = None,
        worth_retrying: bool = False,
    ) -> None:
        super().__init__(what, where=where, found=found, fix=fix)
        self.worth_retrying = worth_retrying


class Device(Protocol):
    """One machine to measure on. All calls raise `DeviceLostError` when it cannot be reached or
    does not answer in time, and `DeviceError` when it refuses."""

    @property
    def name(self) -> str:
        """Its address, for messages and results: `ssh://pi@board`, `adb:SERIAL`, `emulated:pi4`."""
        ...

    @property
    def emulated(self) -> bool:
        """Whether its latencies are not valid."""
        ...

    def connect(self, *, timeout_s: float) -> None:
        """Makes sure that the device answers. May be called again after it was lost."""
        ...

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        """Runs a command, an argument list that no shell may change, to its end.

        A status that is not 0 is an answer, not an error. After a timeout or a loss the device
        does what it can to end the command.
        """
        ...

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:
        """Copies a file to the device, whole or not at all; raises `DeviceError` on a full disk."""
        ...

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:
        """Copies a file from the device, whole or not at all."""
        ...

    def close(self) -> None:
        """Ends the connection; never raises, and may be called twice."""
        ...


def connect_timeout_s(device: Device) -> float:
    """How long to wait for `device` in seconds; an emulated one is started first."""
    return _EMULATED_START_S if device.emulated else _CONNECT_S


@runtime_checkable
class StreamingDevice(Device, Protocol):
    """A device on which a command can have an open input and output for as long as it runs."""

    @property
    def marker(self) -> bytes:
        """The end of the line after which a command's own output begins."""
        ...

    def stream_command(self, command: Sequence[str]) -> list[str]:
        """What this machine starts so that `command` runs there, with its stdin and stdout.

        The command must end when its input does: that is what it sees of a lost connection.
        """
        ...

    def answers(self) -> bool:
        """Whether the connection is still there."""
        ...
