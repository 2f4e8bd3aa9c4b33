"""The knee of the memory cliff; without NumPy, whose pages a benchmark's parent must not map."""

from __future__ import annotations

import math
from collections.abc import Sequence

KNEE_FACTOR = 2.0


def count_at_full_speed(series: Sequence[Sequence[int]]) -> int:
    """How many series, from the first on, keep its speed: up to the knee of the memory cliff.

    `series` are the times under ever smaller limits, empty without an answer; a median (nearest
    rank, as `edgeseq.stats.latency.median`) of `KNEE_FACTOR` times the first one's is beyond the
    knee.
    """
    medians = [sorted(times)[(len(times) - 1) // 2] if times else math.inf for times in series]
    for index, value in enumerate(medians):
        if value == math.inf or (index and value >= KNEE_FACTOR * medians[0]):
            return index
    return len(medians)
