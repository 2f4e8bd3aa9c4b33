"""Findings about the times and memory of the rounds, and how they were measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from types import ModuleType

from edgeseq.formats.result import Finding, Queries, Settings, Slice
from edgeseq.units import format_bytes, format_share

# Ready to run, but waiting for a processor. p95 looks at the slowest twentieth of the queries:
# once a tenth of the time belongs to other processes, it is not the model's any more.
WAITING_INVALID_SHARE = 0.10
WAITING_WARNING_SHARE = 0.02
# Two runs are to agree within 5 %: neither may the halves of one run be further apart, nor may the
# 95 % interval of its median reach further. (pyperf takes a spread beyond 10 % of the mean.)
DRIFT_WARNING_SHARE = 0.05
MEDIAN_WARNING_SHARE = 0.05
# Beyond what the first long texts and the allocator's own rounding explain.
GROWTH_WARNING_SHARE = 0.10
GROWTH_WARNING_BYTES = 2_000_000


def timing_findings(queries: Queries, slices: Sequence[Slice], settings: Settings) -> list[Finding]:
    """Findings about a model's times: too few, drifting, disturbed."""
    findings = _sample_findings(queries, slices, settings)
    drift = _drift(queries)
    if drift is not None and abs(drift - 1) > DRIFT_WARNING_SHARE:
        findings.append(
            Finding(
                "unstable",
                "warning",
                f"texts of the same length took {drift:.2f} times as long in the second half of "
                "the rounds as in the first: let the machine cool down or end other programs, "
                "and measure again",
            )
        )
    findings += _median_findings(queries)
    findings += _waiting_findings(slices)
    growth = _growth_bytes(slices)
    if growth is not None:
        findings.append(
            Finding(
                "memory-grows",
                "warning",
                f"the process grew by {format_bytes(growth)} from the first round to the last",
            )
        )
    return findings


def clock_findings(queries: Queries, clock_ns: int) -> list[Finding]:
    """Whether the times are too short for the clock that they were read from.

    `clock_ns` is the clock's step, in nanoseconds: two runs are to agree within 5 % (see above),
    and no median is known better than to one step.
    """
    middle_ns = median(queries.total_ns)
    if clock_ns <= MEDIAN_WARNING_SHARE * middle_ns:
        return []
    return [
        Finding(
            "coarse-clock",
            "warning",
            f"the median of {middle_ns / 1000:g} µs was read from a clock with steps of "
            f"{clock_ns / 1000:g} µs, so it is known to {format_share(clock_ns / middle_ns)} at "
            "best: take it for an order of magnitude",
        )
    ]


def _median_findings(queries: Queries) -> list[Finding]:
    """Whether the median is too uncertain to be reproduced."""
    interval = _latency().percentile_interval(queries.total_ns, 50)
    if interval is None or not interval.estimate:
        return []
    half_width = max(interval.high - interval.estimate, interval.estimate - interval.low)
    if half_width <= MEDIAN_WARNING_SHARE * interval.estimate:
        return []
    return [
        Finding(
            "unstable",
            "warning",
            f"the median is known to {format_share(half_width / interval.estimate)} only, so "
            "another run may differ by more than 5 %: end other programs or measure for longer",
        )
    ]


def _drift(queries: Queries) -> float | None:
    """How many times longer the second half of the rounds took; None when they share no length.

    Halves are compared at equal lengths in tokens (the geometric mean of the ratios of medians,
    weighted by queries): each round has other texts, and a text's length decides its time.
    """
    rounds = sorted(set(queries.round))
    if len(rounds) < 2:
        return None
    middle = rounds[len(rounds) // 2]
    halves: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    for number, tokens, total_ns in zip(
        queries.round, queries.tokens, queries.total_ns, strict=True
    ):
        halves[number >= middle].setdefault(tokens, []).append(total_ns)
    first, second = halves
    weights, logarithms = [], []
    for tokens in first.keys() & second.keys():
        weights.append(min(len(first[tokens]), len(second[tokens])))
        logarithms.append(math.log(median(second[tokens]) / median(first[tokens])))
    if not weights:
        return None
    mean = sum(w * ratio for w, ratio in zip(weights, logarithms, strict=True)) / sum(weights)
    return math.exp(mean)


def _sample_findings(
    queries: Queries, slices: Sequence[Slice], settings: Settings
) -> list[Finding]:
    min_samples = _latency().min_samples
    count = len(queries.total_ns)
    findings = []
    for percent in (90, 95, 99):
        if count < min_samples(percent):
            findings.append(
                Finding(
                    "few-samples",
                    "warning" if percent < 99 else "note",
                    f"{count} queries are too few for a p{percent}, which takes "
                    f"{min_samples(percent)}",
                )
            )
            break
    busy_s = sum(part.wall_ns for part in slices) / 1e9
    if count >= min_samples(99) and busy_s < 0.95 * settings.min_duration_s:
        findings.append(
            Finding(
                "query-cap",
                "note",
                f"stopped repeating after {count} queries in {busy_s:.1f} s, which is enough of "
                "them, spread over all rounds",
            )
        )
    return findings


def _waiting_findings(slices: Sequence[Slice]) -> list[Finding]:
    known = [part for part in slices if part.waiting_ns is not None]
    wall_ns = sum(part.wall_ns for part in known)
    if not wall_ns:
        return []
    share = sum(part.waiting_ns or 0 for part in known) / wall_ns
    if share <= WAITING_WARNING_SHARE:
        return []
    invalid = share > WAITING_INVALID_SHARE
    return [
        Finding(
            "processor-shared",
            "invalid" if invalid else "warning",
            f"the model waited for a processor in {format_share(share)} of the measured time, "
            f"because other programs had it; more than {format_share(WAITING_INVALID_SHARE)} "
            "is no longer a latency of the model: end them and measure again",
        )
    ]


def _growth_bytes(slices: Sequence[Slice]) -> int | None:
    # The first round may still meet the longest text; growth after it is the process's own.
    if len(slices) < 3:
        return None
    first, last = slices[1].rss_bytes, slices[-1].rss_bytes
    grown = last - first
    if grown > GROWTH_WARNING_BYTES and grown > GROWTH_WARNING_SHARE * first:
        return grown
    return None


def settings_findings(settings: Settings, overhead_ns: Sequence[int]) -> list[Finding]:
    """Findings about the settings of the run."""
    findings = []
    if settings.quick:
        findings.append(
            Finding(
                "quick",
                "note",
                "a quick run: fewer samples and a shorter time than a full one, good for a look",
            )
        )
    if overhead_ns:
        findings.append(
            Finding(
                "loop-overhead",
                "note",
                f"the measuring loop itself adds {median(overhead_ns):.0f} ns to each query",
            )
        )
    return findings


def thread_findings(requested: int, started: int) -> list[Finding]:
    """Whether the runtime started the requested threads (itself and `started`)."""
    if started + 1 >= requested:
        return []
    return [
        Finding(
            "threads-ignored",
            "note",
            f"{requested} threads were requested, the runtime used {started + 1} for this model",
        )
    ]


def batch_findings(models: int, interleaved: int) -> list[Finding]:
    """Whether all models were interleaved with each other."""
    if interleaved >= models:
        return []
    return [
        Finding(
            "not-interleaved",
            "note",
            f"at most {interleaved} of {models} models were held in memory and interleaved at a "
            "time: the others failed to load or did not fit beside them",
        )
    ]


def _latency() -> ModuleType:
    # Not loaded earlier: NumPy's pages must not be mapped in the parent while limits are measured.
    from edgeseq.stats import latency  # noqa: PLC0415 - see above

    return latency
