"""Where the labels of points go in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CHARACTER_WIDTH_PX = 6.3
LABEL_HEIGHT_PX = 13

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in px."""


class LabelPosition(NamedTuple):
    """Offset of a label in px from its point, and its alignment there."""

    dx: float
    dy: float
    align: str


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    bars: Sequence[Box],
    width_px: float,
    height_px: float,
) -> list[LabelPosition]:
    """Offsets that keep labels off each other, off points and error bars, inside the picture.

    `points` are in px from the upper left corner, and so is the error bar of each. Greedy: each
    label takes the nearest free position around its point or at an end of its bar, or the one
    with the least overlap.
    """
    occupied = [(x - 6, y - 6, x + 6, y + 6) for x, y in points] + list(bars)
    positions = []
    for (x, y), text, bar in zip(points, texts, bars, strict=True):
        ends = [
            (6.0, LabelPosition(0, bar[1] - 9 - y, "center")),
            (6.0, LabelPosition(0, bar[3] + 9 - y, "center")),
        ]
        options = []
        for distance, candidate in [*_candidates(), *ends]:
            box = _label_box(x, y, candidate, len(text) * CHARACTER_WIDTH_PX)
            outside = max(0, -box[0]) + max(0, box[2] - width_px)
            outside += max(0, -box[1]) + max(0, box[3] - height_px)
            cost = sum(_overlap(box, obstacle) for obstacle in occupied) + 40 * outside + distance
            options.append((cost, candidate, box))
        _, candidate, box = min(options, key=lambda option: option[0])
        occupied.append(box)
        positions.append(candidate)
    return positions


def _label_box(x: float, y: float, position: LabelPosition, length_px: float) -> Box:
    left = x + position.dx - {"left": 0.0, "center": 0.5, "right": 1.0}[position.align] * length_px
    top = y + position.dy - LABEL_HEIGHT_PX / 2
    return (left, top, left + length_px, top + LABEL_HEIGHT_PX)


def _candidates() -> list[tuple[float, LabelPosition]]:
    positions: list[tuple[float, LabelPosition]] = []
    for dy in (0, -14, 14, -28, 28, -42, 42, -56, 56):
        positions += [
            (abs(dy), LabelPosition(10, dy, "left")),
            (abs(dy) + 1, LabelPosition(-10, dy, "right")),
        ]
        if dy:
            positions.append((abs(dy) + 2, LabelPosition(0, dy, "center")))
    return positions


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
