"""A running emulated board: QEMU with a disk, memory of the board's size, and one forwarded port.

The port is the loopback interface's: only this machine reaches the board. QEMU ends with
this process, however that ends: beside it waits a reader of a pipe from here, and kills it when
the pipe is closed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.child_process import ChildProcess
from edgeseq_benchmarks.bench.limits.boards import Board
from edgeseq_benchmarks.devices.base import DeviceLostError
from edgeseq_benchmarks.devices.emulator.board_image import HOST_ALIAS, BoardImage
from edgeseq_benchmarks.devices.emulator.host_tools import START_TOOLS, find_tool, require_tools

USER = "root"
LOOPBACK = "127.0.0.1"
_POLL_S = 0.25
_CONSOLE_LINES = 4
# $1 is a word for `ps`; the rest is the command. The reader kills the whole process group.
_SUPERVISED = 'exec 3<&0; { cat <&3 >/dev/null; kill -s KILL 0; } & exec "$@" 3<&- </dev/null'


class QemuBoard:
    """One QEMU process. Use it as a context manager, or call `stop`."""

    def __init__(self, image: BoardImage, board: Board) -> None:
        """What is written to its disk is gone when it ends."""
        self.image = image
        self.board = board
        self.port = 0
        self._process: ChildProcess | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> QemuBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether QEMU runs."""
        return self._process is not None and self._process.returncode is None

    def start(self, *, timeout_s: float) -> None:
        """Starts QEMU and waits until the board's ssh server answers.

        Raises `DeviceError` when QEMU refuses, `DeviceLostError` with the last lines of the
        board's console when it does not come up in time.
        """
        self.stop()
        require_tools(START_TOOLS)
        self._folder = tempfile.TemporaryDirectory(prefix="edgeseq-board-")
        self.port = _free_port()
        with Path(self._folder.name, "qemu").open("wb") as output:
            command = ["/bin/sh", "-c", _SUPERVISED, "edgeseq-board", *self._command()]
            self._process = ChildProcess(command, stdout=output, stderr=output)
        deadline = time.monotonic() + timeout_s
        try:
            while not self._answers():
                self._check_alive()
                if time.monotonic() > deadline:
                    raise DeviceLostError(
                        f"did not come up within {timeout_s:g} s",
                        where=f"emulated:{self.board.name}",
                        found=f"on its console: {self.console_tail()}",
                    )
                time.sleep(_POLL_S)
        except BaseException:
            self.stop()
            raise

    def _command(self) -> list[str]:
        board, image = self.board, self.image
        disk = str(image.disk).replace(",", ",,")
        drive = f"if=none,id=root,format=raw,snapshot=on,file={disk}"
        forward = f"user,id=net,hostfwd=tcp:{LOOPBACK}:{self.port}-:22"
        console = str(self._path("console")).replace(",", ",,")
        return [
            *(find_tool("qemu-system-aarch64") or "qemu-system-aarch64", "-nodefaults"),
            *("-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", str(board.qemu_cpu)),
            *("-smp", str(min(board.cores, os.cpu_count() or 1))),
            *("-m", f"{board.memory_bytes >> 20}M", "-display", "none", "-no-reboot"),
            *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
            *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
            *("-append", "console=ttyAMA0 panic=-1 quiet"),
            *("-drive", drive, "-device", "virtio-blk-pci,drive=root"),
            *("-netdev", forward, "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-device", "virtio-rng-pci"),
        ]

    def _answers(self) -> bool:
        """Whether the ssh server greets; QEMU itself takes every connection and drops it."""
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), 5) as s:
            return s.recv(4) == b"SSH-"
        return False

    def _check_alive(self) -> None:
        if self.running:
            return
        output = self._path("qemu").read_text(encoding="utf-8", errors="replace").split("\n")
        raise DeviceError(
            "ended while it started",
            where=f"emulated:{self.board.name}",
            found=" / ".join(line for line in output[-5:] if line) or self.console_tail(),
        )

    def _path(self, name: str) -> Path:
        assert self._folder is not None  # noqa: S101 - made by `start` before anything else
        return Path(self._folder.name, name)

    def console_tail(self) -> str:
        """The last lines of the board's console, "nothing" when there is none."""
        with contextlib.suppress(OSError):
            text = self._path("console").read_text(encoding="utf-8", errors="replace")
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            return " / ".join(lines[-_CONSOLE_LINES:]) or "nothing"
        return "nothing"

    def ssh_options(self) -> list[str]:
        """OpenSSH's settings for this board, as values of `-o`."""
        return [
            f'IdentityFile="{self.image.key}"',
            "IdentitiesOnly=yes",
            f'UserKnownHostsFile="{self.image.known_hosts}"',
            f"HostKeyAlias={HOST_ALIAS}",
            "StrictHostKeyChecking=yes",
            "CheckHostIP=no",
        ]

    def ssh_command(self) -> list[str]:
        """The command with which a person connects to the board."""
        options = [word for option in self.ssh_options() for word in ("-o", option)]
        return ["ssh", *options, "-p", str(self.port), f"{USER}@{LOOPBACK}"]

    def stop(self) -> None:
        """Ends QEMU; never raises, and may be called twice."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def _free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
