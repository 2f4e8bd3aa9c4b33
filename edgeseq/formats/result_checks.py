"""Values of a result that no measurement gives: a report would show them as figures.

Types are checked by the decoder; here times, sizes and counts are within their ranges, columns are
equally long, and a total is not below its parts.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import add, gt
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import ResultError
from edgeseq.tasks.predictions import Predictions

# The largest value of a field by the end of its name: 115 days, 11 days, 1.1 EB, and as many as a
# float counts exactly.
_LARGEST = {"_ns": 10**16, "_us": 10**12, "_bytes": 1 << 60, "": 1 << 53}
# Fields that are never 0, and those that may be below it.
_ABOVE_ZERO = frozenset(
    (
        *("total_ns", "wall_ns", "limit_bytes", "rss_bytes", "size_bytes", "model_size_bytes"),
        *("cores", "tokens", "max_tokens", "parameters", "rounds", "examples"),
        *("duration_s", "cpus"),
    )
)
_SIGNED = frozenset(("temperature_c", "log_probabilities", "seed", "samples_w"))
_THREADS = 1024


def check_head(path: Path, result: Any) -> None:
    """Checks a `ResultRecord` without its runs; raises `ResultError` for a value that cannot be."""
    for name in ("device", "requested", "effective", "machine", "energy_idle"):
        _check_part(path, getattr(result, name), name, "$")
    _check_part(path, result.footprints, "footprints", "$")
    for settings in (result.requested, result.effective):
        if not 1 <= settings.threads <= _THREADS:
            raise _error(path, "$.requested.threads", settings.threads, f"1 to {_THREADS}")


def check_values(path: Path, run: Any) -> None:
    """Checks a `Run`; raises `ResultError` naming the place of a value that cannot be."""
    place = f"$.runs[{run.bundle.name}, {run.runner}]"
    _check_struct(path, run, place)
    for name in ("warmup", "queries"):
        columns = getattr(run, name)
        _check_columns(path, f"{place}.{name}", _columns(columns))
        sums = map(add, map(add, columns.tokenize_ns, columns.inference_ns), columns.decode_ns)
        # In C, because a result has a million queries.
        if True in map(gt, sums, columns.total_ns):
            _check_totals(path, f"{place}.{name}", columns)
    for index, start in enumerate(run.cold_starts):
        longest = max(start.import_ns, start.load_ns, start.first_answer_ns)
        if start.total_ns < longest:
            where = f"{place}.cold_starts[{index}].total_ns"
            raise _error(path, where, start.total_ns, f"at least its parts, {longest}")
    if run.bundle.size_bytes < run.bundle.model_size_bytes:
        raise _error(
            path,
            f"{place}.bundle.size_bytes",
            run.bundle.size_bytes,
            f"at least the model's, {run.bundle.model_size_bytes}",
        )
    if run.predictions is not None:
        _check_predictions(path, f"{place}.predictions", run.predictions, len(run.bundle.labels))


def check_baseline(path: Path, baseline: Any) -> None:
    """Checks a `LinearBaseline`; raises `ResultError` naming the value that cannot be."""
    predictions = baseline.predictions
    check_counts(path, "the linear baseline", predictions)
    _check_struct(path, baseline, "$")
    _check_predictions(path, "$.predictions", predictions, len(baseline.labels))
    if not predictions.sources:
        raise _error(path, "$.predictions.sources", "none", "one for each example")


def check_counts(path: Path, name: str, predictions: Predictions | None) -> None:
    """Answers by word must be as many as their examples' words; raises `ResultError` that says so
    of the model `name`."""
    if predictions is None or not predictions.counts:
        return
    columns = {"sources": (len(predictions.sources), len(predictions.counts))}
    if predictions.absolute_errors:
        columns |= {
            column: (len(getattr(predictions, column)), len(predictions.counts))
            for column in ("absolute_errors", "squared_errors")
        }
    elif predictions.gold or not predictions.log_probabilities:
        columns |= {
            column: (len(getattr(predictions, column)), sum(predictions.counts))
            for column in ("gold", "predicted")
        }
    else:
        columns["log_probabilities"] = (len(predictions.log_probabilities), len(predictions.counts))
    for column, (length, expected) in columns.items():
        if length != expected or min(predictions.counts) < 0:
            raise ResultError(
                f"{column} of {name} do not fit the words of the examples",
                where=path,
                found=length,
                expected=expected,
                fix="measure again",
            )


def _check_totals(path: Path, place: str, columns: Any) -> None:
    """Names the first total that is below its parts."""
    parts = zip(
        columns.tokenize_ns, columns.inference_ns, columns.decode_ns, columns.total_ns, strict=True
    )
    for index, (tokenize, inference, decode, total) in enumerate(parts):
        if tokenize + inference + decode > total:
            parts_ns = f"{tokenize} + {inference} + {decode}"
            where = f"{place}.total_ns[{index}]"
            raise _error(path, where, total, f"at least its parts, {parts_ns}")


def _check_predictions(path: Path, place: str, predictions: Predictions, labels: int) -> None:
    columns: dict[str, Sequence[Any]] = {"gold": predictions.gold}
    columns["predicted"] = predictions.predicted
    if not predictions.counts:
        columns["sources"] = predictions.sources
    _check_columns(path, place, columns)
    for name in ("gold", "predicted"):
        if (column := columns[name]) and labels and max(column) >= labels:
            index = max(range(len(column)), key=column.__getitem__)
            where = f"{place}.{name}[{index}]"
            raise _error(path, where, column[index], f"a class from 0 to {labels - 1}")
    for index, log_probability in enumerate(predictions.log_probabilities):
        if log_probability > 0:
            where = f"{place}.log_probabilities[{index}]"
            raise _error(path, where, log_probability, "0 or less")
    correct = (predictions.top1_correct, predictions.top3_correct, predictions.counts)
    for index, (top1, top3, count) in enumerate(zip(*correct, strict=False)):
        if not top1 <= top3 <= count:
            raise _error(path, f"{place}.top3_correct[{index}]", top3, f"{top1} to {count}")


def _columns(struct: msgspec.Struct) -> dict[str, Sequence[Any]]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def _check_columns(path: Path, place: str, columns: Mapping[str, Sequence[Any]]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise _error(path, place, found, "columns of one length")


def _check_struct(path: Path, value: msgspec.Struct, place: str) -> None:
    for name in value.__struct_fields__:
        part = getattr(value, name)
        if part is not None:
            _check_part(path, part, name, place)


def _check_part(path: Path, part: Any, name: str, place: str) -> None:
    """Checks the numbers of the field `name` of what is at `place`, and those in it."""
    kind = type(part)
    if kind is int or kind is float:
        low, high = _bounds(name)
        if not low <= part <= high:
            _check_number(path, f"{place}.{name}", name, part)
    elif kind is tuple:
        _check_tuple(path, part, name, f"{place}.{name}")
    elif isinstance(part, msgspec.Struct):
        _check_struct(path, part, f"{place}.{name}")


def _check_tuple(path: Path, values: tuple[Any, ...], name: str, place: str) -> None:
    if not values or isinstance(values[0], str):
        return
    if isinstance(values[0], (int, float)):
        low, high = _bounds(name)
        if not (low <= min(values) and max(values) <= high):
            for index, value in enumerate(values):
                _check_number(path, f"{place}[{index}]", name, value)
        return
    for index, part in _structs(values):
        _check_struct(path, part, f"{place}[{index}]")


def _structs(values: tuple[Any, ...]) -> Iterator[tuple[int, msgspec.Struct]]:
    return ((i, value) for i, value in enumerate(values) if isinstance(value, msgspec.Struct))


def _check_number(path: Path, place: str, name: str, value: float) -> None:
    low, high = _bounds(name)
    if low <= value <= high:
        return
    if not math.isfinite(value):
        expected = "a number"
    elif value > high:
        expected = f"at most {high}"
    else:
        expected = "more than 0" if name in _ABOVE_ZERO else "0 or more"
    raise _error(path, place, value, expected)


@functools.cache
def _bounds(name: str) -> tuple[float, int]:
    """The smallest and the largest value of a field."""
    high = next(limit for end, limit in _LARGEST.items() if name.endswith(end))
    if name in _ABOVE_ZERO:
        return math.ulp(0.0), high
    return (-sys.float_info.max if name in _SIGNED else 0.0), high


def _error(path: Path, place: str, found: object, expected: str) -> ResultError:
    return ResultError(
        f"{place} cannot be", where=path, found=found, expected=expected, fix="measure again"
    )
