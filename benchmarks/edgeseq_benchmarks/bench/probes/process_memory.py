"""The memory of this process, as the kernel reports it.

Sizes come from `/proc/self/smaps_rollup`, which walks the page tables; the counters in
`/proc/self/status` lag behind by some pages for each processor since Linux 6.2, and are
used where the kernel has no rollup (before 4.14). The peak is `VmHWM` after a reset by writing 5 to
`/proc/self/clear_refs` (Linux 4.0, see proc(5)). A difference of `ru_maxrss` is never used: it
never falls, so it belongs to no phase.
"""

from __future__ import annotations

import ctypes
import gc
import os

from edgeseq_benchmarks.bench.protocol import MemoryReading, Phase

_KB = 1024
_STATUS = "/proc/self/status"
_MAPS = "/proc/self/maps"
_MADV_DONTNEED = 4
_ROLLUP = "/proc/self/smaps_rollup"


def trim() -> None:
    """Returns freed memory to the system, so that it is not part of a baseline."""
    gc.collect()
    libc = ctypes.CDLL(None)
    # glibc only; musl returns memory by itself.
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def release_mapping(path: str) -> int:
    """Releases the pages of a mapped file from this process; returns how many bytes are mapped.

    XNNPACK computes with a packed copy of the weights, so the file's pages stay in the process
    unused. A page that is needed again (an embedding row) is read again from the file: madvise(2),
    `MADV_DONTNEED` on a mapping that is never written. 0 where nothing is mapped from `path`, or
    the system has no `/proc`.
    """
    try:
        with open(_MAPS, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return 0
    path = os.path.realpath(path)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    mapped_bytes = 0
    for line in lines:
        fields = line.split(maxsplit=5)  # proc(5): address perms offset dev inode pathname
        # A private page that was written would be lost; only read-only mappings are released.
        if len(fields) < 6 or fields[5] != path or "w" in fields[1]:
            continue
        begin, end = (int(address, 16) for address in fields[0].split("-"))
        if libc.madvise(begin, end - begin, _MADV_DONTNEED) == 0:
            mapped_bytes += end - begin
    return mapped_bytes


def reset_peak() -> bool:
    """Begins a new phase for `VmHWM`; False where the kernel does not allow it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("5")
    except OSError:
        return False
    return True


def read_memory(phase: Phase, *, peak_is_of_phase: bool) -> MemoryReading:
    """The memory of this process now, in bytes, and its faults since it began.

    `peak_is_of_phase` says whether the peak was reset when the phase began; without that it is
    not reported.
    """
    status = _read_fields(_STATUS)
    rollup = _read_fields(_ROLLUP)
    if "Rss" in rollup and "Anonymous" in rollup:
        rss, anonymous = rollup["Rss"], rollup["Anonymous"]
    else:
        rss, anonymous = status["VmRSS"], status.get("RssAnon", 0)
    minor_faults, major_faults = read_faults()
    return MemoryReading(
        phase=phase,
        rss_bytes=rss,
        pss_bytes=rollup.get("Pss"),
        anonymous_bytes=anonymous,
        file_bytes=rss - anonymous,
        # The lagging counter must not say less than what was just counted.
        peak_bytes=max(status.get("VmHWM", 0), rss) if peak_is_of_phase else None,
        minor_faults=minor_faults,
        major_faults=major_faults,
    )


def _read_fields(path: str) -> dict[str, int]:
    """The lines `Name:   123 kB` of a file below /proc, in bytes; {} when there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            lines = file.read().splitlines()
    except OSError:
        return {}
    fields = {}
    for line in lines:
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB":
            fields[name] = int(words[0]) * _KB
    return fields


def read_faults(pid: int | None = None) -> tuple[int, int]:
    """Minor and major page faults of a process (None: this one) since it began.

    (0, 0) when the process has ended.
    """
    fields = _read_stat("/proc/self/stat" if pid is None else f"/proc/{pid}/stat")
    # proc(5): fields 10 and 12 of stat; the first two are pid and comm.
    return (int(fields[7]), int(fields[9])) if fields else (0, 0)


def _read_stat(path: str) -> list[str]:
    """The fields of a stat file after the command's name, which may itself hold spaces."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            content = file.read()
    except OSError:
        return []
    return content.rpartition(")")[2].split()


def read_waiting_ns() -> int | None:
    """Time in which threads of this process were ready to run but had no processor, in ns.

    The second number of `/proc/self/task/*/schedstat`; None where the kernel keeps none.
    """
    waiting_ns = 0
    try:
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208
            with open(f"/proc/self/task/{task}/schedstat", encoding="ascii") as file:  # noqa: PTH123
                waiting_ns += int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return waiting_ns


def count_threads() -> int:
    """Threads of this process."""
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def mapped_files() -> tuple[str, ...]:
    """The files that this process has mapped, each once, sorted."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        names = {line.rstrip("\n").split(None, 5)[5] for line in file if line.count("/")}
    return tuple(sorted(name for name in names if name.startswith("/") and "(deleted)" not in name))
