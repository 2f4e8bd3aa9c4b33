"""Data sets that can be named."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True):
    """One data set of the registry, described without loading it.

    `sizes` are the numbers of examples in train, dev and test, None where they depend on what
    the user gives. `is_local` says whether it can be loaded on this machine without a network.
    """

    name: str
    task: str
    title: str
    sizes: tuple[int, int, int] | None
    licence: str
    origin: str
    citation: str
    is_local: bool
