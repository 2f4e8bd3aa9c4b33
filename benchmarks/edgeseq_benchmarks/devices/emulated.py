"""`emulated:pi4`: a board in QEMU, started when it is connected to and stopped when it is closed.

Its image is built beforehand by `edgeseq device emulate`. Everything beyond starting it is the
path of a real board over ssh. The disk of each start is a throw-away copy.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.devices.address import DeviceKind
from edgeseq_benchmarks.devices.emulator.board_image import find_image
from edgeseq_benchmarks.devices.emulator.qemu import LOOPBACK, USER, QemuBoard
from edgeseq_benchmarks.devices.ssh import SshDevice


class EmulatedDevice(SshDevice):
    """A board over ssh in a QEMU process that `connect` starts and `close` ends."""

    def __init__(self, board: str, *, cache: Path | None = None) -> None:
        """`cache` replaces the user's cache folder.

        Raises `InputError` for a board that cannot be emulated.
        """
        self._board = find_board(board, where="emulated board", emulated=True)
        self._cache = cache
        self._qemu: QemuBoard | None = None
        super().__init__(LOOPBACK, name=f"emulated:{self._board.name}", emulated=True)

    @property
    def board(self) -> QemuBoard | None:
        """The running QEMU, None while it is not connected."""
        return self._qemu

    def connect(self, *, timeout_s: float) -> None:
        """Starts the board unless it runs; raises `DeviceError` when it was never built."""
        if self._qemu is None or not self._qemu.running:
            self.close()
            image = find_image(self._cache)
            if image is None:
                raise DeviceError(
                    "is not built yet",
                    where=self.name,
                    fix=f"build it once: edgeseq device emulate {self._board.name}",
                )
            self._qemu = QemuBoard(image, self._board)
            self._qemu.start(timeout_s=timeout_s)
            # The user's own settings do not count.
            options = self._qemu.ssh_options()
            self.configure(USER, self._qemu.port, Path(os.devnull), options)
        super().connect(timeout_s=timeout_s)

    def close(self) -> None:
        """Ends the connection and the board."""
        super().close()
        if self._qemu is not None:
            self._qemu.stop()
            self._qemu = None


KIND = DeviceKind(
    re.compile(r"emulated:(?P<target>[a-z0-9][a-z0-9-]*)"),
    "emulated:BOARD",
    lambda address: EmulatedDevice(address.target),
)
