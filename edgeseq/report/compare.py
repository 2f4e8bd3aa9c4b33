"""Two results of the same models: what has changed, how sure that is, and whether it is too much.

**Intervals.** The ratio of two medians is bootstrapped in blocks (`percentiles.median_ratio`). Of
other percentiles, and of differences, both intervals (`percentiles.percentile_interval`) are put
together by the method of variance estimates recovery (Zou & Donner 2008, Statistics in
Medicine 27), for ratios on logarithms. Scores are compared on the same examples, by paired
bootstrap. Memory and size are one observation each and have no interval. An interval holds what
varied within the two runs; what differs from one run to the next by itself (where code and data
came to lie, a room's temperature) it cannot know: thresholds below 5 % ask for more than that.

**Verdicts.** A threshold *fails* when the whole 95 % interval lies beyond it; it is *undecided*
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

from edgeseq.errors import ResultError
from edgeseq.formats.result import Result, Run, read_result
from edgeseq.report.rows import Row, derive_row
from edgeseq.report.thresholds import UNITS, MetricName, Threshold, Unit, format_value
from edgeseq.stats import latency as percentiles
from edgeseq.stats import scores as stats
from edgeseq.tasks import scoring

Ends = tuple[float, float | None]
"""Low and high end of a 95 % interval; None: the samples show no upper end."""
Status = Literal["holds", "fails", "undecided", "unknown"]

# What makes two results results of the same thing; bundles are compared by name on top of it.
_SETTINGS = ("threads", "quick", "cpus")


class Differing(msgspec.Struct, frozen=True):
    """A field of the identity in which two results differ, with both values in words."""

    field: str
    old: str
    new: str


class Change(msgspec.Struct, frozen=True):
    """One metric of one model in both results, in `unit`.

    `worse_by` is positive where the new one is worse, in `unit`; `ratio` is new / old, None for
    scores. `why_not` says why there is nothing to compare.
    """

    bundle: str
    metric: MetricName
    unit: Unit
    old: float | None = None
    new: float | None = None
    worse_by: float | None = None
    worse_by_ci95: Ends | None = None
    ratio: float | None = None
    ratio_ci95: Ends | None = None
    why_not: str = ""


class Check(msgspec.Struct, frozen=True):
    """A threshold on one model, and what came of it in words."""

    bundle: str
    threshold: str
    status: Status
    why: str


class Comparison(msgspec.Struct, frozen=True):
    """Everything that was compared; `differing` is empty for results of the same identity."""

    old: str
    new: str
    differing: tuple[Differing, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    changes: tuple[Change, ...]
    checks: tuple[Check, ...]

    def with_status(self, *statuses: Status) -> tuple[Check, ...]:
        """The checks that came out so."""
        return tuple(check for check in self.checks if check.status in statuses)


def compare(
    old: Path, new: Path, thresholds: Sequence[Threshold] = (), *, across: bool = False
) -> Comparison:
    """Compares the models that two result files have in common, by name.

    Raises `ResultError` for a file that cannot be read, for no model in common, and for results of
    different identity unless `across` says that this is meant.
    """
    first, second = read_result(old), read_result(new)
    differing = tuple(_differing(first, second))
    if differing and not across:
        one, more = differing[0], len(differing) - 1
        raise ResultError(
            f"differs from {old} in {one.field}" + (f" and {more} more" if more else ""),
            where=new,
            found=one.new,
            expected=one.old,
            fix="measure under equal conditions, or compare anyway with --across",
        )
    runs = {run.bundle.name: run for run in first.runs}
    others = {run.bundle.name: run for run in second.runs}
    shared = [name for name in runs if name in others]
    if not shared:
        raise ResultError(
            "has no model in common with the other result",
            where=new,
            found=", ".join(others) or "none",
            expected=", ".join(runs) or "none",
            fix="bundles are compared by name",
        )
    changes = tuple(
        change for name in shared for change in _changes(first, runs[name], second, others[name])
    )
    return Comparison(
        old=str(old),
        new=str(new),
        differing=differing,
        only_old=tuple(name for name in runs if name not in others),
        only_new=tuple(name for name in others if name not in runs),
        changes=changes,
        checks=tuple(
            check_change(change, threshold)
            for change in changes
            for threshold in thresholds
            if threshold.metric == change.metric
        ),
    )


def _differing(old: Result, new: Result) -> Iterator[Differing]:
    """Device, runtime and the settings that decide what a number is."""
    for name in ("device", "runtime"):
        first, second = getattr(old, name), getattr(new, name)
        for field in first.__struct_fields__:
            one, two = getattr(first, field), getattr(second, field)
            if one != two:
                yield Differing(f"{name}.{field}", _words(one), _words(two))
    for field in _SETTINGS:
        one, two = getattr(old.effective, field), getattr(new.effective, field)
        if one != two:
            yield Differing(f"settings.{field}", _words(one), _words(two))


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _changes(first: Result, old: Run, second: Result, new: Run) -> Iterator[Change]:
    rows = (derive_row(first, old), derive_row(second, new))
    yield _time("p50", old, new, 50, rows)
    yield _time("p95", old, new, 95, rows)
    yield _time("cold_start", old, new, 50, rows)
    name = old.bundle.name
    yield _plain(name, "memory", *(row.peak_process_bytes for row in rows))
    yield _plain(name, "model_memory", *(row.peak_memory_bytes for row in rows))
    yield _plain(name, "size", *(row.size_bytes for row in rows))
    yield _score(old, new)


def _time(metric: MetricName, old: Run, new: Run, percent: float, rows: tuple[Row, Row]) -> Change:
    """A percentile of times; `rows` say whether the runs are valid and times at all."""
    made = Change(old.bundle.name, metric, UNITS[metric])
    reasons = [
        f"{which} is invalid: {row.invalid_reasons[0]}"
        for which, row in zip(("OLD", "NEW"), rows, strict=True)
        if not row.valid
    ]
    if any(row.p50_ms is None and row.n_queries for row in rows):
        return _without(made, "emulated: times are no latencies")
    if old.scope != new.scope:
        return _without(made, f"times of {old.scope} and of {new.scope}")
    samples = [_samples_ms(run, metric) for run in (old, new)]
    if not all(len(column) for column in samples):
        return _without(made, "not measured")
    first, second = (percentiles.percentile_interval(column, percent) for column in samples)
    if first is None or second is None:
        few = min(map(len, samples))
        return _without(made, f"{few} samples are too few for {metric}")
    ratio = second.estimate / first.estimate
    if percent == 50:
        bootstrapped = percentiles.median_ratio(samples[1], samples[0])
        ratio_ends: Ends = (bootstrapped.low, bootstrapped.high)
    else:
        low, high = _recovered(*(_logarithms(one) for one in (second, first)))
        ratio_ends = (math.exp(low), None if high is None else math.exp(high))
    return msgspec.structs.replace(
        made,
        old=first.estimate,
        new=second.estimate,
        worse_by=second.estimate - first.estimate,
        worse_by_ci95=_recovered(
            (second.estimate, second.low, second.high), (first.estimate, first.low, first.high)
        ),
        ratio=ratio,
        ratio_ci95=ratio_ends,
        why_not="; ".join(reasons),
    )


def _samples_ms(run: Run, metric: MetricName) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    column = (
        [start.total_ns for start in run.cold_starts]
        if metric == "cold_start"
        else run.queries.total_ns
    )
    return np.asarray(column, dtype=np.float64) / 1e6


def _without(change: Change, why_not: str) -> Change:
    return msgspec.structs.replace(change, why_not=why_not)


def _logarithms(interval: stats.Interval) -> tuple[float, float, float]:
    high = math.log(interval.high) if math.isfinite(interval.high) else math.inf
    return math.log(interval.estimate), math.log(interval.low), high


def _recovered(a: tuple[float, float, float], b: tuple[float, float, float]) -> Ends:
    """The interval of a − b from the estimates and intervals (estimate, low, high) of both."""
    estimate = a[0] - b[0]
    low = estimate - math.hypot(a[0] - a[1], b[2] - b[0])
    high = estimate + math.hypot(a[2] - a[0], b[0] - b[1])
    return low, high if math.isfinite(high) else None


def _plain(bundle: str, metric: MetricName, old: float | None, new: float | None) -> Change:
    """One observation each, without an interval."""
    made = Change(bundle, metric, UNITS[metric], old=old, new=new)
    if old is None or new is None:
        return _without(made, "not measured")
    ratio = new / old if old else None
    return msgspec.structs.replace(made, worse_by=new - old, ratio=ratio)


def _score(old: Run, new: Run) -> Change:
    """The task's metric on the same examples, in points; positive is worse."""
    made = Change(old.bundle.name, "score", "points")
    first, second = old.predictions, new.predictions
    if first is None or second is None:
        return _without(made, "not measured")
    if old.bundle.labels != new.bundle.labels or old.bundle.task != new.bundle.task:
        return _without(made, "another task, or other labels")
    if (first.examples_sha256, first.gold, first.counts) != (
        second.examples_sha256,
        second.gold,
        second.counts,
    ):
        return _without(made, "measured on other examples")
    metric, labels = scoring.metric_of(old.bundle.task), old.bundle.labels
    lost = scoring.difference(metric, first, second, labels).interval
    values = [scoring.score(metric, found, labels).value for found in (first, second)]
    return msgspec.structs.replace(
        made,
        old=100 * metric.rank(values[0]),
        new=100 * metric.rank(values[1]),
        worse_by=100 * lost.estimate,
        worse_by_ci95=(100 * lost.low, 100 * lost.high),
    )


def check_change(change: Change, threshold: Threshold) -> Check:
    """What a threshold says of a change."""

    def said(status: Status, why: str) -> Check:
        return Check(change.bundle, threshold.text, status, why)

    if change.why_not or change.worse_by is None:
        return said("unknown", change.why_not or "not measured")
    if threshold.relative:
        if change.ratio is None:
            return said("unknown", "the old value is 0")
        estimate, ends = change.ratio - 1, change.ratio_ci95
        low = estimate if ends is None else ends[0] - 1
        shown = f"{100 * estimate:+.1f} %"
        if ends is not None:
            high = "no upper end" if ends[1] is None else f"{100 * (ends[1] - 1):+.1f}"
            shown += f" ({100 * low:+.1f} to {high})"
    else:
        estimate, ends = change.worse_by, change.worse_by_ci95
        low = estimate if ends is None else ends[0]
        shown = f"worse by {format_value(estimate, change.metric)}"
        if ends is not None:
            high = "no upper end" if ends[1] is None else format_value(ends[1], change.metric)
            shown += f" ({format_value(low, change.metric)} to {high})"
    if low > threshold.amount:
        return said("fails", shown)
    return said("undecided" if estimate > threshold.amount else "holds", shown)
