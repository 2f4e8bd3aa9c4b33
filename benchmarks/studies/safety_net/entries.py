"""Entries of the safety net: names with hashes or numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeGuard

from edgeseq.errors import EdgeseqError

Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]
Entries = dict[str, Value]

RELATIVE_TOLERANCE = 1e-9


def file_hash(produce: Callable[[], bytes]) -> str:
    """The SHA-256 of a file's content, or the class of the error that refuses to produce it."""
    try:
        content = produce()
    except EdgeseqError as error:
        return f"refused: {type(error).__name__}"
    return hashlib.sha256(content).hexdigest()


def numbers(prefix: str, values: Mapping[str, object]) -> Entries:
    """Entries `prefix/name` of `values`: mappings are flattened, sequences become one list."""
    entries: Entries = {}
    for name, value in values.items():
        key = f"{prefix}/{name}"
        if isinstance(value, Mapping):
            entries |= numbers(key, value)
        elif isinstance(value, list | tuple):
            entries[key] = list(_scalars(value))
        else:
            entries[key] = _scalar(value)
    return entries


def _scalars(values: Iterable[object]) -> Iterator[Scalar]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _scalars(value)
        else:
            yield _scalar(value)


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        # JSON has no infinity; 12 digits are more than `RELATIVE_TOLERANCE` needs.
        return float(f"{value:.12g}") if math.isfinite(value) else str(value)
    raise TypeError(f"{type(value).__name__} is not a scalar")


def same_value(first: Value, second: Value) -> bool:
    """Whether two values of an entry agree; numbers within `RELATIVE_TOLERANCE`."""
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(same_value, first, second))
    if _is_number(first) and _is_number(second):
        return math.isclose(first, second, rel_tol=RELATIVE_TOLERANCE, abs_tol=1e-12)
    return type(first) is type(second) and first == second


def _is_number(value: Value) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differences(expected: Entries, actual: Entries) -> Iterable[str]:
    """A line for each entry that is missing, new or different."""
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            yield f"missing: {key}"
        elif key not in expected:
            yield f"new: {key} = {actual[key]}"
        elif not same_value(expected[key], actual[key]):
            yield f"differs: {key}: expected {expected[key]}, computed {actual[key]}"
