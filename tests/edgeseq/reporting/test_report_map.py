"""Names on the map of winners stand clear of the models' marks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeseq.reporting.charts.winner_chart import MARK_RADIUS_PX, clear_middle


def test_a_name_moves_no_further_than_it_must() -> None:
    assert clear_middle(0, 100, 14, []) == 50
    assert clear_middle(0, 100, 14, [80]) == 50
    assert clear_middle(0, 100, 14, [50]) == 50 + 14 / 2 + MARK_RADIUS_PX
    assert clear_middle(0, 100, 14, [52]) == 52 - 14 / 2 - MARK_RADIUS_PX
    # Nowhere is room: it stays where it would be without marks.
    assert clear_middle(0, 30, 14, [5, 15, 25]) == 15


@given(
    high=st.floats(20, 340),
    height=st.sampled_from([14, 28]),
    marks=st.lists(st.floats(0, 340), max_size=8),
)
def test_a_name_stays_in_its_rectangle_and_clear(
    high: float, height: float, marks: list[float]
) -> None:
    middle = clear_middle(0, high, height, marks)
    if middle != high / 2:
        assert height / 2 <= middle <= high - height / 2
        assert all(abs(middle - mark) >= height / 2 + MARK_RADIUS_PX for mark in marks)
