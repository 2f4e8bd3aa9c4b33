"""What hard limits on the whole process did to a model."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeseq.formats.memory_limits import LimitedRun, LimitedStatus
from edgeseq.formats.result import Run
from edgeseq.reporting.run_statistics import percentile_ms


class LimitOutcome(msgspec.Struct, frozen=True):
    """What a hard limit on the whole process did to the model, at worst where it was tried often.

    `p95_ms` is None without an answer, below its sample floor and on an emulated device;
    `is_verdict` marks a run made to see a verdict hold.
    """

    limit_bytes: int
    status: LimitedStatus
    p95_ms: float | None
    is_verdict: bool = False


def limits_tried(run: Run, *, emulated: bool) -> tuple[LimitOutcome, ...]:
    """The outcome of each limit without a limit on processor time, largest first."""
    verdicts = [trial for trial in run.limited if trial.purpose == "verdict"]
    trials: dict[tuple[int, bool], list[LimitedRun]] = {}
    for trial in (*run.under_limits, *verdicts):
        if trial.cpus is None or trial.purpose == "verdict":
            trials.setdefault((trial.limit_bytes, trial.purpose == "verdict"), []).append(trial)
    return tuple(
        _limit_outcome(trials[key], emulated=emulated) for key in sorted(trials, reverse=True)
    )


def _limit_outcome(trials: Sequence[LimitedRun], *, emulated: bool) -> LimitOutcome:
    worst = next((trial for trial in trials if trial.status != "answered"), None)
    times = [percentile_ms(trial.total_ns, 95) for trial in trials]
    has_time = worst is None and not emulated and None not in times
    return LimitOutcome(
        limit_bytes=trials[0].limit_bytes,
        status="answered" if worst is None else worst.status,
        p95_ms=max(time for time in times if time is not None) if has_time else None,
        is_verdict=trials[0].purpose == "verdict",
    )
