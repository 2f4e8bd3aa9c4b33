"""Findings about the optional stages: limits, profiles and energy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from edgeseq.formats.memory_limits import LimitedRun, WorkingMemorySearch
from edgeseq.formats.result import EnergyWindow, Finding, OperatorProfile, Settings
from edgeseq.stats.working_memory import reference_speed, working_memory
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.limits.boards import find_board
from edgeseq_benchmarks.bench.limits.working_memory import resolution_bytes

# Sensors are read a few times a second and a machine's own tasks come and go over seconds.
ENERGY_WINDOW_S = 60.0
# Where a limit leaves out more than this share of itself, a reader must know.
_SHARED_SHARE = 0.1
# Beyond this, more than a third of the profiled time is the profiler's own.
PROFILE_DISTORTS = 1.5


def limited_findings(
    limited: Sequence[LimitedRun], search: WorkingMemorySearch | None = None
) -> list[Finding]:
    """What the limits under which a model was run do not cover, and what it needs of a board's."""
    findings = []
    needed = working_memory(search.references, search.runs).limit_bytes if search else None
    for run in limited:
        if run.board is not None:
            board = find_board(run.board)
            findings.append(
                Finding(
                    "board-limits",
                    "note",
                    f"run inside the memory and cores of a {board.words}: a limit on this "
                    "machine, whose speed is not that board's"
                    + (f" ({run.limitations})" if run.limitations else "")
                    + (f"; its working memory is {format_bytes(needed)}" if needed else ""),
                )
            )
    limitations = {run.limitations for run in limited if run.limitations and run.board is None}
    findings += [
        Finding("limit-lacks", "warning", f"limits: {words}") for words in sorted(limitations)
    ]
    return findings


def working_memory_findings(
    search: WorkingMemorySearch | None, obstacle: str = ""
) -> list[Finding]:
    """Why the minimum working memory is not known, or not as well as it could be.

    `obstacle` is why it was not searched for.
    """

    def finding(severity: Literal["warning", "note"], words: str) -> Finding:
        return Finding("working-memory", severity, words)

    if search is None:
        reason = obstacle or "the stage did not get to it"
        return [finding("note", f"working memory was not measured: {reason}")]
    if reference_speed(search.references) is None:
        reference = search.references[0]
        reason = reference.message or f"only {len(reference.total_ns)} answers without a limit"
        return [finding("warning", f"working memory was not measured: {reason}")]
    found = working_memory(search.references, search.runs)
    if found.limit_bytes is None:
        return [finding("warning", "no memory limit was found under which it keeps its speed")]
    gap_bytes = found.limit_bytes - found.failing_bytes
    if gap_bytes > resolution_bytes(found.limit_bytes):
        low, high = format_bytes(found.failing_bytes), format_bytes(found.limit_bytes)
        words = f"working memory is only known to lie between {low} and {high}: time was over"
        return [finding("note", words)]
    shared_bytes = max((run.shared_bytes or 0 for run in search.runs), default=0)
    if shared_bytes > _SHARED_SHARE * found.limit_bytes:
        words = (
            f"up to {format_bytes(shared_bytes)} of its libraries were in memory for other "
            "programs and are not counted in its working memory"
        )
        return [finding("note", words)]
    return []


def profile_findings(profile: OperatorProfile) -> list[Finding]:
    """Whether the profiler took so much time that its times say little about the model."""
    plain_us = median(profile.plain_ns) / 1e3
    under_us = profile.invoke_us / max(1, profile.runs)
    if not plain_us or under_us <= PROFILE_DISTORTS * plain_us:
        return []
    return [
        Finding(
            "profile-distorts",
            "note",
            f"under the operator profiler a run took {under_us / plain_us:.1f} times as long as "
            "without: with many small operators, its times show what is called, not what it costs",
        )
    ]


def energy_findings(
    settings: Settings, reader: str | None, idle: EnergyWindow | None
) -> list[Finding]:
    """Whether energy was measured if requested, and over long enough."""
    if not settings.energy:
        return []
    if reader is None:
        words = "this machine has no energy sensor, or this user may not read it"
        return [Finding("energy-not-measured", "warning", f"energy was not measured: {words}")]
    if idle is None:
        words = f"{reader} stopped reporting"
        return [Finding("energy-not-measured", "warning", f"energy was not measured: {words}")]
    if idle.duration_s < ENERGY_WINDOW_S:
        words = f"over {idle.duration_s:.0f} s instead of {ENERGY_WINDOW_S:.0f}"
        return [Finding("energy-short", "warning", f"energy was measured {words}")]
    return []
