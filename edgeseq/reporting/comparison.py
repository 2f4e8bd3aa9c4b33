"""Two results of the same models: what has changed, how sure that is, and whether it is too much.

`edgeseq.reporting.metric_changes` tells what an interval is.

**Statuses.** A threshold *fails* when the whole interval lies beyond it; it is *undecided*
when the estimate does but not the whole interval, and *unknown* when there is nothing to compare
(not measured, measured under conditions that make the numbers invalid, or not in NEW at all).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.result import ResultRecord, Runner
from edgeseq.formats.result_stream import ResultStream
from edgeseq.html import html_table
from edgeseq.reporting.format import (
    NOT_MEASURED,
    format_quantity,
    format_quantity_interval,
    format_relative_change,
    format_relative_interval,
)
from edgeseq.reporting.metric_changes import (
    ComparedRun,
    MetricChange,
    compared_run,
    metric_changes,
)
from edgeseq.reporting.thresholds import RegressionThreshold, parse_thresholds

CheckStatus = Literal["holds", "fails", "undecided", "unknown"]

# Results are comparable when these agree; bundles are matched by name and runner.
_IDENTITY_SETTINGS = ("threads", "quick", "cpus")


class IdentityDifference(msgspec.Struct, frozen=True):
    """A field of the identity in which two results differ, with both values in words."""

    field: str
    old: str
    new: str


class ThresholdCheck(msgspec.Struct, frozen=True):
    """A threshold on one model, with the outcome and its reason."""

    bundle: str
    threshold: str
    status: CheckStatus
    reason: str


class Comparison(msgspec.Struct, frozen=True):
    """Everything that was compared; `differing` is empty for results of the same identity, and
    `runners` are those of both results. `limit_checks` are those of a budget on NEW alone."""

    old: str
    new: str
    differing: tuple[IdentityDifference, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    changes: tuple[MetricChange, ...]
    runners: tuple[Runner, ...] = ()
    limit_checks: tuple[ThresholdCheck, ...] = ()

    def check(self, rule: str | Sequence[RegressionThreshold]) -> tuple[ThresholdCheck, ...]:
        """Checks thresholds such as `p95>10% memory>5MB` on every model of OLD; the checks of the
        budget follow.

        Raises `InputError` for a rule that cannot be parsed.
        """
        thresholds = parse_thresholds(rule) if isinstance(rule, str) else rule
        checks = [
            check_change(change, threshold, name=self.model_name(change))
            for change in self.changes
            for threshold in thresholds
            if threshold.metric == change.metric
        ]
        # A model that has vanished cannot be checked, which is no way to pass.
        checks += [
            ThresholdCheck(name, threshold.text, "unknown", "the model is not in NEW")
            for name in self.only_old
            for threshold in thresholds
        ]
        return (*checks, *self.limit_checks)

    def model_name(self, change: MetricChange) -> str:
        """See `model_name`."""
        return model_name(change.bundle, change.runner, self.runners)

    def regressions(self, rule: str | Sequence[RegressionThreshold]) -> tuple[ThresholdCheck, ...]:
        """The checks that fail, or that cannot be made."""
        return tuple(check for check in self.check(rule) if check.status in ("fails", "unknown"))

    def _repr_html_(self) -> str:
        columns = ("bundle", "metric", "old", "new", "change", "interval")
        rows = ((self.model_name(change), change.title, *change.cells) for change in self.changes)
        return html_table(columns, rows)


def compare_results(
    old: Path | ResultRecord, new: Path | ResultRecord, *, across: bool = False
) -> Comparison:
    """Compares the models that two results have in common, by name and runner.

    Raises `ResultError` for a file that cannot be read, for no model in common, and for results of
    different identity unless `across` allows that.
    """
    old_name, new_name = (
        str(s) if isinstance(s, Path) else d for s, d in ((old, "old"), (new, "new"))
    )
    first, old_runs = _open(old)
    pending = {run.key: run for run in old_runs}
    second, new_runs = _open(new)
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
    old_keys, new_keys = list(pending), []
    # NumPy's draws and transforms release the interpreter's lock while the next run is read.
    with ThreadPoolExecutor(max_workers=2) as pool:
        started: dict[tuple[str, Runner], Future[tuple[MetricChange, ...]]] = {}
        for run in new_runs:
            new_keys.append(run.key)
            if run.key in pending:
                started[run.key] = pool.submit(metric_changes, pending.pop(run.key), run)
        changes = {key: future.result() for key, future in started.items()}
    runners = tuple(dict.fromkeys(runner for _, runner in (*old_keys, *new_keys)))
    old_names, new_names = (
        {key: model_name(*key, runners) for key in keys} for keys in (old_keys, new_keys)
    )
    if not changes:
        raise ResultError(
            "has no model in common with the other result",
            where=new_name,
            found=", ".join(new_names.values()) or "none",
            expected=", ".join(old_names.values()) or "none",
            fix="bundles are compared by name and runner",
        )
    return Comparison(
        old=old_name,
        new=new_name,
        differing=differing,
        only_old=tuple(name for key, name in old_names.items() if key not in new_names),
        only_new=tuple(name for key, name in new_names.items() if key not in old_names),
        changes=tuple(change for key in old_keys for change in changes.get(key, ())),
        runners=runners,
    )


def _open(source: Path | ResultRecord) -> tuple[ResultRecord, Iterator[ComparedRun]]:
    """The record, and what is compared of its runs; a file's samples are read run by run."""
    if isinstance(source, ResultRecord):
        return source, (compared_run(source, run) for run in source.runs)
    stream = ResultStream(source)
    return stream.head, (compared_run(stream.head, run) for run in stream)


def model_name(bundle: str, runner: Runner, runners: Sequence[Runner]) -> str:
    """The bundle, and the runner where there are several `runners`."""
    return f"{bundle} ({runner})" if len(runners) > 1 else bundle


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


def check_change(
    change: MetricChange, threshold: RegressionThreshold, *, name: str = ""
) -> ThresholdCheck:
    """Checks a threshold on a change of the model `name` (default: its bundle)."""

    def outcome(status: CheckStatus, reason: str) -> ThresholdCheck:
        basis = f" ({change.basis})" if change.basis else ""
        return ThresholdCheck(name or change.bundle, threshold.text, status, f"{reason}{basis}")

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
