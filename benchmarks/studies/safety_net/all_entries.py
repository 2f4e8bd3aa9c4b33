"""All entries of the safety net, computed in a process with pinned kernels."""

from __future__ import annotations

import sys
import time

from .converted_files import converted_files
from .derived_numbers import derived_numbers
from .entries import Entries
from .lowered_files import lowered_files
from .statistics_numbers import statistics_numbers


def compute_entries() -> Entries:
    """All entries, and on standard error the seconds that each part took."""

    entries: Entries = {}
    for part in (lowered_files, statistics_numbers, derived_numbers, converted_files):
        began = time.monotonic()
        computed = part()
        entries |= computed
        seconds = time.monotonic() - began
        sys.stderr.write(f"{part.__name__}: {len(computed)} entries in {seconds:.1f} s\n")
    return entries
