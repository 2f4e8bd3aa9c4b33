"""Measurements that other programs disturbed: they are told, and repeated when the machine is
idle."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from edgeseq.formats.result import ResultRecord
from edgeseq.model_search.candidates import Costs
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq.reporting.budgets import Budget
from edgeseq_benchmarks.bench.probes.machine_state import Watch
from edgeseq_benchmarks.bench.validity.machine_checks import LOAD_INVALID_CORES

REPEATS = 2
"""A disturbed measurement is repeated so many times."""
IDLE_LIMIT_S = 30.0
"""How long a search waits for an idle machine before it repeats a measurement."""
_CODES = ("background-load", "processor-shared", "stolen-time")
_TIMES = ("p50_ms", "p95_ms", "cold_start_ms")


def disturbance_of(result: ResultRecord) -> str:
    """Why the times of a result are not valid, if other programs are the reason; else ""."""
    findings = [*result.findings, *(finding for run in result.runs for finding in run.findings)]
    disturbing = (f for f in findings if f.severity == "invalid" and f.code in _CODES)
    return next((finding.message for finding in disturbing), "")


def is_time_alone(costs: Costs, budget: Budget) -> bool:
    """Whether the costs exceed limits of time, and no other."""
    without_times = msgspec.structs.replace(costs, **dict.fromkeys(_TIMES, 0.0))
    return not costs.fits(budget) and without_times.fits(budget)


def least_times(costs: Costs, others: Costs) -> Costs:
    """`others` with the shorter of each time: other programs make a model slower, never faster."""

    def shorter(name: str) -> float | None:
        times = [t for t in (getattr(costs, name), getattr(others, name)) if t is not None]
        return min(times, default=None)

    return msgspec.structs.replace(others, **{name: shorter(name) for name in _TIMES})


def wait_for_idle_machine(
    progress: ProgressCallback,
    *,
    limit_s: float = IDLE_LIMIT_S,
    pause_s: float = 1.0,
    load_cores: Callable[[], float | None] | None = None,
) -> bool:
    """Waits until other programs leave the machine to measurements; False: they did not.

    Args:
        progress: Is told what the search waits for.
        limit_s: The longest wait.
        pause_s: How often the load is looked at.
        load_cores: What other programs used since the last call, in cores; None: not known.
    """
    if load_cores is None:
        watch = Watch()

        def load_cores() -> float | None:
            return watch.read("during").load_other_cores

    deadline_s = time.monotonic() + limit_s
    note = f"other programs use the machine; waits {limit_s:.0f} s at most"
    progress(ProgressUpdate("measure again", note=note))
    while time.monotonic() < deadline_s:
        time.sleep(pause_s)
        load = load_cores()
        if load is None or load <= LOAD_INVALID_CORES:
            return True
    return False
