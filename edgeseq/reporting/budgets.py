"""The limits that a model has to keep on a device: `memory=64MB p95=20ms size=3MB drop=1`.

`memory` is what `edgeseq bench --memory` limits: the whole process. It is compared with the working
memory, the smallest such limit under which a model keeps its speed, or with the peak where that was
not measured; `model_memory` is the peak on top of the bare runtime. `drop` is not a limit on a
device: it is how many points of the score may be given up for a cheaper model (default 1).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.codec import from_builtins
from edgeseq.reporting.format import format_exact, format_limit
from edgeseq.units import parse_bytes, parse_duration_ms

DEFAULT_DROP_POINTS = 1.0


class Budget(msgspec.Struct, frozen=True):
    """Limits of a deployment; None means no limit, a value equal to the limit is within it."""

    memory_bytes: int | None = None
    model_memory_bytes: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    size_bytes: int | None = None
    cold_start_ms: float | None = None
    drop_points: float = DEFAULT_DROP_POINTS


class BudgetLimit(NamedTuple):
    """One kind of limit: its key in a budget's text, its fields, unit and title.

    `field` is the name in `Budget`, `row_field` that of the value in a `ReportRow`.
    """

    key: str
    field: str
    row_field: str
    unit: Literal["bytes", "ms"]
    title: str


LIMITS = (
    BudgetLimit("memory", "memory_bytes", "required_memory_bytes", "bytes", "memory"),
    BudgetLimit("model_memory", "model_memory_bytes", "peak_memory_bytes", "bytes", "model memory"),
    BudgetLimit("p50", "p50_ms", "p50_ms", "ms", "median latency"),
    BudgetLimit("p95", "p95_ms", "p95_ms", "ms", "p95 latency"),
    BudgetLimit("size", "size_bytes", "size_bytes", "bytes", "size"),
    BudgetLimit("cold_start", "cold_start_ms", "cold_start_ms", "ms", "cold start"),
)
_BY_KEY = {limit.key: limit for limit in LIMITS}


def _parse_points(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:points?|pts?)?", text)
    if match is None or not 0 <= float(match[1]) <= 100:
        raise InputError(
            "drop is out of range",
            where="budget",
            found=repr(text),
            expected="points from 0 to 100, like 1 or 0.5",
        )
    return float(match[1])


def _parse_limit(limit: BudgetLimit, text: str) -> float:
    parse = parse_bytes if limit.unit == "bytes" else parse_duration_ms
    return parse(text, where=f"budget: {limit.key}")


def parse_budget(text: str) -> Budget:
    """The budget in `text`: `KEY=VALUE` separated by spaces or commas; "" has no limit.

    Raises `InputError` in one line for an unknown key, a missing unit, a value that is not
    positive, a repeated key, or limits that contradict each other.
    """
    values: dict[str, float] = {}
    for item in re.sub(r"\s*=\s*", "=", text).replace(",", " ").split():
        key, equals, value = item.partition("=")
        if not equals or not value:
            raise InputError(
                "is not KEY=VALUE", where="budget", found=repr(item), expected="e.g. memory=64MB"
            )
        if key != "drop" and key not in _BY_KEY:
            raise InputError(
                "unknown limit",
                where="budget",
                found=repr(key),
                expected=", ".join([*_BY_KEY, "drop"]),
            )
        if key in values:
            raise InputError("limit set twice", where="budget", found=repr(key), fix="set it once")
        values[key] = _parse_points(value) if key == "drop" else _parse_limit(_BY_KEY[key], value)
    return make_budget(values)


def make_budget(values: dict[str, float]) -> Budget:
    """A budget from values by key, in bytes, ms and points.

    Raises `InputError` where one limit could never refuse anything because of another.
    """
    for inner, outer in (("model_memory", "memory"), ("p50", "p95")):
        if inner in values and outer in values and values[inner] > values[outer]:
            raise InputError(
                f"limits contradict each other: {inner} is part of {outer}",
                where="budget",
                found=f"{inner}={format_limit(values[inner], _BY_KEY[inner].unit)} "
                f"{outer}={format_limit(values[outer], _BY_KEY[outer].unit)}",
                expected=f"{inner} <= {outer}",
            )
    fields = {
        _BY_KEY[key].field: int(value) if _BY_KEY[key].unit == "bytes" else float(value)
        for key, value in values.items()
        if key != "drop"
    }
    drop_points = values.get("drop", DEFAULT_DROP_POINTS)
    return from_builtins({**fields, "drop_points": drop_points}, Budget)


def limits_of(budget: Budget) -> list[tuple[BudgetLimit, float]]:
    """The limits that a budget sets, in the order in which they are shown, with their values."""
    values = ((limit, getattr(budget, limit.field)) for limit in LIMITS)
    return [(limit, value) for limit, value in values if value is not None]


def describe_budget(budget: Budget) -> str:
    """A budget in words: `memory ≤ 64 MB, p95 latency ≤ 20 ms`, or `no limits`."""
    texts = [f"{limit.title} ≤ {format_limit(v, limit.unit)}" for limit, v in limits_of(budget)]
    return ", ".join(texts) or "no limits"


def budget_text(budget: Budget) -> str:
    """The text that `parse_budget` reads back as `budget`, exactly."""
    items = []
    for limit, value in limits_of(budget):
        number, unit = format_limit(value, limit.unit).split()
        short = f"{number}{unit}"
        exact = f"{format_exact(value)}{'B' if limit.unit == 'bytes' else 'ms'}"
        is_readable = float(number) > 0 and unit != "TB"
        is_same = is_readable and _parse_limit(limit, short) == value
        items.append(f"{limit.key}={short if is_same else exact}")
    if budget.drop_points != DEFAULT_DROP_POINTS:
        items.append(f"drop={format_exact(budget.drop_points)}")
    return " ".join(items)
