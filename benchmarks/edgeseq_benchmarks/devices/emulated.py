"""`emulated:pi4`: a board in QEMU, started when it is connected to and stopped when it is closed.

Its image is built beforehand by `edgeseq device emulate`. Everything beyond starting it is the
path of a real board over ssh. The disk of each start is a throw-away copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edgeseq.errors import DeviceError
from edgeseq.subprocesses import CommandOutput, LineCallback
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.devices.address import DeviceKind
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.emulator.board_image import find_image
from edgeseq_benchmarks.devices.emulator.qemu import QemuBoard
from edgeseq_benchmarks.devices.ssh import SshDevice


class EmulatedDevice:
    """A `Device` over ssh to a QEMU process that it starts."""

    def __init__(self, board: str, *, cache: Path | None = None) -> None:
        """`cache` replaces the user's cache folder.

        Raises `InputError` for a board that cannot be emulated.
        """
        self._board = find_board(board, where="emulated board", emulated=True)
        self._cache = cache
        self._qemu: QemuBoard | None = None
        self._ssh: SshDevice | None = None

    @property
    def name(self) -> str:
        return f"emulated:{self._board.name}"

    @property
    def emulated(self) -> bool:
        return True

    @property
    def board(self) -> QemuBoard | None:
        """The running QEMU, None while it is not connected."""
        return self._qemu

    def connect(self, *, timeout_s: float) -> None:
        """Starts the board unless it runs; raises `DeviceError` when it was never built."""
        if self._qemu is None or not self._qemu.running:
            self.close()
            self._qemu = self._start(timeout_s)
        if self._ssh is None:
            self._ssh = self._qemu.ssh()
        self._ssh.connect(timeout_s=timeout_s)

    def _start(self, timeout_s: float) -> QemuBoard:
        image = find_image(self._cache)
        if image is None:
            raise DeviceError(
                "is not built yet",
                where=self.name,
                fix=f"build it once: edgeseq device emulate {self._board.name}",
            )
        qemu = QemuBoard(image, self._board)
        qemu.start(timeout_s=timeout_s)
        return qemu

    def _connected(self) -> SshDevice:
        if self._ssh is None:
            raise DeviceLostError("is not connected", where=self.name, worth_retrying=True)
        return self._ssh

    def run(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stdin: bytes = b"",
        on_line: LineCallback | None = None,
    ) -> CommandOutput:
        return self._connected().run(command, timeout_s=timeout_s, stdin=stdin, on_line=on_line)

    def put(self, source: Path, target: PurePosixPath, *, timeout_s: float) -> None:
        self._connected().put(source, target, timeout_s=timeout_s)

    def get(self, source: PurePosixPath, target: Path, *, timeout_s: float) -> None:
        self._connected().get(source, target, timeout_s=timeout_s)

    def close(self) -> None:
        """Ends the connection and the board."""
        ssh, self._ssh = self._ssh, None
        qemu, self._qemu = self._qemu, None
        if ssh is not None:
            ssh.close()
        if qemu is not None:
            qemu.stop()


KIND = DeviceKind(
    re.compile(r"emulated:(?P<target>[a-z0-9][a-z0-9-]*)"),
    "emulated:BOARD",
    lambda address: EmulatedDevice(address.target),
)
