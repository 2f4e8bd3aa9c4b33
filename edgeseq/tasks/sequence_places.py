"""The place of a numeric sequence in the rows of its data set: `START:STEPS`, such as `120:60`.

A module apart, because the measured process imports it.
"""

from __future__ import annotations


def sequence_place(start: int, steps: int) -> str:
    """The name of the rows `start` to `start + steps`, as `parse_place` reads it."""
    return f"{start}:{steps}"


def parse_place(place: str) -> tuple[int, int]:
    """The first row and the number of rows; raises `ValueError`."""
    start, steps = map(int, place.split(":"))
    return start, steps
