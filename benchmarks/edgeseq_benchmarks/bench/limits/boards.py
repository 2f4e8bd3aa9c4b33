"""The boards that are known by name: memory and processors as limits here, or emulated by QEMU.

Running inside of a board's limits (`--as`) shows what would not fit on it, and never its speed, so
every result of such a run names the board as a limit. Memory is what is soldered on; the board's
own system needs a part of it. `emulated:BOARD` has the instruction set and a Linux as well.
Sources: the makers' product pages (Raspberry Pi Zero 2 W, 3 B, 4 B and 5 of the smallest memory
that is sold widely), for the phone the memory of the smallest devices of Android (Go edition), and
`qemu-system-aarch64 -M virt -cpu help` for the processors.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.errors import InputError
from edgeseq.units import format_bytes

MIB = 1 << 20


class Board(NamedTuple):
    """A board: its title, memory in bytes and cores; `qemu_cpu` is None where QEMU has none."""

    name: str
    title: str
    memory_bytes: int
    cores: int
    qemu_cpu: str | None = None

    @property
    def words(self) -> str:
        """For messages: `Raspberry Pi Zero 2 W (537 MB, 4 cores)`."""
        return f"{self.title} ({format_bytes(self.memory_bytes)}, {self.cores} cores)"


BOARDS = {
    board.name: board
    for board in (
        Board("pi-zero-2w", "Raspberry Pi Zero 2 W", 512 * MIB, 4, "cortex-a53"),
        Board("pi3", "Raspberry Pi 3 B", 1024 * MIB, 4, "cortex-a53"),
        Board("pi4", "Raspberry Pi 4 B", 2048 * MIB, 4, "cortex-a72"),
        Board("pi5", "Raspberry Pi 5", 4096 * MIB, 4, "cortex-a76"),
        Board("phone-low", "phone with Android (Go edition)", 2048 * MIB, 4),
    )
}


def find_board(name: str, *, where: str = "--as", emulated: bool = False) -> Board:
    """The board of that name, with `emulated` one that QEMU has.

    Raises `InputError` that lists the names.
    """
    boards = {name: board for name, board in BOARDS.items() if board.qemu_cpu or not emulated}
    if name not in boards:
        what = "cannot be emulated" if emulated else "no such board"
        raise InputError(what, where=where, found=repr(name), expected=" or ".join(boards))
    return boards[name]


def limits_here(board: Board, cores: int, memory_bytes: int) -> tuple[int, float | None, str]:
    """The board's memory and processors as limits on a machine with `cores` and `memory_bytes`.

    Returns bytes, processors (None: this machine has no more than the board) and what cannot be
    promised.
    """
    limitations = []
    if memory_bytes and memory_bytes < board.memory_bytes:
        limitations.append(f"this machine has only {format_bytes(memory_bytes)} of memory")
    if cores < board.cores:
        limitations.append(f"this machine has only {cores} of the board's {board.cores} cores")
    cpus = float(board.cores) if cores > board.cores else None
    return board.memory_bytes, cpus, "; ".join(limitations)
