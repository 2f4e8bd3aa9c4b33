"""A vocabulary and its merges as hash tables that are read in place.

A slot is a uint32: 8 bits of the hash and 24 bits of an index, all ones where it is empty; a key is
looked for from the slot of its hash onwards. Tables are at most half full. Tokens are hashed with
FNV-1a over their UTF-8 (Fowler, Noll, Vo: http://www.isthe.com/chongo/tech/comp/fnv), then mixed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.formats.runner_file.unsupported import UnsupportedTokenizerError

EMPTY = 0xFFFFFFFF
MAX_ID = (1 << 24) - 2
MAX_TOKEN_BYTES = 1 << 16
_MASK32, _MASK64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF


Merge = tuple[int, int, int]
"""The ids of two tokens and of the one that they become."""


class HashTable(NamedTuple):
    """`slots` uint32 [a power of 2]; a lookup reads at most `max_probes` of them."""

    slots: npt.NDArray[np.uint32]
    max_probes: int


class TokenTable(NamedTuple):
    """Token `id` is `content[offsets[id] : offsets[id + 1]]`, nothing where no token has the id."""

    offsets: npt.NDArray[np.uint32]
    content: bytes
    table: HashTable
    max_bytes: int


def token_table(vocabulary: Mapping[str, int], added: Mapping[str, int]) -> TokenTable:
    """The tokens of the model, which are looked up, and added ones, which only have a name."""
    names: dict[int, str] = {}
    for token, token_id in (*added.items(), *vocabulary.items()):
        if names.setdefault(token_id, token) != token:
            raise UnsupportedTokenizerError(
                "two tokens share an id", found=f"{names[token_id]!r} and {token!r} ({token_id})"
            )
    largest = max(names, default=-1)
    if largest > MAX_ID:
        raise UnsupportedTokenizerError("an id is too large", found=largest, expected=MAX_ID)
    encoded = [names.get(token_id, "").encode() for token_id in range(largest + 1)]
    max_bytes = max(map(len, encoded), default=0)
    if max_bytes > MAX_TOKEN_BYTES:
        raise UnsupportedTokenizerError(
            "a token is too long", found=f"{max_bytes} bytes", expected=MAX_TOKEN_BYTES
        )
    keys = ((hash_bytes(encoded[token_id]), token_id) for token_id in vocabulary.values())
    return TokenTable(
        offsets=np.cumsum([0, *map(len, encoded)]).astype("<u4"),
        content=b"".join(encoded),
        table=hash_table(keys, len(vocabulary)),
        max_bytes=max_bytes,
    )


def merge_table(merges: Sequence[Merge]) -> HashTable:
    """Finds the number of a merge from its first two ids."""
    keys = ((hash_pair(first, second), n) for n, (first, second, _id) in enumerate(merges))
    return hash_table(keys, len(merges))


def hash_table(keys: Iterable[tuple[int, int]], count: int) -> HashTable:
    """A table of `count` pairs of hash (32 bits) and index."""
    size = 2
    while size < 2 * count:
        size *= 2
    slots = [EMPTY] * size
    max_probes = 0
    for key, index in keys:
        slot, probes = key & (size - 1), 1
        while slots[slot] != EMPTY:
            slot, probes = (slot + 1) & (size - 1), probes + 1
        slots[slot] = (key & 0xFF000000) | index
        max_probes = max(max_probes, probes)
    # One more, for the empty slot that ends a search.
    return HashTable(np.array(slots, "<u4"), min(max_probes + 1, size))


def hash_bytes(content: bytes) -> int:
    """The hash of a token: FNV-1a, then mixed so that all bits count."""
    value = 0x811C9DC5
    for byte in content:
        value = (value ^ byte) * 0x01000193 & _MASK32
    value ^= value >> 15
    value = value * 0x2C1B3C6D & _MASK32
    return value ^ (value >> 12)


def hash_pair(first: int, second: int) -> int:
    """The hash of a merge: the upper half of a product (Knuth, TAOCP 3, section 6.4)."""
    return ((first << 32 | second) * 0x9E3779B97F4A7C15 & _MASK64) >> 32
