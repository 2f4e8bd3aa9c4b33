"""Bounds of a process that reads an untrusted file: memory, and no core dumps.

A file that claims tensors of many gigabytes then fails in that process (an allocation that is
refused) instead of driving the machine out of memory. RLIMIT_DATA counts private writable mappings
since Linux 4.7 (setrlimit(2)); a mapped model file is not among them.
"""

from __future__ import annotations

import contextlib
import re
import resource
from collections.abc import Sequence
from pathlib import Path

# Even a machine that reports less free memory than this can run a small check.
_LEAST_BYTES = 256 << 20
_UNKNOWN_BYTES = 1 << 30
# A hard limit that is lower already remains.
_SCRIPT = 'ulimit -c 0; ulimit -d "$1" 2>/dev/null; shift; exec "$@"'


def bound_this_process(meminfo: Path = Path("/proc/meminfo")) -> None:
    """Limits this process to the memory that the machine has free, and to no core dump."""
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo.read_text(), re.MULTILINE)
    limit_bytes = _bound_bytes(int(available[1]) * 1024 if available else None)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        limit_bytes = min(limit_bytes, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bounded_command(command: Sequence[str], available_bytes: int | None) -> list[str]:
    """The command that starts `command` within the same bounds, on any machine with a shell.

    `available_bytes` is the memory that this machine has free; None where it does not say. The
    script is a constant, the parts come as arguments; `ulimit` counts in KiB.
    """
    limit_kib = _bound_bytes(available_bytes) // 1024
    return ["/bin/sh", "-c", _SCRIPT, "sh", str(limit_kib), *command]


def _bound_bytes(available_bytes: int | None) -> int:
    return max(_UNKNOWN_BYTES if available_bytes is None else available_bytes, _LEAST_BYTES)
