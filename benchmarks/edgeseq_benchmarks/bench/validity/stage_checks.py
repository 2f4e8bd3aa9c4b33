"""What limits, profiles and energy windows do not say by themselves: findings, as in `validity`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from edgeseq.formats.result import EnergyWindow, Finding, LimitedRun, OperatorProfile, Settings
from edgeseq_benchmarks.bench.limits.boards import find_board

# Sensors are read a few times a second and a machine's own tasks come and go over seconds.
ENERGY_WINDOW_S = 60.0
# Beyond this, more than a third of what the profiler saw was itself.
PROFILE_DISTORTS = 1.5


def limited_findings(limited: Sequence[LimitedRun]) -> list[Finding]:
    """What the limits under which a model was run do not say."""
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
                    + (f" ({run.lacks})" if run.lacks else ""),
                )
            )
    lacks = {run.lacks for run in limited if run.lacks and run.board is None}
    findings += [Finding("limit-lacks", "warning", f"limits: {words}") for words in sorted(lacks)]
    return findings


def profile_findings(profile: OperatorProfile) -> list[Finding]:
    """Whether the profiler took so much time itself that its times say little of the model."""
    plain_us = median(profile.plain_ns) / 1e3
    under_us = profile.invoke_us / max(1, profile.runs)
    if not plain_us or under_us <= PROFILE_DISTORTS * plain_us:
        return []
    return [
        Finding(
            "profile-distorts",
            "note",
            f"under the operator profiler a run took {under_us / plain_us:.1f} times as long as "
            "without: many small operators, so its times show what is called, not what it costs",
        )
    ]


def energy_findings(
    settings: Settings, reader: str | None, idle: EnergyWindow | None
) -> list[Finding]:
    """Whether energy was measured when it was asked for, and over long enough."""
    if not settings.energy:
        return []
    if reader is None:
        words = "this machine has nothing that measures energy (or not for this user)"
        return [Finding("energy-not-measured", "warning", f"energy was not measured: {words}")]
    if idle is None:
        words = f"{reader} fell silent"
        return [Finding("energy-not-measured", "warning", f"energy was not measured: {words}")]
    if idle.duration_s < ENERGY_WINDOW_S:
        words = f"over {idle.duration_s:.0f} s instead of {ENERGY_WINDOW_S:.0f}"
        return [Finding("energy-short", "warning", f"energy was measured {words}")]
    return []
