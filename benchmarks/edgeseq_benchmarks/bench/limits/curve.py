"""The memory curve: latency over shrinking limits, down to the smallest that still works."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from edgeseq.formats.result import LimitedRun
from edgeseq.stats.memory_cliff import count_at_full_speed

RunUnder = Callable[[int], LimitedRun]
"""Runs the model under a limit in bytes."""

# Each limit is this fraction of the one above: the cliff of MiniLM-L6 lies between 48 and 32 MB,
# and steps of an eighth show its shape in about a dozen runs.
STEP = 0.87
RESOLUTION_BYTES = 2_000_000
# A Python interpreter alone needs more than this, so no limit below it can work.
SMALLEST_LIMIT_BYTES = 4_000_000


def works(run: LimitedRun) -> bool:
    """Whether the model works under that limit, however slowly."""
    return run.status == "answered" and len(run.total_ns) > 0


def memory_curve(
    run_under: RunUnder,
    *,
    start_bytes: int,
    budget_s: float,
    known: tuple[LimitedRun, ...] = (),
) -> tuple[LimitedRun, ...]:
    """Runs under limits that shrink from `start_bytes` to the first that does not work.

    Then halves the gap between the smallest limit that answered and the largest that did not
    until it is 2 MB or less, and then, as long as there is time, the gap at the knee: between the
    smallest limit that keeps the speed of the largest one and the next one below. `known` are runs
    made already; they are used and not returned. No run is begun after `budget_s`. Returned from
    the largest limit to the smallest.
    """
    deadline = time.monotonic() + budget_s
    runs: list[LimitedRun] = []
    limit_bytes = start_bytes
    while limit_bytes >= SMALLEST_LIMIT_BYTES and time.monotonic() < deadline:
        runs.append(run_under(_rounded(limit_bytes)))
        if not works(runs[-1]):
            break
        limit_bytes = round(limit_bytes * STEP)
    while time.monotonic() < deadline:
        good = min((run.limit_bytes for run in (*runs, *known) if works(run)), default=None)
        if good is None:
            break
        # A larger limit that failed by chance does not bound the smallest one that works.
        bad = max(
            (
                run.limit_bytes
                for run in (*runs, *known)
                if not works(run) and run.limit_bytes < good
            ),
            default=None,
        )
        if bad is None or good - bad <= RESOLUTION_BYTES:
            break
        runs.append(run_under(_rounded((good + bad) / 2)))
    while time.monotonic() < deadline:
        gap = _knee_gap((*runs, *known))
        if gap is None or gap[0] - gap[1] <= RESOLUTION_BYTES:
            break
        runs.append(run_under(_rounded(sum(gap) / 2)))
    return tuple(sorted(runs, key=lambda run: -run.limit_bytes))


def _knee_gap(runs: Sequence[LimitedRun]) -> tuple[int, int] | None:
    """The smallest limit at full speed and the next one below it; None when there is neither."""
    ordered = sorted(runs, key=lambda run: -run.limit_bytes)
    count = count_at_full_speed([run.total_ns if works(run) else () for run in ordered])
    if not 0 < count < len(ordered):
        return None
    return ordered[count - 1].limit_bytes, ordered[count].limit_bytes


def _rounded(limit_bytes: float) -> int:
    """To 0.1 MB: limits that a person can read, finer than the resolution."""
    return round(limit_bytes / 100_000) * 100_000
