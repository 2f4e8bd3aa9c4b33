"""What has changed of one model between two results, metric by metric, and how sure that is.

**Intervals.** The ratio of two medians is bootstrapped in blocks (`latency.median_ratio`). Of
other percentiles, and of differences, both intervals (`latency.percentile_interval`) are combined
by the method of variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27), for
ratios on logarithms. Scores are compared on the same examples, in pairs. Working memory lies in a
bracket in each result, so its change does in the brackets' difference. Peaks and sizes are one
observation each and have no interval. An interval covers the variation within the two runs, not
the variation between runs (memory layout, room temperature): thresholds below 5 % need repeated
runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec.structs import replace

from edgeseq.formats.result import BundleIdentity, ResultRecord, Run, Runner
from edgeseq.reporting.format import (
    ABSENT,
    NOT_MEASURED,
    Unit,
    format_gain,
    format_gain_interval,
    format_quantity,
    format_relative_change,
    format_relative_interval,
)
from edgeseq.reporting.rows import invalid_reasons_of, peak_beyond_runtime, peak_of_process
from edgeseq.reporting.run_statistics import working_memory_of
from edgeseq.reporting.thresholds import UNITS, MetricName
from edgeseq.stats import latency
from edgeseq.stats.classification import FloatArray
from edgeseq.stats.scores import Interval
from edgeseq.stats.working_memory import WorkingMemory
from edgeseq.tasks import scoring
from edgeseq.tasks.predictions import Predictions

OpenInterval = tuple[float, float | None]
"""Low and high end of an interval; None: it has no upper end."""


class MetricChange(msgspec.Struct, frozen=True):
    """One metric of one model in both results, in `unit`.

    `worse_by` is positive where the new one is worse, in `unit`; `ratio` is new / old, None for
    scores. The intervals are of 95 %, of working memory the brackets' difference. `problem` says
    why there is nothing to compare; `basis` what a number is of, where that depends on the results.
    """

    bundle: str
    metric: MetricName
    unit: Unit
    old: float | None = None
    new: float | None = None
    worse_by: float | None = None
    worse_by_ci95: OpenInterval | None = None
    ratio: float | None = None
    ratio_ci95: OpenInterval | None = None
    problem: str = ""
    runner: Runner = "python"
    basis: str = ""

    @property
    def title(self) -> str:
        """The metric, and what it is of where that depends on the results."""
        return f"{self.metric} ({self.basis})" if self.basis else self.metric

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Old, new, change and its interval as text; a gain is positive in points of the score."""
        if self.old is None or self.new is None or self.worse_by is None:
            return ABSENT, ABSENT, self.problem or NOT_MEASURED, ""
        old, new = (format_quantity(value, self.unit) for value in (self.old, self.new))
        if self.ratio is not None:
            interval = "" if self.ratio_ci95 is None else format_relative_interval(self.ratio_ci95)
            return old, new, format_relative_change(self.ratio), interval
        interval = format_gain_interval(self.worse_by_ci95)
        return old, new, format_gain(self.worse_by), interval


class ComparedRun(msgspec.Struct, frozen=True):
    """What a comparison needs of a run; times in ms."""

    bundle: BundleIdentity
    runner: Runner
    scope: str
    is_emulated: bool
    invalid_reasons: tuple[str, ...]
    queries_ms: FloatArray
    cold_starts_ms: FloatArray
    predictions: Predictions | None
    working_memory: WorkingMemory
    peak_process_bytes: int | None
    peak_memory_bytes: int | None

    @property
    def key(self) -> tuple[str, Runner]:
        """Runs of two results with the same key are compared."""
        return (self.bundle.name, self.runner)


def compared_run(result: ResultRecord, run: Run) -> ComparedRun:
    """The part of `run`, measured as `result` (with or without its runs) tells, to compare."""
    return ComparedRun(
        bundle=run.bundle,
        runner=run.runner,
        scope=run.scope,
        is_emulated=result.device.emulated,
        invalid_reasons=invalid_reasons_of(result, run),
        queries_ms=np.asarray(run.queries.total_ns, dtype=np.float64) / 1e6,
        cold_starts_ms=np.array([s.total_ns for s in run.cold_starts], dtype=np.float64) / 1e6,
        predictions=run.predictions,
        working_memory=working_memory_of(run),
        peak_process_bytes=peak_of_process(run.memory),
        peak_memory_bytes=peak_beyond_runtime(run.memory),
    )


def metric_changes(old: ComparedRun, new: ComparedRun) -> tuple[MetricChange, ...]:
    """The change of every metric, in the order in which they are shown."""
    return (
        *_query_changes(old, new),
        _cold_start_change(old, new),
        _memory_change(old, new),
        _plain_change(old, "peak_memory", old.peak_process_bytes, new.peak_process_bytes),
        _plain_change(old, "model_memory", old.peak_memory_bytes, new.peak_memory_bytes),
        _plain_change(old, "size", old.bundle.size_bytes, new.bundle.size_bytes),
        _score_change(old, new),
    )


def _empty_change(old: ComparedRun, metric: MetricName) -> MetricChange:
    return MetricChange(old.bundle.name, metric, UNITS[metric], runner=old.runner)


def _query_changes(old: ComparedRun, new: ComparedRun) -> Iterator[MetricChange]:
    columns = old.queries_ms, new.queries_ms
    problem = _time_problem(old, new, columns)
    series = [] if problem else [latency.SampleSeries(column) for column in columns]
    for metric, percent in (("p50", 50.0), ("p95", 95.0)):
        change = _empty_change(old, "p50" if metric == "p50" else "p95")
        if problem:
            yield replace(change, problem=problem)
        else:
            yield _time_change(change, series[0], series[1], percent, (old, new))


