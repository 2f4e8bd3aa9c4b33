"""What a process that looks into an unknown file may use up: memory and nothing on the disk."""

from __future__ import annotations

import contextlib
import re
import resource
from pathlib import Path

# Even a machine that says it has less free than this can run a small check.
_LEAST_BYTES = 256 << 20


def bound_this_process(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Limits this process's private memory to what the machine has free, and its core dumps to 0.

    A file that claims tensors of many gigabytes then fails in this process (an allocation that is
    refused) instead of driving the machine out of memory. RLIMIT_DATA counts private writable
    mappings since Linux 4.7 (setrlimit(2)); a mapped model file is not among them.
    """
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    limit_bytes = max(int(found[1]) * 1024 if found else 1 << 30, _LEAST_BYTES)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
