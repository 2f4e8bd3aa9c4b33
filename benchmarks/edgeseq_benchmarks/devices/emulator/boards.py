"""The boards that can be emulated: a processor that QEMU knows, cores, and real memory.

What is emulated is the instruction set, the memory and a Linux on a disk: what fits, what loads
and what is answered is the board's; how long anything takes is not.
Sources: the makers' product pages; `qemu-system-aarch64 -M virt -cpu help` for the processors.
"""

from __future__ import annotations

from typing import NamedTuple

from edgeseq.errors import InputError

MIB = 1 << 20


class EmulatedBoard(NamedTuple):
    """A board by name; `cpu` as QEMU names it, `memory_bytes` what is soldered on."""

    name: str
    title: str
    cpu: str
    cores: int
    memory_bytes: int


_ALL = (
    EmulatedBoard("pi-zero-2w", "Raspberry Pi Zero 2 W", "cortex-a53", 4, 512 * MIB),
    EmulatedBoard("pi3", "Raspberry Pi 3 B", "cortex-a53", 4, 1024 * MIB),
    EmulatedBoard("pi4", "Raspberry Pi 4 B", "cortex-a72", 4, 2048 * MIB),
    EmulatedBoard("pi5", "Raspberry Pi 5", "cortex-a76", 4, 4096 * MIB),
)
BOARDS = {board.name: board for board in _ALL}


def find_emulated(name: str, *, where: str = "emulated board") -> EmulatedBoard:
    """The board of that name; raises `InputError` that lists the names."""
    if name not in BOARDS:
        raise InputError(
            "cannot be emulated", where=where, found=repr(name), expected=" or ".join(BOARDS)
        )
    return BOARDS[name]
