"""Arrays survive their file, however they lie in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import load

from edgeseq.formats.arrays import array_bytes


@given(
    array=npst.arrays(np.float32, npst.array_shapes(min_dims=0, max_dims=4, min_side=0)),
    turned=st.booleans(),
    every=st.integers(1, 3),
)
def test_an_array_is_read_as_it_was(array: np.ndarray, turned: bool, every: int) -> None:
    given_array = array.T if turned else array
    if given_array.ndim:
        given_array = given_array[::every]
    found = load(array_bytes({"one": given_array}, {"note": "kept"}))["one"]
    assert found.shape == given_array.shape
    np.testing.assert_array_equal(found, given_array)
