"""What all charts share: axes, legends, limit lines, and the specification that comes out.

A chart is made once, as a Vega-Lite specification: the page draws it, and so does the PNG.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import msgspec

from edgeseq.report.theme import PICTURE_WIDTH_PX, Spec, Style, colour, log_ticks

MB = 1e6


class Figure(msgspec.Struct, frozen=True):
    """A picture: `name` is the stem of its file, `caption` says in a sentence what to see in it."""

    name: str
    title: str
    caption: str
    spec: Spec


class Axis(NamedTuple):
    """A cost on a logarithmic axis: how it is read from a row, and how it is said."""

    key: str
    title: str
    low: float
    high: float

    def scale(self) -> alt.Scale:
        return alt.Scale(type="log", domain=[self.low, self.high], nice=False)

    def axis(self) -> alt.Axis:
        ticks = log_ticks(self.low, self.high)
        return alt.Axis(values=ticks, format="~r", labelOverlap="greedy", grid=True)

    def px(self, value: float, length_px: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return share * length_px


def log_axis(
    key: str, title: str, values: Sequence[float], *, low: float = 1.35, high: float = 1.35
) -> Axis:
    """An axis around `values`, with a margin by the factors `low` and `high`."""
    return Axis(key, title, min(values) / low, max(values) * high)


def values(records: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Records as data inside of a chart."""
    return alt.InlineData(values=[dict(record) for record in records])


def finish(
    chart: alt.LayerChart | alt.FacetChart | alt.Chart,
    *,
    height_px: int,
    description: str,
    limits: Mapping[str, str] | None = None,
) -> Spec:
    """The specification of a chart; `limits` tells the page which limit moves which parameter."""
    spec: Spec = (
        chart.properties(
            width=PICTURE_WIDTH_PX,
            height=height_px,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            description=description,
        )
        .add_params(alt.param(name="room", value=PICTURE_WIDTH_PX))
        .to_dict(validate=False)  # each part was validated when it was made
    )
    # The address of the schema is of no use here, and a page should hold none.
    del spec["$schema"]
    spec.pop("config", None)
    if limits:
        spec["usermeta"] = {"limits": dict(limits)}
    return spec


def by_model(styles: Mapping[str, Style], *, legend: bool) -> alt.Color:
    """Colour by the field `model`."""
    return alt.Color(
        "model:N",
        scale=alt.Scale(
            domain=[style.label for style in styles.values()],
            range=[style.colour for style in styles.values()],
        ),
        legend=alt.Legend(title=None, symbolOpacity=1) if legend else None,
    )


def shape_by_model(styles: Mapping[str, Style], *, legend: bool) -> alt.Shape:
    """Shape by the field `model`, in one legend with the colour."""
    return alt.Shape(
        "model:N",
        scale=alt.Scale(
            domain=[style.label for style in styles.values()],
            range=[style.shape for style in styles.values()],
        ),
        # Without an outline, which would be dashed as the lines are.
        legend=alt.Legend(title=None, symbolOpacity=1, symbolStrokeWidth=0) if legend else None,
    )


def dash_by_model(styles: Mapping[str, Style], *, points: bool = False) -> alt.StrokeDash:
    """Dash by the field `model`, in one legend with the colour; `points` if it shows shapes too."""
    return alt.StrokeDash(
        "model:N",
        scale=alt.Scale(
            domain=[style.label for style in styles.values()],
            range=[list(style.dash) for style in styles.values()],
        ),
        legend=(
            alt.Legend(title=None, symbolOpacity=1, symbolStrokeWidth=0)
            if points
            else alt.Legend(title=None, symbolOpacity=1, symbolType="stroke", symbolSize=500)
        ),
    )


def limit_rule(axis: str) -> alt.Chart:
    """A line at the parameter `limit_x` or `limit_y`, absent while it is 0."""
    chart: alt.Chart = (
        alt.Chart(values([{}]))
        .transform_calculate(limit=f"limit_{axis}")
        .transform_filter("datum.limit > 0")
        .mark_rule(color=colour("bad"), strokeWidth=1.8, strokeDash=[6, 3], clip=True)
    )
    return chart.encode(x="limit:Q") if axis == "x" else chart.encode(y="limit:Q")


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
