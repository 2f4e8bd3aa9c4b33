"""Weights as int8 rows with a scale each: closer than one scale, and safe for odd rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeseq_converters.convert.tflite.quantization import quantize_rows, quantize_whole

TABLES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-100, 100, width=32),
)


@given(TABLES)
def test_every_value_is_within_half_a_step_of_its_row(table: np.ndarray) -> None:
    rows, scales = quantize_rows(table)
    steps = np.asarray(scales.scales)[:, None]
    error = np.abs(rows * steps - table)
    assert (error <= steps * 0.501).all()
    assert np.abs(rows.astype(int)).max() <= 127


def test_an_outlying_row_costs_the_others_nothing() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(200, 32), scale=0.05).astype(np.float32)
    table[7] *= 40
    rows, scales = quantize_rows(table)
    by_row = rows * np.asarray(scales.scales, np.float32)[:, None] - table
    whole, scale = quantize_whole(table)
    by_table = whole * np.float32(scale.scales[0]) - table
    others = np.arange(200) != 7
    assert np.abs(by_row[others]).max() < np.abs(by_table[others]).max() / 10


def test_zero_rows_stay_zero() -> None:
    rows, scales = quantize_rows(np.zeros((3, 4), np.float32))
    assert not rows.any()
    assert np.isfinite(scales.scales).all()
