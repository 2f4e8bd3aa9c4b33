"""Findings about the optional stages: limits, profiles and energy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import EnergyWindow, Finding, OperatorProfile, Settings
from edgeseq_benchmarks.bench.limits.boards import find_board

# Sensors are read a few times a second and a machine's own tasks come and go over seconds.
ENERGY_WINDOW_S = 60.0
# Beyond this, more than a third of the profiled time is the profiler's own.
PROFILE_DISTORTS = 1.5


def limited_findings(limited: Sequence[LimitedRun]) -> list[Finding]:
    """What the limits under which a model was run do not cover."""
    findings = []
    for run in limited:
        if run.board is not None:
            board = find_board(run.board)
            findings.append(
                Finding(
                    "board-limits",
                    "note",
                    f"run inside the memory and cores of a {board.words}: a limit on this "
                    "machine, whose speed is not that board's"
                    + (f" ({run.limitations})" if run.limitations else ""),
                )
            )
    limitations = {run.limitations for run in limited if run.limitations and run.board is None}
    findings += [
        Finding("limit-lacks", "warning", f"limits: {words}") for words in sorted(limitations)
    ]
    return findings


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
