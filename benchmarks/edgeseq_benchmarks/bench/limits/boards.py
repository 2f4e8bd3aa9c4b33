"""Boards whose memory and processors are a limit here: never their speed.

Running inside of a board's limits shows what would not fit on it. How fast the board is, only the
board can tell, so every result of such a run names the board as a limit. Memory is what is
soldered on; the board's own system needs a part of it. Sources: the makers' product pages
(Raspberry Pi Zero 2 W, 3 B, 4 B and 5 of the smallest memory that is sold widely), and for the
phone the memory of the smallest devices of Android (Go edition).
"""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.errors import InputError
from edgeseq.units import format_bytes

MIB = 1 << 20


class Board(NamedTuple):
    """A board's name in words, its memory in bytes and its processor cores."""

    title: str
    memory_bytes: int
    cores: int

    @property
    def words(self) -> str:
        """For messages: `Raspberry Pi Zero 2 W (537 MB, 4 cores)`."""
        return f"{self.title} ({format_bytes(self.memory_bytes)}, {self.cores} cores)"


BOARDS = {
    "pi-zero-2w": Board("Raspberry Pi Zero 2 W", 512 * MIB, 4),
    "pi-3b": Board("Raspberry Pi 3 B", 1024 * MIB, 4),
    "pi-4": Board("Raspberry Pi 4 B", 2048 * MIB, 4),
    "pi-5": Board("Raspberry Pi 5", 4096 * MIB, 4),
    "phone-low": Board("phone with Android (Go edition)", 2048 * MIB, 4),
}


def find_board(name: str) -> Board:
    """The board of that name; raises `InputError` that lists the names."""
    if name not in BOARDS:
        raise InputError(
            "no such board", where="--as", found=repr(name), expected=" or ".join(BOARDS)
        )
    return BOARDS[name]


def limits_here(board: Board, cores: int, memory_bytes: int) -> tuple[int, float | None, str]:
    """The board's memory and processors as limits on a machine with `cores` and `memory_bytes`.

    Returns bytes, processors (None: this machine has no more than the board) and what cannot be
    promised.
    """
    lacks = []
    if memory_bytes and memory_bytes < board.memory_bytes:
        lacks.append(f"this machine has only {format_bytes(memory_bytes)} of memory")
    if cores < board.cores:
        lacks.append(f"this machine has only {cores} of the board's {board.cores} cores")
    cpus = float(board.cores) if cores > board.cores else None
    return board.memory_bytes, cpus, "; ".join(lacks)
