"""The search for the minimum working memory, by bisection (`edgeseq.stats.working_memory`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch
from edgeseq.stats.working_memory import (
    MIN_ANSWERS,
    ReferenceSpeed,
    beyond_p95,
    is_short_of_memory,
    limit_keeps_speed,
    reference_speed,
    working_memory,
)
from edgeseq_benchmarks.bench.limits.curve import rounded_limit
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, PassSoFar

RunReference = Callable[[], LimitedRun]
RunAgainst = Callable[[int, Sequence[LimitedRun]], LimitedRun]
"""Runs the model under a limit in bytes; the references bound how long that may take."""

RESOLUTION_SHARE = 0.05
RESOLUTION_BYTES = 500_000
# No process with a model needs less: the kernel counts its stacks and page tables as well.
SMALLEST_LIMIT_BYTES = 500_000
# Where a run is too slow but not short of memory, others use the machine: it is repeated.
MAX_TRIES = 3
# What a process lost while it loaded comes back page by page: under a limit that is large enough, a
# pass over the texts soon has no page fault; under a smaller one, none ever does.
MAX_PASSES = 4
_PATIENCE_S = 3.0
_FIRST_SHARE = 0.8


class SearchBounds(NamedTuple):
    """Where the search begins, in bytes: it may leave `floor_bytes` and `peak_bytes`.

    `floor_bytes` is memory that the kernel cannot drop, `peak_bytes` what is used without a limit;
    `memory_bytes` is the machine's memory. No run is begun after `budget_s`.
    """

    floor_bytes: int
    peak_bytes: int
    memory_bytes: int
    budget_s: float


def search_working_memory(
    run_reference: RunReference, run_under: RunAgainst, bounds: SearchBounds
) -> WorkingMemorySearch:
    """Halves the gap between a limit that keeps the speed and one that does not.

    Ends when the gap is 5 % of the larger one (0.5 MB for small ones) and both were tried. A run
    that was too slow without being short of memory is repeated, each time after another run
    without a limit, so that both see the same machine; every try is kept.
    """
    deadline = time.monotonic() + bounds.budget_s
    references, runs = [run_reference()], list[LimitedRun]()
    while reference_speed(references) is not None and time.monotonic() < deadline:
        limit_bytes = _next_limit(references, runs, bounds)
        if limit_bytes is None:
            break
        _try_limit(limit_bytes, references, runs, run_reference, run_under)
    if runs and working_memory(references, runs).limit_bytes is None:
        # The time was over: an upper end at least.
        limit_bytes = _above({run.limit_bytes for run in runs}, bounds)
        _try_limit(limit_bytes, references, runs, run_reference, run_under)
    return WorkingMemorySearch(tuple(references), tuple(runs))


def _try_limit(
    limit_bytes: int,
    references: list[LimitedRun],
    runs: list[LimitedRun],
    run_reference: RunReference,
    run_under: RunAgainst,
) -> None:
    tries = [run_under(limit_bytes, references)]
    while len(tries) < MAX_TRIES and _is_noise(tries, references):
        references.append(run_reference())
        tries.append(run_under(limit_bytes, references))
    runs += tries


def _is_noise(tries: Sequence[LimitedRun], references: Sequence[LimitedRun]) -> bool:
    """Whether the limit was too slow, but never short of memory."""
    speed = reference_speed(references)
    if speed is None or limit_keeps_speed(tries, speed):
        return False
    return not any(is_short_of_memory(run, speed) for run in tries)


def _next_limit(
    references: Sequence[LimitedRun], runs: Sequence[LimitedRun], bounds: SearchBounds
) -> int | None:
    """The limit to try next; None when the search is done."""
    found = working_memory(references, runs)
    tried = {run.limit_bytes for run in runs}
    low = found.failing_bytes or _below(tried, bounds)
    high = found.limit_bytes or _above(tried, bounds)
    if high > bounds.memory_bytes or (not found.failing_bytes and low <= SMALLEST_LIMIT_BYTES):
        # Nothing larger or smaller makes sense: it is known as far as it can be.
        return None
    if tried and found.limit_bytes is None and max(tried) >= bounds.peak_bytes:
        return high
    if tried and not found.failing_bytes and min(tried) <= bounds.floor_bytes:
        return low
    if high - low > resolution_bytes(high):
        # What is too small costs more time than what is not, so the first limit is a large one.
        share = 0.5 if tried else _FIRST_SHARE
        return rounded_limit(low + share * (high - low))
    return next((limit for limit in (high, low) if limit not in tried), None)


def _above(tried: set[int], bounds: SearchBounds) -> int:
    """A limit to hope for, larger than all that failed."""
    limit = rounded_limit(bounds.peak_bytes)
    while tried and limit <= max(tried):
        limit = rounded_limit(limit * 1.4)
    return limit


def _below(tried: set[int], bounds: SearchBounds) -> int:
    """A limit that should fail, smaller than all that worked."""
    limit = rounded_limit(bounds.floor_bytes)
    while tried and limit >= min(tried) and limit > SMALLEST_LIMIT_BYTES:
        limit = rounded_limit(limit * 0.5)
    return max(limit, SMALLEST_LIMIT_BYTES)


def resolution_bytes(limit_bytes: int) -> float:
    """The gap at which a search ends."""
    return max(RESOLUTION_BYTES, RESOLUTION_SHARE * limit_bytes)


def bounded_task(task: LimitedTask, references: Sequence[LimitedRun]) -> LimitedTask:
    """The task of a run under a limit, which is ended once it cannot keep the speed.

    Loading may take ten times as long as without a limit and the warm-up three times, and some
    seconds more, in which the pages that are needed come back.
    """
    speed = reference_speed(references)
    first = references[0]
    if speed is None or first.first_answer_ns is None:
        return task
    return task._replace(
        load_timeout_s=_PATIENCE_S + 10 * first.first_answer_ns / 1e9,
        warmup_s=1.0 + 3 * sum(first.warmup_ns) / 1e9,
        passes=MAX_PASSES,
        is_hopeless=_SlownessCheck(speed, first.total_ns),
    )


class _SlownessCheck:
    """Whether a run is certain to be too slow or short of memory, from the first times of a pass.

    In a pass that is not the last, a quarter of the answers may be too slow. Once all texts were
    run, a pass under a limit that is large enough has no more than a few major page faults
    (decision 0092); one of as many as it has texts is not followed by one without.
    """

    def __init__(self, speed: ReferenceSpeed, reference_ns: Sequence[int]) -> None:
        self._slowest_ns = speed.slowest_p95_ns
        self._answers = len(reference_ns)
        self._beyond_p95 = beyond_p95(self._answers)
        self._most_faults = speed.major_faults + self._beyond_p95
        self._most_ns = 1e9 + 10 * sum(reference_ns)

    def __call__(self, current: PassSoFar) -> bool:
        slow = sum(time_ns > self._slowest_ns for time_ns in current.times_ns)
        if current.is_last:
            return slow > self._beyond_p95 or current.major_faults > self._most_faults
        if current.is_warm and current.major_faults > self._answers:
            return True
        return slow > self._answers // 4 or sum(current.times_ns) > self._most_ns


def repeated(texts: Sequence[int], count: int = MIN_ANSWERS) -> list[int]:
    """`count` examples in their order, from the first again where there are fewer."""
    return [texts[number % len(texts)] for number in range(count)]
