"""The native `benchmark_model` of TFLite: whether a phone can run it, and what it prints.

Times come from its lines `count=… first=… curr=…` (microseconds). Two runs a process are asked
for, so that `first` and `curr` are both of them and nothing is an average.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeseq.errors import DeviceError, InputError
from edgeseq.formats.result import OperatorTime

TIMED_RUNS = 2
"""Runs timed in one process: as many as the tool prints one by one."""

CLOCK_NS = 1000
"""The tool prints whole microseconds."""

# e_machine of the ELF specification, and what Android calls the same processors.
_ELF_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}
_HEAD_BYTES = 20
_COUNT = re.compile(r"\bcount=(\d+)(?: first=(\d+))?(?: curr=(\d+))?")
_INIT = re.compile(r"\bInit: ([\d.e+]+)\b.*\bFirst inference: ([\d.e+]+)")
_OLD_INIT = re.compile(r"\bInit: ([\d.e+]+)\b")
_SUMMARY = "Summary by node type"


class ToolTimes(NamedTuple):
    """What one process of the tool printed; None where it printed nothing of the kind.

    `warmup_us` and `runs_us` are single runs (at most the first and the last one of each),
    `init_us` is loading and allocating, `first_us` the first inference. Microseconds.
    """

    warmup_us: tuple[int, ...]
    runs_us: tuple[int, ...]
    init_us: float | None
    first_us: float | None


def check_native(path: Path, abis: Sequence[str]) -> None:
    """Checks that `path` is a program for one of the phone's `abis` (as Android names them).

    Raises `InputError` when it is not a program, `DeviceError` for the wrong processor.
    """
    if not path.is_file():
        raise InputError(
            "no such file", where=path, fix="name the phone's benchmark_model with --native"
        )
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF") or len(head) < _HEAD_BYTES:
        raise InputError(
            "is not a program for Android",
            where=path,
            expected="the native benchmark_model of TFLite",
            fix="build it, or take the one made for Android, see docs/guides/android.md",
        )
    machine = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    abi = _ELF_ABIS.get(machine, f"ELF machine {machine}")
    if abi not in abis:
        raise DeviceError(
            "is made for the wrong processor",
            where=path,
            found=abi,
            expected=" or ".join(abis),
            fix="take the benchmark_model for that one, see docs/guides/android.md",
        )


def parse_times(lines: Sequence[str]) -> ToolTimes:
    """The times in a process's lines. The first `count=` is the warm-up's, the last the runs'."""
    counts = [match for line in lines if (match := _COUNT.search(line))]
    init = next((match for line in lines if (match := _INIT.search(line))), None)
    old = next((match for line in lines if (match := _OLD_INIT.search(line))), None)
    times_match = init or old
    return ToolTimes(
        warmup_us=_single(counts[0]) if len(counts) > 1 else (),
        runs_us=_single(counts[-1]) if counts else (),
        init_us=float(times_match[1]) if times_match else None,
        first_us=float(init[2]) if init else None,
    )


def _single(match: re.Match[str]) -> tuple[int, ...]:
    """The single runs in a statistic: all of up to two, the first and the last of more.

    The tool prints `curr` alone when all were equal.
    """
    count = int(match[1])
    if count == 0 or match[3] is None:
        return ()
    last = int(match[3])
    if count == 1:
        return (last,)
    return (last if match[2] is None else int(match[2]), last)


def nanoseconds(printed_us: float) -> int:
    """A time that the tool printed, in nanoseconds; less than its microsecond counts as one.

    The tool cuts the fraction off, so the smallest models take "0"; a reported latency shall
    rather be an upper bound.
    """
    return max(round(printed_us * 1000), CLOCK_NS)


def parse_logits(lines: Sequence[str], labels: int) -> tuple[float, ...] | None:
    """float32 values, little endian, from lines of hexadecimal bytes; None unless `labels`."""
    digits = "".join("".join(line.split()) for line in lines)
    if not re.fullmatch(r"(?:[0-9a-f]{8})*", digits) or len(digits) != 8 * labels:
        return None
    values = np.frombuffer(bytes.fromhex(digits), dtype="<f4")
    return tuple(float(value) for value in values)


def class_number(logits: Sequence[float]) -> int:
    """The class of a text: the largest logit, the first one of equals; a NaN counts as largest,
    as it does for numpy's `argmax` on the devices with Python."""
    return max(
        range(len(logits)),
        key=lambda number: (math.isnan(logits[number]), logits[number], -number),
    )


def parse_operators(lines: Sequence[str], runs: int) -> tuple[OperatorTime, ...]:
    """The operators of a profile over `runs` runs, from the tool's summaries by node type.

    The tool prints mean milliseconds of all nodes of a kind in one run, and one summary a
    subgraph or delegate. Without a summary of XNNPACK's own operators, its node stands for them.
    """
    operators: list[OperatorTime] = []
    inside = False
    for line in lines:
        cells = [cell.strip() for cell in line.split("\t") if cell.strip()]
        if _SUMMARY in line:
            inside = True
        elif not inside or line.lstrip().startswith("[") or (cells and cells[0][0] == "["):
            continue
        elif len(cells) >= 3 and cells[1].isdigit():
            name, count, mean_ms = cells[0], int(cells[1]), float(cells[2])
            # The runtime's own operators have the file's names; XNNPACK's have words.
            by_runtime = re.fullmatch(r"[A-Z0-9_]+", name) is not None
            operators.append(
                OperatorTime(
                    name=name,
                    by="runtime" if by_runtime else "xnnpack",
                    calls=count * runs,
                    total_us=round(mean_ms * 1000 * runs),
                )
            )
        else:
            inside = False
    if any(row.by == "xnnpack" and "Delegate" not in row.name for row in operators):
        # Then the delegate's node would count them a second time
        operators = [row for row in operators if "Delegate" not in row.name]
    return tuple(sorted(operators, key=lambda row: -row.total_us))
