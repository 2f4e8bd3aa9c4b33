"""Sizes, durations and numbers of threads as people write them, in both directions.

SI prefixes are powers of ten and binary prefixes are powers of two (ISO/IEC 80000-13):
1 MB = 10^6 bytes, 1 MiB = 2^20 bytes. A number without a unit is refused, because one cannot
tell which one was meant.
"""

from __future__ import annotations

import math
import re

from edgeseq.errors import InputError

THREADS_LIMIT = 1024
"""More threads than any machine's cores: a mistyped number, which would take all its memory."""

_BYTES_PER_UNIT = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}
_MS_PER_UNIT = {"ns": 1e-6, "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3}
_SECONDS_PER_UNIT = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_NUMBER_AND_UNIT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zµμ]+)\s*", re.IGNORECASE)


def check_threads(threads: int) -> None:
    """Raises `InputError` for a number of threads that no machine has."""
    if not 1 <= threads <= THREADS_LIMIT:
        raise InputError(
            "is not a number of threads",
            where="threads",
            found=threads,
            expected=f"1 to {THREADS_LIMIT}",
        )


def parse_bytes(text: str, *, where: str | None = None) -> int:
    """A size in bytes from `64MB`, `1.5 GiB`, `512kB`; case does not matter.

    Raises `InputError` naming `where` (the option or file) for anything else, zero included.
    """
    number, factor = _split(text, _BYTES_PER_UNIT, where, "a size", "like 64MB or 61MiB")
    size_bytes = number * factor
    if not 0.5 < size_bytes < 2**62:
        raise InputError(
            "is not a usable size", where=where, found=repr(text), expected="1 B to 4.6 EB"
        )
    return round(size_bytes)


def parse_duration_ms(text: str, *, where: str | None = None) -> float:
    """A duration in milliseconds from `20ms`, `1.5s`, `300us`.

    Raises `InputError` naming `where` (the option or file) for anything else, zero included.
    """
    number, factor = _split(text, _MS_PER_UNIT, where, "a duration", "like 20ms or 1.5s")
    duration_ms = number * factor
    if not 0 < duration_ms < math.inf:
        raise InputError("is not a usable duration", where=where, found=repr(text))
    return duration_ms


def parse_duration_s(text: str, *, where: str | None = None) -> float:
    """A duration in seconds from `90s`, `30min` (or `30m`), `2h`.

    Raises `InputError` naming `where` (the option or file) for anything else, zero included.
    """
    number, factor = _split(text, _SECONDS_PER_UNIT, where, "a duration", "like 90s, 30min or 2h")
    if not 0 < number * factor < math.inf:
        raise InputError("is not a usable duration", where=where, found=repr(text))
    return number * factor


def _split(
    text: str, factors: dict[str, float] | dict[str, int], where: str | None, what: str, fix: str
) -> tuple[float, float]:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match[2].lower() not in factors:
        # The micro sign has two code points; one is enough in a message.
        units = ", ".join(unit for unit in factors if unit != "μs")
        raise InputError(
            f"is not {what}",
            where=where,
            found=repr(text),
            expected=f"a number and one of {units}",
            fix=f"write it {fix}",
        )
    return float(match[1]), factors[match[2].lower()]


def format_bytes(size_bytes: float) -> str:
    """A size with three digits and an SI unit: `22.9 MB`, `617 kB`, `12 B`."""
    size, unit = abs(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        # 999.5 would be written as 1000, which is the next unit's 1.00.
        if size < 999.5:
            break
        size, unit = size / 1000, larger
    sign = "-" if size_bytes < 0 else ""
    digits = f"{size:.0f}" if unit == "B" else _three_digits(size)
    return f"{sign}{digits} {unit}"


def format_duration_ms(duration_ms: float) -> str:
    """A duration with three digits: `12.3 ms`, `0.143 ms`, `2.50 s`; never an exponent."""
    size = abs(duration_ms)
    sign = "-" if duration_ms < 0 else ""
    if size < 999.5:
        return f"{sign}{_three_digits(size)} ms"
    return f"{sign}{_three_digits(size / 1000)} s"


def format_duration_ns(duration_ns: float) -> str:
    """The same as `format_duration_ms` for nanoseconds."""
    return format_duration_ms(duration_ns / 1e6)


def format_factor(factor: float) -> str:
    """How many times as much: two digits, all of them from 100 on."""
    return f"{factor:.0f}" if factor >= 99.5 else f"{factor:.2g}"


def format_count(count: int) -> str:
    """A number of things, thousands apart by a narrow space (ISO 80000-1): `25 094`."""
    return f"{count:,}".replace(",", "\u202f")


def format_share(share: float) -> str:
    """A fraction in 0..1 as a percentage with one digit after the point: `72.8 %`."""
    return f"{100 * share:.1f} %"


def _three_digits(size: float) -> str:
    if size >= 99.95:
        return f"{size:.0f}"
    if size >= 9.995:
        return f"{size:.1f}"
    if size >= 0.9995:
        return f"{size:.2f}"
    return f"{size:.3f}"


def format_interval(interval: tuple[float, float | None] | None) -> str:
    """The two ends of an interval, or its lower one alone; empty when there is none."""
    if interval is None:
        return ""
    low, high = interval
    return f"at least {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
