"""Limits as people write them: read, said, and refused when they make no sense."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import InputError
from edgeseq.reporting.budgets import (
    LIMITS,
    Budget,
    budget_text,
    describe_budget,
    limits_of,
    parse_budget,
)
from edgeseq.reporting.format import format_excess, format_limit
from edgeseq.reporting.rows import ReportRow


def test_every_limit_is_read_in_bytes_ms_and_points() -> None:
    budget = parse_budget(
        "memory=64MB model_memory=16MiB p50=900us p95=20ms size=3MB cold_start=0.5s drop=0.5"
    )
    assert budget == Budget(
        memory_bytes=64_000_000,
        model_memory_bytes=16 << 20,
        p50_ms=0.9,
        p95_ms=20.0,
        size_bytes=3_000_000,
        cold_start_ms=500.0,
        drop_points=0.5,
    )


@pytest.mark.parametrize("text", ["", "  ", ","])
def test_no_limit_is_a_budget_too(text: str) -> None:
    assert parse_budget(text) == Budget()
    assert describe_budget(Budget()) == "no limits"


@pytest.mark.parametrize("text", ["memory = 64MB ,", "memory=64MB,", "memory =64mb"])
def test_blanks_and_commas_do_not_matter(text: str) -> None:
    assert parse_budget(text).memory_bytes == 64_000_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ram=64MB", ["unknown limit", "'ram'", "memory"]),
        ("memory=64", ["memory", "'64'", "64MB"]),
        ("memory=-64MB", ["memory", "'-64MB'"]),
        ("memory=64ms", ["memory", "64ms"]),
        ("p95=20MB", ["p95", "20MB"]),
        ("p95=0ms", ["p95", "0ms"]),
        ("p95=nanms", ["p95"]),
        ("memory", ["KEY=VALUE", "'memory'"]),
        ("=3MB", ["''"]),
        ("memory=", ["KEY=VALUE"]),
        ("p95=20ms p95=30ms", ["twice", "p95"]),
        ("drop=-1", ["drop", "'-1'"]),
        ("drop=101", ["drop", "101"]),
        ("drop=1 drop=2", ["twice"]),
        ("memory=10MB model_memory=20MB", ["contradict", "model_memory=20 MB", "memory=10 MB"]),
        ("p50=30ms p95=20ms", ["contradict", "p50 <= p95"]),
    ],
)
def test_nonsense_gets_one_line_that_names_it(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_budget(text)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("budget")
    for word in words:
        assert word in line


_BYTES = st.none() | st.integers(1, 2**50)
_MS = st.none() | st.floats(1e-4, 1e7, allow_nan=False)


@given(
    memory=_BYTES,
    model_memory=_BYTES,
    p50=_MS,
    p95=_MS,
    size=_BYTES,
    cold_start=_MS,
    drop=st.floats(0, 100),
)
def test_what_is_written_is_read_back(
    *,
    memory: int | None,
    model_memory: int | None,
    p50: float | None,
    p95: float | None,
    size: int | None,
    cold_start: float | None,
    drop: float,
) -> None:
    if memory and model_memory:
        memory, model_memory = max(memory, model_memory), min(memory, model_memory)
    if p50 and p95:
        p50, p95 = min(p50, p95), max(p50, p95)
    budget = Budget(memory, model_memory, p50, p95, size, cold_start, round(drop, 6))
    assert parse_budget(budget_text(budget)) == budget
    assert len(limits_of(budget)) == sum(value is not None for value in (
        memory, model_memory, p50, p95, size, cold_start
    ))  # fmt: skip


@given(st.text(max_size=40))
def test_any_text_is_a_budget_or_one_line(text: str) -> None:
    line = ""
    try:
        parse_budget(text)
    except InputError as error:
        line = str(error)
    assert "\n" not in line


def test_both_numbers_are_said_so_that_they_differ() -> None:
    assert format_excess(31.2, 20, "ms") == "31.2 ms > 20 ms"
    assert format_excess(84.1e6, 64e6, "bytes") == "84.1 MB > 64 MB"
    assert format_excess(20.004, 20, "ms") == "20.004 ms > 20 ms"
    assert format_excess(64_000_512, 64e6, "bytes") == "64000512 B > 64 MB"
    assert format_limit(1500, "ms") == "1.5 s"
    assert format_limit(100, "ms") == "100 ms"


def test_every_limit_names_a_field_of_the_budget_and_of_a_row() -> None:
    for limit in LIMITS:
        assert limit.field in Budget.__struct_fields__
        assert hasattr(ReportRow, limit.row_field)
