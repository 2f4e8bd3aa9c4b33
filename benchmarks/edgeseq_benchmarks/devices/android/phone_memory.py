"""Memory on the phone: what the kernel reports of the native tool's process while it runs a model.

Never the tool's own figures, which are differences of `ru_maxrss`. The baseline is the same tool
with a model without operators (`empty_model`): the runtime and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeseq.errors import DeviceError
from edgeseq.formats.result import MemoryPhase, PhaseName
from edgeseq_benchmarks.devices.android.phone_scripts import WATCH_MEMORY
from edgeseq_benchmarks.devices.base import Device


def watch_memory(
    device: Device,
    phase: PhaseName,
    arguments: Sequence[str],
    *,
    timeout_s: float,
    seconds: float,
) -> MemoryPhase | None:
    """Runs a model for `seconds` and reads its memory; None where the kernel does not split it.

    `arguments` are those of `WATCH_MEMORY`, without the seconds. The peak is that of the whole
    process (`VmHWM`). Raises `DeviceError` when the tool fails.
    """
    output = device.run(
        ("sh", "-c", WATCH_MEMORY, "sh", *arguments, f"{seconds:g}"), timeout_s=timeout_s + seconds
    )
    samples, status, log_lines = _split(output.stdout.decode("utf-8", errors="replace"))
    if status != 0:
        raise DeviceError(
            "benchmark_model failed while memory was measured",
            where=device.name,
            found=f"status {status}: {log_lines[-1] if log_lines else 'no output'}",
        )
    readings = [reading for lines in samples if (reading := _phase(phase, lines))]
    # The last samples may be of a process that is giving its memory back.
    return max(readings, key=lambda reading: reading.rss_bytes, default=None)


def _split(output: str) -> tuple[list[list[str]], int, list[str]]:
    samples: list[list[str]] = []
    log_lines: list[str] = []
    status, into = -1, log_lines
    for line in output.splitlines():
        if line == "@sample":
            samples.append([])
            into = samples[-1]
        elif match := re.fullmatch(r"@tool (\d+)", line):
            status, into = int(match[1]), log_lines
        elif line.strip():
            into.append(line)
    return samples, status, log_lines


def _phase(phase: PhaseName, lines: Sequence[str]) -> MemoryPhase | None:
    """One sample: lines of `status`, perhaps `Pss` of `smaps_rollup` (Android 9), and `stat`."""
    pairs = (re.match(r"(\w+):\s+(\d+) kB", line) for line in lines)
    kb = {match[1]: int(match[2]) for match in pairs if match}
    if not {"VmRSS", "VmHWM", "RssAnon", "RssFile"} <= kb.keys():
        return None  # before Linux 4.5
    stat = next((line for line in lines if re.match(r"\d+ \(", line)), "")
    # proc(5): minflt and majflt are fields 10 and 12, the name in field 2 may hold anything.
    fields = stat.rpartition(")")[2].split()
    return MemoryPhase(
        phase=phase,
        rss_bytes=kb["VmRSS"] * 1024,
        pss_bytes=kb["Pss"] * 1024 if "Pss" in kb else None,
        anonymous_bytes=kb["RssAnon"] * 1024,
        file_bytes=(kb["RssFile"] + kb.get("RssShmem", 0)) * 1024,
        peak_bytes=kb["VmHWM"] * 1024,
        minor_faults=int(fields[7]) if len(fields) > 9 else 0,
        major_faults=int(fields[9]) if len(fields) > 9 else 0,
    )
