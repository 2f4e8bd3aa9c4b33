"""The memory curve: latency over shrinking limits, down to the smallest that still works."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgeseq.formats.memory_limits import LimitedRun

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
    until it is 2 MB or less. `known` are runs made already; they are used and not returned. No run
    is begun after `budget_s`. Returned from the largest limit to the smallest.
    """
    deadline = time.monotonic() + budget_s
    runs: list[LimitedRun] = []
    limit_bytes = start_bytes
    while limit_bytes >= SMALLEST_LIMIT_BYTES and time.monotonic() < deadline:
        runs.append(run_under(rounded_limit(limit_bytes)))
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
        runs.append(run_under(rounded_limit((good + bad) / 2)))
    return tuple(sorted(runs, key=lambda run: -run.limit_bytes))


def rounded_limit(limit_bytes: float) -> int:
    """To 0.1 MB: limits that a person can read, finer than the resolution."""
    return round(limit_bytes / 100_000) * 100_000
