"""Bounds of a process that reads an untrusted file: memory, and no core dumps."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

# Even a machine that reports less free memory than this can run a small check.
_LEAST_BYTES = 256 << 20


def bound_this_process(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Limits this process's private memory to what the machine has free, and its core dumps to 0.

    A file that claims tensors of many gigabytes then fails in this process (an allocation that is
    refused) instead of driving the machine out of memory. RLIMIT_DATA counts private writable
    mappings since Linux 4.7 (setrlimit(2)); a mapped model file is not among them.
    """
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    limit_bytes = max(int(available[1]) * 1024 if available else 1 << 30, _LEAST_BYTES)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
