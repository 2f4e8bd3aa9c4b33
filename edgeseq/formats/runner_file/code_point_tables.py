"""Tables over all code points in the file: two stages, blocks of 128 that occur once.

A class table is `num_blocks`, 0 (uint32), the block of each 128 code points (uint16 [8704]) and the
blocks (uint8 [num_blocks, 128]). A map is `num_blocks`, `num_replacements` (uint32), such an index
and blocks (uint16) of replacement numbers, 0 for a code point that stays; then uint32: where each
replacement starts and the last one ends, and the code points of all (`SELF` as 0xFFFFFFFF).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.formats.runner_file.library_tables import SELF, ClassTable, CodePointMap

BLOCK = 128
SELF_CODE = 0xFFFFFFFF


class TableArea:
    """The section of tables while it is written; equal tables are stored once."""

    def __init__(self) -> None:
        self._content = bytearray()
        self._offsets: dict[bytes, int] = {}

    @property
    def content(self) -> bytes:
        """The section's bytes."""
        return bytes(self._content)

    def add_classes(self, classes: ClassTable) -> int:
        """The offset of a class table."""
        index, blocks = _two_stages(classes.astype("<u1"))
        return self._add(struct.pack("<II", len(blocks), 0), index, blocks.tobytes())

    def add_map(self, table: CodePointMap) -> int:
        """The offset of a map."""
        # Replacements that a later map has taken the place of are left out.
        used = np.unique(table.values)
        used = used[used > 0]
        numbers = np.zeros(len(table.replacements), "<u2")
        numbers[used] = np.arange(1, len(used) + 1)
        index, blocks = _two_stages(numbers[table.values])
        codes = [table.replacements[number] for number in used]
        ends = np.cumsum([0, *map(len, codes)]).astype("<u4")
        flat = [SELF_CODE if code == SELF else code for part in codes for code in part]
        return self._add(
            struct.pack("<II", len(blocks), len(codes)),
            index,
            blocks.tobytes(),
            ends.tobytes(),
            np.array(flat, "<u4").tobytes(),
        )

    def add_compositions(self, pairs: Sequence[tuple[int, int, int]]) -> int:
        """The offset of sorted pairs and what they compose to: their number, 0, then 3 uint32
        each."""
        content = np.array(pairs, "<u4").reshape(-1, 3)
        return self._add(struct.pack("<II", len(content), 0), content.tobytes())

    def _add(self, *parts: bytes) -> int:
        content = b"".join(parts)
        if content not in self._offsets:
            self._offsets[content] = len(self._content)
            self._content += content + bytes(-len(content) % 8)
        return self._offsets[content]


def _two_stages(
    values: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
) -> tuple[bytes, npt.NDArray[np.generic]]:
    rows = np.ascontiguousarray(values.reshape(-1, BLOCK))
    numbers: dict[bytes, int] = {}
    index = [numbers.setdefault(row.tobytes(), len(numbers)) for row in rows]
    blocks = np.frombuffer(b"".join(numbers), values.dtype).reshape(-1, BLOCK)
    return np.array(index, "<u2").tobytes(), blocks
