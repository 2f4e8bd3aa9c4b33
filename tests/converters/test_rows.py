"""Tables as int8 rows with a scale each: closer than one scale, and safe for odd rows."""

from __future__ import annotations

import numpy as np
from edgeseq_converters.graphs.rows import quantize_rows
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

TABLES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-100, 100, width=32),
)


@given(TABLES)
def test_every_value_is_within_half_a_step_of_its_row(table: np.ndarray) -> None:
    rows, scales, unit = quantize_rows(table)
    steps = scales.astype(np.float64) * unit
    error = np.abs(rows * steps - table)
    # Half a step, and what a scale rounded down by float16 (2^-11) cuts off the largest value.
    assert (error <= steps * (0.5 + 127 / 2048) + 1e-6).all()
    assert np.abs(rows.astype(int)).max() <= 127


def test_an_outlying_row_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 32), scale=0.05).astype(np.float32)
    table[7] *= 40
    rows, scales, unit = quantize_rows(table)
    by_row = rows * (scales.astype(np.float32) * unit) - table
    step = np.abs(table).max() / 127
    by_table = np.rint(table / step) * step - table
    others = np.arange(200) != 7
    assert np.abs(by_row[others]).max() < np.abs(by_table[others]).max() / 10


def test_zero_rows_stay_zero() -> None:
    rows, scales, _ = quantize_rows(np.zeros((3, 4), np.float32))
    assert not rows.any()
    assert np.isfinite(scales).all()
