"""Sizes and durations, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import InputError
from edgeseq.units import (
    format_bytes,
    format_count,
    format_duration_ms,
    format_duration_ns,
    format_share,
    parse_bytes,
    parse_duration_ms,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("64MB", 64_000_000),
        ("64 mb", 64_000_000),
        ("61MiB", 61 * 2**20),
        ("1.5GB", 1_500_000_000),
        (".5kB", 500),
        ("12B", 12),
    ],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize(
    "text",
    ["", "64", "MB", "-3MB", "0MB", "1e9MB", "64 potatoes", "6 4MB", "nanMB", "9" * 40 + "B"],
)
def test_what_is_not_a_size_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"--memory.*found") as caught:
        parse_bytes(text, where="--memory")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "duration_ms"), [("20ms", 20), ("1.5s", 1500), ("300us", 0.3), ("300 µs", 0.3)]
)
def test_a_duration_is_read(text: str, duration_ms: float) -> None:
    assert parse_duration_ms(text) == pytest.approx(duration_ms)


@pytest.mark.parametrize("text", ["", "20", "fast", "0ms", "20MB"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="duration"):
        parse_duration_ms(text)


def test_numbers_are_written_with_three_digits() -> None:
    assert format_bytes(22_900_000) == "22.9 MB"
    assert format_bytes(999_600) == "1.00 MB"
    assert format_bytes(617_000) == "617 kB"
    assert format_bytes(12) == "12 B"
    assert format_bytes(-3_700_000) == "-3.70 MB"
    assert format_duration_ms(0.1434) == "0.143 ms"
    assert format_duration_ms(2500) == "2.50 s"
    assert format_duration_ns(9_100_000) == "9.10 ms"
    assert format_share(0.7284) == "72.8 %"


@given(st.integers(min_value=1, max_value=10**13))
def test_a_written_size_reads_back_within_its_digits(size_bytes: int) -> None:
    text = format_bytes(size_bytes)
    if text.endswith("TB"):
        return
    assert parse_bytes(text) == pytest.approx(size_bytes, rel=5.1e-3)


def test_thousands_are_apart() -> None:
    assert [format_count(n) for n in (0, 999, 25094)] == ["0", "999", "25\u202f094"]
