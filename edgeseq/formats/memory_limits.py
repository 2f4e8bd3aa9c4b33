"""Part of the result record: models run inside hard limits, and the search for working memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import ResultError

Mechanism = Literal["cgroup-v1", "cgroup-v2", "systemd", "rlimit"]
LimitedStatus = Literal["answered", "killed", "timed_out", "failed"]
LimitPurpose = Literal["limit", "board", "curve", "working_memory", "reference", "verdict"]


class LimitedRun(msgspec.Struct, frozen=True):
    """The model run inside a hard memory limit on its whole process.

    `phase` is the last phase that was reached; `total_ns` the queries completed within the time
    allowed, after those of `warmup_ns`; `mechanism` enforced the limit, `limitations` is what it
    does not cover, and `files` how its file pages were separated from other processes'.
    `shared_bytes` are the pages of its files that others keep in memory, which the limit does not
    count. `cpus` is the limit on processor time, in processors. With `board`, the limits are that
    board's memory and cores, never its speed.

    `major_faults` are the whole process's, `query_major_faults` those during the queries of
    `total_ns` (None where they were not read). `first_answer_ns` is a cold start from the disk:
    from the start of the process to its first prediction, with none of its files in the page cache.

    `purpose` is why it was run: a `limit` that was asked for, a `board`'s, the memory `curve`, the
    search for `working_memory`, the `reference` of that search (the machine's whole memory as its
    limit), or the `verdict`: the winner under the limits of `budget`, to see the verdict hold.
    """

    limit_bytes: int
    status: LimitedStatus
    phase: str
    total_ns: tuple[int, ...]
    major_faults: int
    peak_bytes: int | None
    mechanism: Mechanism
    files: str
    message: str = ""
    cpus: float | None = None
    throttled_ns: int | None = None
    board: str | None = None
    limitations: str = ""
    purpose: LimitPurpose = "limit"
    warmup_ns: tuple[int, ...] = ()
    query_major_faults: int | None = None
    first_answer_ns: int | None = None
    budget: str = ""
    shared_bytes: int | None = None


class WorkingMemorySearch(msgspec.Struct, frozen=True):
    """The runs from which the minimum working memory is derived (`edgeseq.stats.working_memory`).

    `references` are the runs without a limit, `runs` those under limits, in the order in which they
    were made; a limit that was tried several times is in it several times.
    """

    references: tuple[LimitedRun, ...]
    runs: tuple[LimitedRun, ...]


def check_limited(
    path: Path, name: str, limited: tuple[LimitedRun, ...], search: WorkingMemorySearch | None
) -> None:
    """Raises `ResultError` for limited runs of the bundle `name` that contradict themselves."""

    def fail(what: str, found: object, expected: object) -> ResultError:
        where_in = f"{what} of {name}"
        return ResultError(
            where_in, where=path, found=found, expected=expected, fix="measure again"
        )

    searched = (*search.references, *search.runs) if search else ()
    for run in (*limited, *searched):
        if run.limit_bytes <= 0:
            raise fail("a memory limit", run.limit_bytes, "bytes above 0")
        if run.query_major_faults is not None and run.query_major_faults < 0:
            raise fail("major page faults", run.query_major_faults, "0 or more")
        if (run.purpose == "board") != (run.board is not None):
            raise fail("the purpose of a limited run", run.purpose, "`board` for a board's alone")
        if run.budget and run.purpose != "verdict":
            raise fail("the purpose of a limited run", run.purpose, "`verdict` for a budget's")
    if search is None:
        return
    if not search.references:
        raise fail("a search for working memory", "no run without a limit", "1 or more")
    for runs, purpose in ((search.references, "reference"), (search.runs, "working_memory")):
        if others := {run.purpose for run in runs} - {purpose}:
            raise fail("a search for working memory", ", ".join(sorted(others)), purpose)
