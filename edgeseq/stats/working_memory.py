"""Minimum working memory: the one definition; without NumPy, whose pages a benchmark's parent must
not map.

A limit on the whole process **keeps the speed** when the process answers under it, its p95 is at
most `P95_FACTOR` times its p95 without a limit, and major page faults do not grow by more than the
answers that a p95 leaves out, so that its p95 holds for any disk (an SD card is slow). The
**minimum working memory** is the smallest limit that was tried that keeps the speed, there and
under every larger limit that was tried. What was not tried, or gave too few answers for a p95, is
not shown to keep it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

P95_FACTOR = 1.5
# What p95 needs (`edgeseq.stats.latency.min_samples`), which a test compares.
MIN_ANSWERS = 130


class LimitTrial(Protocol):
    """One run under a limit in bytes, or without one; times in ns."""

    @property
    def limit_bytes(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def total_ns(self) -> Sequence[int]: ...
    @property
    def query_major_faults(self) -> int | None: ...


class ReferenceSpeed(NamedTuple):
    """What a process does without a limit: its p95 in ns, and major page faults of its queries."""

    p95_ns: int
    major_faults: int

    @property
    def slowest_p95_ns(self) -> float:
        """The highest p95 that still keeps the speed."""
        return P95_FACTOR * self.p95_ns


class WorkingMemory(NamedTuple):
    """The minimum working memory; `limit_bytes` is None where no limit is shown to work.

    `failing_bytes` is the largest limit that does not keep the speed, 0 where every one did;
    `p95_ns` the p95 under `limit_bytes`.
    """

    limit_bytes: int | None = None
    failing_bytes: int = 0
    p95_ns: int | None = None

    @property
    def bracket_bytes(self) -> tuple[int, int] | None:
        """The largest limit that is too small, and the smallest that is not."""
        return None if self.limit_bytes is None else (self.failing_bytes, self.limit_bytes)

    @property
    def p95_ms(self) -> float | None:
        """`p95_ns` in ms."""
        return None if self.p95_ns is None else self.p95_ns / 1e6


def p95_ns(times_ns: Sequence[int]) -> int | None:
    """The nearest-rank p95, as `edgeseq.stats.latency.percentile`; None below `MIN_ANSWERS`."""
    if len(times_ns) < MIN_ANSWERS:
        return None
    return sorted(times_ns)[math.ceil(0.95 * len(times_ns)) - 1]


def beyond_p95(answers: int) -> int:
    """How many of so many answers may take any time without a change of their p95."""
    return answers - math.ceil(0.95 * answers)


def reference_speed(references: Sequence[LimitTrial]) -> ReferenceSpeed | None:
    """The median (nearest rank) of the runs without a limit; None when none is long enough."""
    answered = [run for run in references if run.status == "answered"]
    times_ns = sorted(p95 for run in answered if (p95 := p95_ns(run.total_ns)) is not None)
    if not times_ns:
        return None
    faults = sorted(run.query_major_faults or 0 for run in answered)
    return ReferenceSpeed(times_ns[(len(times_ns) - 1) // 2], faults[(len(faults) - 1) // 2])


def is_short_of_memory(run: LimitTrial, reference: ReferenceSpeed) -> bool:
    """Whether memory is why the run does not work: no answer, or more major page faults."""
    faults = run.query_major_faults
    if run.status != "answered" or faults is None:
        return True
    return faults > reference.major_faults + beyond_p95(len(run.total_ns))


def keeps_speed(run: LimitTrial, reference: ReferenceSpeed) -> bool:
    """Whether the run keeps the speed of `reference` (see the module)."""
    p95 = p95_ns(run.total_ns)
    is_fast = p95 is not None and p95 <= reference.slowest_p95_ns
    return is_fast and not is_short_of_memory(run, reference)


def limit_keeps_speed(runs: Sequence[LimitTrial], reference: ReferenceSpeed) -> bool:
    """The same of a limit that was tried several times.

    Only noise may differ between the runs: one that kept the speed shows that the limit allows it,
    unless another was short of memory.
    """
    short = any(is_short_of_memory(run, reference) for run in runs)
    return not short and any(keeps_speed(run, reference) for run in runs)


def working_memory(references: Sequence[LimitTrial], runs: Sequence[LimitTrial]) -> WorkingMemory:
    """The minimum working memory that the `runs` under limits show, in any order."""
    reference = reference_speed(references)
    if reference is None:
        return WorkingMemory()
    found = WorkingMemory()
    for limit_bytes in sorted({run.limit_bytes for run in runs}, reverse=True):
        tries = [run for run in runs if run.limit_bytes == limit_bytes]
        if not limit_keeps_speed(tries, reference):
            return found._replace(failing_bytes=limit_bytes)
        kept = [run for run in tries if keeps_speed(run, reference)]
        slowest_ns = max(p95_ns(run.total_ns) or 0 for run in kept)
        found = WorkingMemory(limit_bytes, 0, slowest_ns)
    return found
