"""Two results of the same models: what has changed, how sure that is, and whether it is too much.

**Intervals.** The ratio of two medians is bootstrapped in blocks (`latency.median_ratio`). Of
other percentiles, and of differences, both intervals (`latency.percentile_interval`) are combined
by the method of variance estimates recovery (Zou & Donner 2008, Statistics in Medicine 27), for
ratios on logarithms. Scores are compared on the same examples, by paired bootstrap. Memory and
size are one observation each and have no interval. An interval covers the variation within the
two runs, not the variation between runs (memory layout, room temperature): thresholds below 5 %
need repeated runs.

**Statuses.** A threshold *fails* when the whole 95 % interval lies beyond it; it is *undecided*
when the estimate does but not the whole interval, and *unknown* when there is nothing to compare
(not measured, or measured under conditions that make the numbers invalid).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from edgeseq.errors import ResultError
from edgeseq.formats.result import ResultRecord, Run, read_result
from edgeseq.html import html_table
from edgeseq.reporting.format import (
    ABSENT,
    NOT_MEASURED,
    Unit,
    format_gain,
    format_gain_interval,
    format_quantity,
    format_quantity_interval,
    format_relative_change,
    format_relative_interval,
)
from edgeseq.reporting.rows import ReportRow, derive_row
from edgeseq.reporting.thresholds import (
    UNITS,
    MetricName,
    RegressionThreshold,
    parse_thresholds,
)
from edgeseq.stats import latency
from edgeseq.stats.scores import Interval
from edgeseq.tasks import scoring

OpenInterval = tuple[float, float | None]
"""Low and high end of a 95 % interval; None: the samples show no upper end."""
CheckStatus = Literal["holds", "fails", "undecided", "unknown"]

# Results are comparable when these agree; bundles are matched by name.
_IDENTITY_SETTINGS = ("threads", "quick", "cpus")


class IdentityDifference(msgspec.Struct, frozen=True):
    """A field of the identity in which two results differ, with both values in words."""

    field: str
    old: str
    new: str


class MetricChange(msgspec.Struct, frozen=True):
    """One metric of one model in both results, in `unit`.

    `worse_by` is positive where the new one is worse, in `unit`; `ratio` is new / old, None for
    scores. `problem` says why there is nothing to compare.
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


class ThresholdCheck(msgspec.Struct, frozen=True):
    """A threshold on one model, with the outcome and its reason."""

    bundle: str
    threshold: str
    status: CheckStatus
    reason: str


class Comparison(msgspec.Struct, frozen=True):
    """Everything that was compared; `differing` is empty for results of the same identity."""

    old: str
    new: str
    differing: tuple[IdentityDifference, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    changes: tuple[MetricChange, ...]

    def check(self, rule: str | Sequence[RegressionThreshold]) -> tuple[ThresholdCheck, ...]:
        """Checks thresholds such as `p95>10% memory>5MB` on every model.

        Raises `InputError` for a rule that cannot be parsed.
        """
        thresholds = parse_thresholds(rule) if isinstance(rule, str) else rule
        return tuple(
            check_change(change, threshold)
            for change in self.changes
            for threshold in thresholds
            if threshold.metric == change.metric
        )

    def regressions(self, rule: str | Sequence[RegressionThreshold]) -> tuple[ThresholdCheck, ...]:
        """The checks that fail, or that cannot be made."""
        return tuple(check for check in self.check(rule) if check.status in ("fails", "unknown"))

    def _repr_html_(self) -> str:
        columns = ("bundle", "metric", "old", "new", "change", "95 % interval")
        rows = ((change.bundle, change.metric, *change.cells) for change in self.changes)
        return html_table(columns, rows)


def compare_results(
    old: Path | ResultRecord, new: Path | ResultRecord, *, across: bool = False
) -> Comparison:
    """Compares the models that two results have in common, by name.

    Raises `ResultError` for a file that cannot be read, for no model in common, and for results of
    different identity unless `across` allows that.
    """
    old_name, new_name = (
        str(s) if isinstance(s, Path) else d for s, d in ((old, "old"), (new, "new"))
    )
    first, second = (read_result(s) if isinstance(s, Path) else s for s in (old, new))
    differing = tuple(_identity_differences(first, second))
    if differing and not across:
        difference, n_more = differing[0], len(differing) - 1
        raise ResultError(
            f"differs from {old_name} in {difference.field}"
            + (f" and {n_more} more" if n_more else ""),
            where=new_name,
            found=difference.new,
            expected=difference.old,
            fix="measure under equal conditions, or compare anyway with --across",
        )
    old_runs = {run.bundle.name: run for run in first.runs}
    new_runs = {run.bundle.name: run for run in second.runs}
    shared = [name for name in old_runs if name in new_runs]
    if not shared:
        raise ResultError(
            "has no model in common with the other result",
            where=new_name,
            found=", ".join(new_runs) or "none",
            expected=", ".join(old_runs) or "none",
            fix="bundles are compared by name",
        )
    return Comparison(
        old=old_name,
        new=new_name,
        differing=differing,
        only_old=tuple(name for name in old_runs if name not in new_runs),
        only_new=tuple(name for name in new_runs if name not in old_runs),
        changes=tuple(
            change
            for name in shared
            for change in _changes(first, old_runs[name], second, new_runs[name])
        ),
    )


def _identity_differences(old: ResultRecord, new: ResultRecord) -> Iterator[IdentityDifference]:
    """Differences of device, runtime and the settings that decide what a number is."""
    fields = [
        (name, getattr(old, name), getattr(new, name), getattr(old, name).__struct_fields__)
        for name in ("device", "runtime")
    ]
    for name, first, second, names in [
        *fields, ("settings", old.effective, new.effective, _IDENTITY_SETTINGS)
    ]:  # fmt: skip
        for field in names:
            old_value, new_value = getattr(first, field), getattr(second, field)
            if old_value != new_value:
                yield IdentityDifference(f"{name}.{field}", _text(old_value), _text(new_value))


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _changes(
    first: ResultRecord, old: Run, second: ResultRecord, new: Run
) -> Iterator[MetricChange]:
    rows = (derive_row(first, old), derive_row(second, new))
    yield _time_change("p50", old, new, 50, rows)
    yield _time_change("p95", old, new, 95, rows)
    yield _time_change("cold_start", old, new, 50, rows)
    name = old.bundle.name
    yield _plain_change(name, "memory", *(row.peak_process_bytes for row in rows))
    yield _plain_change(name, "model_memory", *(row.peak_memory_bytes for row in rows))
    yield _plain_change(name, "size", *(row.size_bytes for row in rows))
    yield _score_change(old, new)


def _time_change(
    metric: MetricName, old: Run, new: Run, percent: float, rows: tuple[ReportRow, ReportRow]
) -> MetricChange:
    """A percentile of times; `rows` tell whether the runs are valid and times are latencies."""
    change = MetricChange(old.bundle.name, metric, UNITS[metric])
    if any(row.p50_ms is None and row.n_queries for row in rows):
        return replace(change, problem="latencies are not valid under emulation")
    if old.scope != new.scope:
        return replace(change, problem=f"times of {old.scope} and of {new.scope}")
    samples = [_samples_ms(run, metric) for run in (old, new)]
    if not all(len(column) for column in samples):
        return replace(change, problem=NOT_MEASURED)
    first, second = (latency.percentile_interval(column, percent) for column in samples)
    if first is None or second is None:
        return replace(change, problem=f"{min(map(len, samples))} samples are too few for {metric}")
    if percent == 50:
        bootstrapped = latency.median_ratio(samples[1], samples[0])
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
            f"{name} is invalid: {row.invalid_reasons[0]}"
            for name, row in zip(("OLD", "NEW"), rows, strict=True)
            if not row.valid
        ),
    )


