"""The file's frame: a header, a table of sections, the sections at multiples of 8 bytes.

All numbers are little-endian. Header: 8 bytes `MAGIC`, format version and number of sections
(uint32), size of the file (uint64), 0 (uint64). For each section, in the order of `Section`: its
offset and size (uint64).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping

MAGIC = b"edgeseqR"
FORMAT_VERSION = 3


class Section(enum.IntEnum):
    """The sections in their order; `src/layout.h` of the runner has the same."""

    SETTINGS = 0
    STRINGS = 1
    TENSORS = 2
    LABELS = 3
    SPECIAL_IDS = 4
    TOKENIZER = 5
    NORMALIZER_STEPS = 6
    PRE_TOKENIZER_STEPS = 7
    TABLES = 8
    TEXTS = 9
    TOKEN_OFFSETS = 10
    TOKEN_BYTES = 11
    TOKEN_SLOTS = 12
    MERGES = 13
    MERGE_SLOTS = 14
    BYTE_IDS = 15
    ADDED_TOKENS = 16
    ASCII_MAP = 17
    TRANSITIONS = 18


def write_sections(sections: Mapping[Section, bytes]) -> bytes:
    """The whole file; a section that is not given is empty."""
    offset = 32 + 16 * len(Section)
    entries, bodies = [], []
    for section in Section:
        content = sections.get(section, b"")
        entries.append(struct.pack("<QQ", offset, len(content)))
        body = content + bytes(-len(content) % 8)
        bodies.append(body)
        offset += len(body)
    header = struct.pack("<8sIIQQ", MAGIC, FORMAT_VERSION, len(Section), offset, 0)
    return b"".join((header, *entries, *bodies))
