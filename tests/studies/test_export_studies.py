"""Figures of the studies of exports."""

from __future__ import annotations

import numpy as np

from studies.export_mediapipe import largest


def test_the_largest_error_of_no_text_is_no_number() -> None:
    assert largest(np.array([0.25, 0.5])) == "0.5"
    assert "none" in largest(np.array([]))