def _samples_ms(run: Run, metric: MetricName) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    column = (
        [start.total_ns for start in run.cold_starts]
        if metric == "cold_start"
        else run.queries.total_ns
    )
    return np.asarray(column, dtype=np.float64) / 1e6


def _logarithms(interval: Interval) -> tuple[float, float, float]:
    high = math.log(interval.high) if math.isfinite(interval.high) else math.inf
    return math.log(interval.estimate), math.log(interval.low), high


def _recover_interval(a: tuple[float, float, float], b: tuple[float, float, float]) -> OpenInterval:
    """The interval of a − b from the estimates and intervals (estimate, low, high) of both."""
    estimate = a[0] - b[0]
    low = estimate - math.hypot(a[0] - a[1], b[2] - b[0])
    high = estimate + math.hypot(a[2] - a[0], b[0] - b[1])
    return low, high if math.isfinite(high) else None


def _plain_change(
    bundle: str, metric: MetricName, old: float | None, new: float | None
) -> MetricChange:
    """One observation each, without an interval."""
    change = MetricChange(bundle, metric, UNITS[metric], old=old, new=new)
    if old is None or new is None:
        return replace(change, problem=NOT_MEASURED)
    return replace(change, worse_by=new - old, ratio=new / old if old else None)


def _score_change(old: Run, new: Run) -> MetricChange:
    """The task's metric on the same examples, in points; positive is worse."""
    change = MetricChange(old.bundle.name, "score", "points")
    first, second = old.predictions, new.predictions
    if first is None or second is None:
        return replace(change, problem=NOT_MEASURED)
    if old.bundle.labels != new.bundle.labels or old.bundle.task != new.bundle.task:
        return replace(change, problem="the tasks or labels differ")
    if not scoring.is_paired(first, second):
        return replace(change, problem="measured on different examples")
    metric, labels = scoring.metric_of(old.bundle.task), old.bundle.labels
    loss = scoring.difference(metric, first, second, labels).interval
    old_score, new_score = (scoring.score(metric, p, labels).value for p in (first, second))
    return replace(
        change,
        old=100 * metric.rank(old_score),
        new=100 * metric.rank(new_score),
        worse_by=100 * loss.estimate,
        worse_by_ci95=(100 * loss.low, 100 * loss.high),
    )


def check_change(change: MetricChange, threshold: RegressionThreshold) -> ThresholdCheck:
    """Checks a threshold on a change."""

    def outcome(status: CheckStatus, reason: str) -> ThresholdCheck:
        return ThresholdCheck(change.bundle, threshold.text, status, reason)

    if change.problem or change.worse_by is None:
        return outcome("unknown", change.problem or NOT_MEASURED)
    if threshold.relative:
        if change.ratio is None:
            return outcome("unknown", "the old value is 0")
        estimate, ends = change.ratio - 1, change.ratio_ci95
        low = estimate if ends is None else ends[0] - 1
        text = format_relative_change(change.ratio)
        text += "" if ends is None else f" ({format_relative_interval(ends)})"
    else:
        estimate, ends = change.worse_by, change.worse_by_ci95
        low = estimate if ends is None else ends[0]
        text = f"worse by {format_quantity(estimate, change.unit)}"
        text += "" if ends is None else f" ({format_quantity_interval(ends, change.unit)})"
    if low > threshold.amount:
        return outcome("fails", text)
    return outcome("undecided" if estimate > threshold.amount else "holds", text)
