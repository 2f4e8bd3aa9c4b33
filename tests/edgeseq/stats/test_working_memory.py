"""The one definition of minimum working memory."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from edgeseq.stats import latency
from edgeseq.stats.working_memory import (
    MIN_ANSWERS,
    WorkingMemory,
    beyond_p95,
    p95_ns,
    working_memory,
)

MB = 1_000_000


class Trial(NamedTuple):
    limit_bytes: int
    total_ns: tuple[int, ...]
    query_major_faults: int | None = 0
    status: str = "answered"


def trial(
    limit_mb: int,
    p95: int = 1_000,
    *,
    faults: int | None = 0,
    answers: int = MIN_ANSWERS,
    status: str = "answered",
) -> Trial:
    return Trial(limit_mb * MB, (p95,) * answers, faults, status)


REFERENCE = (trial(4_000),)


def test_it_is_the_smallest_limit_below_which_one_fails() -> None:
    runs = [trial(60), trial(30, 1_500), trial(40, 1_400), trial(20, 1_501), trial(10, 900)]
    found = working_memory(REFERENCE, runs)
    assert found == WorkingMemory(30 * MB, 20 * MB, 1_500)
    assert found.bracket_bytes == (20 * MB, 30 * MB)
    assert working_memory(REFERENCE, runs[:3]) == WorkingMemory(30 * MB, 0, 1_500)


@pytest.mark.parametrize(
    "bad",
    [
        trial(40, status="killed"),
        trial(40, 1_501),
        trial(40, faults=7),
        trial(40, faults=None),
        trial(40, answers=MIN_ANSWERS - 1),
    ],
)
def test_a_larger_limit_that_fails_counts(bad: Trial) -> None:
    """No answer, too slow, more faults, faults not read, too few answers."""
    assert working_memory(REFERENCE, [trial(50), bad, trial(30)]).bracket_bytes == (
        40 * MB,
        50 * MB,
    )
    assert working_memory(REFERENCE, [bad, trial(30)]).limit_bytes is None


def test_page_faults_that_a_p95_leaves_out_are_allowed() -> None:
    """Then the p95 is the same on any disk."""
    assert beyond_p95(MIN_ANSWERS) == 6
    for count in (1, 20, MIN_ANSWERS, 777):
        slow = beyond_p95(count)
        assert latency.nearest_rank([9] * slow + [1] * (count - slow), 95) == 1
        assert latency.nearest_rank([9] * (slow + 1) + [1] * (count - slow - 1), 95) == 9
    assert working_memory(REFERENCE, [trial(30, faults=6)]).limit_bytes == 30 * MB
    assert working_memory(REFERENCE, [trial(30, faults=7)]).limit_bytes is None


def test_noise_of_the_machine_is_no_lack_of_memory() -> None:
    slow, fast = trial(30, 9_000), trial(30, 1_200)
    assert working_memory(REFERENCE, [slow, slow, fast]).limit_bytes == 30 * MB
    assert working_memory(REFERENCE, [slow, slow, slow]).limit_bytes is None
    # A try that was short of memory is not noise.
    assert working_memory(REFERENCE, [fast, trial(30, faults=900)]).limit_bytes is None
    assert working_memory(REFERENCE, [fast, trial(30, status="killed")]).limit_bytes is None


def test_the_reference_is_the_median_of_its_runs() -> None:
    references = [trial(4_000, 9_000), trial(4_000), trial(4_000, 1_100, faults=200)]
    assert working_memory(references, [trial(30, 1_650)]).limit_bytes == 30 * MB
    assert working_memory(references, [trial(30, 1_651)]).limit_bytes is None
    assert working_memory(references, [trial(30, faults=7)]).limit_bytes is None


def test_without_a_reference_nothing_is_shown() -> None:
    for references in ((), (trial(4_000, answers=10),), (trial(4_000, status="failed"),)):
        assert working_memory(references, [trial(30)]) == WorkingMemory()
        assert working_memory(references, [trial(30)]).bracket_bytes is None


def test_p95_is_that_of_the_statistics() -> None:
    assert latency.min_samples(95) == MIN_ANSWERS
    assert p95_ns(range(MIN_ANSWERS - 1)) is None
    for count in (MIN_ANSWERS, 200, 1_001):
        times = [(7 * n) % count for n in range(count)]
        assert p95_ns(times) == latency.percentile(times, 95)