def _cold_start_change(old: ComparedRun, new: ComparedRun) -> MetricChange:
    change, columns = _empty_change(old, "cold_start"), (old.cold_starts_ms, new.cold_starts_ms)
    if problem := _time_problem(old, new, columns):
        return replace(change, problem=problem)
    first, second = map(latency.SampleSeries, columns)
    return _time_change(change, first, second, 50, (old, new))


def _time_problem(
    old: ComparedRun, new: ComparedRun, columns: tuple[FloatArray, FloatArray]
) -> str:
    """Why times cannot be compared; empty where they can."""
    if any(run.is_emulated and len(run.queries_ms) for run in (old, new)):
        return "latencies are not valid under emulation"
    if old.scope != new.scope:
        return f"times of {old.scope} and of {new.scope}"
    return "" if all(map(len, columns)) else NOT_MEASURED


def _time_change(
    change: MetricChange,
    old_series: latency.SampleSeries,
    new_series: latency.SampleSeries,
    percent: float,
    runs: tuple[ComparedRun, ComparedRun],
) -> MetricChange:
    """A percentile of times; `runs` tell whether they are valid."""
    first = latency.percentile_interval(old_series, percent)
    second = latency.percentile_interval(new_series, percent)
    if first is None or second is None:
        n_samples = min(len(old_series), len(new_series))
        return replace(change, problem=f"{n_samples} samples are too few for {change.metric}")
    if percent == 50:
        bootstrapped = latency.median_ratio(new_series, old_series)
        ratio_ci95: OpenInterval = (bootstrapped.low, bootstrapped.high)
    else:
        low, high = _recover_interval(_logarithms(second), _logarithms(first))
        ratio_ci95 = (math.exp(low), None if high is None else math.exp(high))
    return replace(
        change,
        old=first.estimate,
        new=second.estimate,
        worse_by=second.estimate - first.estimate,
        worse_by_ci95=_recover_interval(
            (second.estimate, second.low, second.high), (first.estimate, first.low, first.high)
        ),
        ratio=second.estimate / first.estimate,
        ratio_ci95=ratio_ci95,
        problem="; ".join(
            f"{name} is invalid: {run.invalid_reasons[0]}"
            for name, run in zip(("OLD", "NEW"), runs, strict=True)
            if run.invalid_reasons
        ),
    )


def _logarithms(interval: Interval) -> tuple[float, float, float]:
    high = math.log(interval.high) if math.isfinite(interval.high) else math.inf
    return math.log(interval.estimate), math.log(interval.low), high


def _recover_interval(
    a: tuple[float, float, float], b: tuple[float, float, float]
) -> tuple[float, float | None]:
    """The interval of a - b from the estimates and intervals (estimate, low, high) of both."""
    estimate = a[0] - b[0]
    low = estimate - math.hypot(a[0] - a[1], b[2] - b[0])
    high = estimate + math.hypot(a[2] - a[0], b[0] - b[1])
    return low, high if math.isfinite(high) else None


def _memory_change(old: ComparedRun, new: ComparedRun) -> MetricChange:
    """Working memory with its brackets, or the peak where neither result has working memory."""
    first, second = old.working_memory, new.working_memory
    change = _empty_change(old, "memory")
    if first.limit_bytes is None and second.limit_bytes is None:
        peaks = old.peak_process_bytes, new.peak_process_bytes
        return replace(_plain_change(old, "memory", *peaks), basis="peak")
    if first.limit_bytes is None or second.limit_bytes is None:
        side = "NEW" if first.limit_bytes is None else "OLD"
        return replace(change, problem=f"working memory was measured in {side} alone")
    # Each minimum lies above the failing limit and at or below the working one.
    low = second.failing_bytes - first.limit_bytes
    high = second.limit_bytes - first.failing_bytes
    return replace(
        change,
        old=first.limit_bytes,
        new=second.limit_bytes,
        worse_by=second.limit_bytes - first.limit_bytes,
        worse_by_ci95=(low, high),
        ratio=second.limit_bytes / first.limit_bytes,
        ratio_ci95=(
            second.failing_bytes / first.limit_bytes,
            second.limit_bytes / first.failing_bytes if first.failing_bytes else None,
        ),
        basis="working memory",
    )


def _plain_change(
    run: ComparedRun, metric: MetricName, old: float | None, new: float | None
) -> MetricChange:
    """One observation each, without an interval."""
    change = replace(_empty_change(run, metric), old=old, new=new)
    if old is None or new is None:
        return replace(change, problem=NOT_MEASURED)
    return replace(change, worse_by=new - old, ratio=new / old if old else None)


def _score_change(old: ComparedRun, new: ComparedRun) -> MetricChange:
    """The task's metric on the same examples, in points; positive is worse."""
    change = _empty_change(old, "score")
    first, second = old.predictions, new.predictions
    if first is None or second is None or not (first.sources and second.sources):
        return replace(change, problem=NOT_MEASURED)
    if old.bundle.labels != new.bundle.labels or old.bundle.task != new.bundle.task:
        return replace(change, problem="the tasks or labels differ")
    if not scoring.is_paired(first, second):
        return replace(change, problem="measured on different examples")
    metric, labels = scoring.metric_of(old.bundle.task), old.bundle.labels
    old_counts, new_counts = (metric.counts(p, labels) for p in (first, second))
    loss = scoring.difference_of_counts(
        metric, old_counts, new_counts, is_text=not first.counts
    ).interval
    old_score, new_score = (
        float(metric.value(counts.sum(axis=0))) for counts in (old_counts, new_counts)
    )
    return replace(
        change,
        old=100 * metric.rank(old_score),
        new=100 * metric.rank(new_score),
        worse_by=100 * loss.estimate,
        worse_by_ci95=(100 * loss.low, 100 * loss.high),
    )
