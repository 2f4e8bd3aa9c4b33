"""The search for the minimum working memory, over cliffs that are made up."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import cast

import msgspec
import pytest

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch
from edgeseq.stats.working_memory import MIN_ANSWERS, working_memory
from edgeseq_benchmarks.bench.limits.limited_run import LimitedTask, PassSoFar
from edgeseq_benchmarks.bench.limits.page_cache import PrivateFiles
from edgeseq_benchmarks.bench.limits.working_memory import (
    MAX_PASSES,
    MAX_TRIES,
    SearchBounds,
    bounded_task,
    repeated,
    resolution_bytes,
    search_working_memory,
)
from edgeseq_benchmarks.bench.validity.stage_checks import (
    limited_findings,
    working_memory_findings,
)

MB = 1_000_000
BOUNDS = SearchBounds(floor_bytes=20 * MB, peak_bytes=64 * MB, memory_bytes=8_000 * MB, budget_s=60)


def limited(limit_bytes: int, ns: int = 1_000, *, faults: int = 0, answers: int = 1) -> LimitedRun:
    return LimitedRun(
        limit_bytes=limit_bytes,
        status="answered" if answers else "killed",
        phase="steady",
        total_ns=(ns,) * MIN_ANSWERS * answers,
        major_faults=0,
        peak_bytes=None,
        mechanism="cgroup-v2",
        files="",
        purpose="working_memory",
        query_major_faults=faults,
        warmup_ns=(ns,) * 10,
        first_answer_ns=500_000_000,
    )


class Cliff:
    """A process that keeps its speed from `need_bytes` on, and answers from half of it on.

    `noisy` runs, by their number, are slow for another reason than memory.
    """

    def __init__(self, need_bytes: int, *, noisy: Sequence[int] = ()) -> None:
        self.need_bytes, self.noisy = need_bytes, noisy
        self.limits: list[int] = []

    def reference(self) -> LimitedRun:
        return limited(8_000 * MB)

    def under(self, limit_bytes: int, references: Sequence[LimitedRun]) -> LimitedRun:
        assert references
        self.limits.append(limit_bytes)
        if len(self.limits) in self.noisy:
            return limited(limit_bytes, 9_000)
        if limit_bytes >= self.need_bytes:
            return limited(limit_bytes, 1_100)
        if limit_bytes >= self.need_bytes / 2:
            return limited(limit_bytes, 50_000, faults=900)
        return limited(limit_bytes, answers=0)

    def search(self, bounds: SearchBounds = BOUNDS) -> WorkingMemorySearch:
        return search_working_memory(self.reference, self.under, bounds)


@pytest.mark.parametrize(
    "need_mb", [0.9, 1.7, 5.2, 12, 19.9, 20, 20.1, 33, 46.7, 60.8, 63.9, 64, 64.1, 66, 90, 300]
)
def test_the_search_ends_at_the_smallest_limit_that_keeps_the_speed(need_mb: float) -> None:
    """Also where it lies outside of the bounds in which the search begins."""
    cliff = Cliff(round(need_mb * MB))
    search = cliff.search()
    found = working_memory(search.references, search.runs)
    assert found.limit_bytes is not None
    assert found.failing_bytes < cliff.need_bytes <= found.limit_bytes
    assert found.limit_bytes - found.failing_bytes <= resolution_bytes(found.limit_bytes)
    assert {found.limit_bytes, found.failing_bytes} <= set(cliff.limits)
    assert len(cliff.limits) == len(set(cliff.limits)) <= 14
    if 25 < need_mb < 60:
        assert len(cliff.limits) <= 7


def test_a_process_that_needs_next_to_nothing_ends_the_search() -> None:
    cliff = Cliff(1)
    search = cliff.search(BOUNDS._replace(floor_bytes=1_700_000, peak_bytes=12 * MB))
    found = working_memory(search.references, search.runs)
    assert found.failing_bytes == 0
    assert 0 < (found.limit_bytes or 0) <= 1_000_000


@pytest.mark.parametrize("noisy", [(1,), (2, 3), (1, 2, 4)])
def test_noise_is_repeated_beside_a_run_without_a_limit(noisy: Sequence[int]) -> None:
    cliff = Cliff(33 * MB, noisy=noisy)
    search = cliff.search()
    found = working_memory(search.references, search.runs)
    assert found.failing_bytes < cliff.need_bytes <= (found.limit_bytes or 0)
    assert len(search.references) == 1 + len(noisy)
    assert [run.limit_bytes for run in search.runs] == cliff.limits, "every try is kept"


def test_noise_that_stays_is_believed() -> None:
    cliff = Cliff(10 * MB, noisy=range(1, 1_000))
    search = cliff.search(BOUNDS._replace(memory_bytes=80 * MB))
    assert working_memory(search.references, search.runs).limit_bytes is None
    assert max(map(cliff.limits.count, cliff.limits)) == MAX_TRIES


def test_what_is_short_of_memory_is_not_repeated() -> None:
    cliff = Cliff(63 * MB)
    search = cliff.search()
    assert len(search.references) == 1
    assert len(cliff.limits) == len(set(cliff.limits))


def test_no_run_begins_when_the_time_is_over_or_the_speed_is_not_known() -> None:
    cliff = Cliff(33 * MB)
    assert cliff.search(BOUNDS._replace(budget_s=0)).runs == ()
    lost = search_working_memory(lambda: limited(8_000 * MB, answers=0), cliff.under, BOUNDS)
    assert len(lost.references) == 1
    assert lost.runs == ()
    assert not cliff.limits


def test_a_run_is_ended_once_its_p95_is_certain_to_be_too_high() -> None:
    base = LimitedTask(
        bundle=cast("BundleFiles", None),
        files=cast("PrivateFiles", None),
        texts=("a",) * 200,
        threads=1,
        duration_s=20.0,
        load_timeout_s=30.0,
    )
    task = bounded_task(base, [limited(8_000 * MB)])
    assert task.load_timeout_s > 10 * 0.5
    assert task.warmup_s == 1.0 + 3 * 10 * 1_000 / 1e9
    assert task.passes == MAX_PASSES
    check = task.is_hopeless
    assert check is not None
    first, last = (
        PassSoFar((), 0, is_warm=True, is_last=False),
        PassSoFar((), 0, is_warm=True, is_last=True),
    )
    assert not check(last._replace(times_ns=[1_500] * 200))
    assert not check(last._replace(times_ns=[1_501] * 6)), "of 130, 6 are beyond the p95"
    assert check(last._replace(times_ns=[1_501] * 7))
    assert not check(first._replace(times_ns=[1_501] * 32)), "the next pass may be better"
    assert check(first._replace(times_ns=[1_501] * 33))
    assert check(first._replace(times_ns=[10**9, 10**9])), "a pass that would take minutes"
    assert not check(last._replace(major_faults=6)), "one for each answer beyond the p95"
    assert check(last._replace(major_faults=7))
    assert not check(first._replace(major_faults=130))
    assert check(first._replace(major_faults=131))
    assert not check(first._replace(major_faults=800, is_warm=False)), "texts are read once"
    assert bounded_task(base, [limited(8_000 * MB, answers=0)]) == base


def test_few_examples_are_repeated() -> None:
    assert repeated([4, 7, 9], 7) == [4, 7, 9, 4, 7, 9, 4]
    assert len(repeated(range(500))) == MIN_ANSWERS


def test_an_upper_end_is_found_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0])  # the start, the first limit; then it is late
    monkeypatch.setattr(time, "monotonic", lambda: next(times, 1_000.0))
    cliff = Cliff(60 * MB)
    search = cliff.search()
    assert cliff.limits == [55_200_000, 64 * MB]
    assert working_memory(search.references, search.runs).bracket_bytes == (55_200_000, 64 * MB)


def test_a_board_is_told_what_is_needed_of_it() -> None:
    on_board = msgspec.structs.replace(limited(512 * MB), board="pi-zero-2w", purpose="board")
    search = Cliff(33 * MB).search()
    (finding,) = limited_findings([on_board], search)
    assert "Raspberry Pi Zero 2 W" in finding.message
    assert re.search(r"; its working memory is 3[34]\.\d MB$", finding.message)
    (finding,) = limited_findings([on_board])
    assert "working memory" not in finding.message


def test_what_is_not_known_is_a_finding() -> None:
    search = Cliff(33 * MB).search()
    assert working_memory_findings(search) == []

    def message(search: WorkingMemorySearch | None, obstacle: str = "") -> str:
        (finding,) = working_memory_findings(search, obstacle)
        return finding.message

    assert message(None, "no control group here").endswith("not measured: no control group here")
    lost = WorkingMemorySearch((limited(8_000 * MB, answers=0),), ())
    assert "only 0 answers without a limit" in message(lost)
    short = msgspec.structs.replace(search, runs=search.runs[:1])
    assert "time was over" in message(short)
    nothing = msgspec.structs.replace(
        search, runs=tuple(run for run in search.runs if run.query_major_faults)
    )
    assert "no memory limit was found" in message(nothing)
    shared = msgspec.structs.replace(search.runs[0], shared_bytes=20 * MB)
    with_shared = msgspec.structs.replace(search, runs=(*search.runs, shared))
    assert "20.0 MB of its libraries" in message(with_shared)
