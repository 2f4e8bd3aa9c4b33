"""What all charts share: axes, legends, limit lines, and the specification that comes out.

A chart is made once, as a Vega-Lite specification: the page draws it, and so does the PNG.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from edgeseq.reporting.charts.theme import PICTURE_WIDTH_PX, ModelStyle, Spec, colour, log_ticks
from edgeseq.reporting.sections import ReportFigure

MB = 1e6
LayeredChart = alt.LayerChart | alt.FacetChart
"""What `alt.layer` is declared to return."""


class LogAxis(NamedTuple):
    """A logarithmic axis: its title and ends."""

    title: str
    low: float
    high: float

    def scale(self) -> alt.Scale:
        """The scale of a channel."""
        return alt.Scale(type="log", domain=[self.low, self.high], nice=False)

    def axis(self, ticks: Sequence[float] | None = None) -> alt.Axis:
        """The axis of a channel, by default with round ticks."""
        ticks = log_ticks(self.low, self.high) if ticks is None else ticks
        return alt.Axis(values=list(ticks), format="~r", labelOverlap="greedy", grid=True)

    def x(self, field: str, ticks: Sequence[float] | None = None) -> alt.X:
        """A horizontal channel of `field`."""
        return alt.X(field, title=self.title, scale=self.scale(), axis=self.axis(ticks))

    def y(self, field: str) -> alt.Y:
        """A vertical channel of `field`."""
        return alt.Y(field, title=self.title, scale=self.scale(), axis=self.axis())

    def px(self, value: float, length_px: float) -> float:
        """Where `value` lies on an axis of that length."""
        return math.log(value / self.low) / math.log(self.high / self.low) * length_px

    def value(self, px: float, length_px: float) -> float:
        """The inverse of `px`."""
        return float(self.low * (self.high / self.low) ** (px / length_px))


def log_axis(
    title: str, values: Sequence[float], *, low: float = 1.35, high: float = 1.35
) -> LogAxis:
    """An axis around `values`, with a margin by the factors `low` and `high`."""
    return LogAxis(title, min(values) / low, max(values) * high)


# Records of charts in the making, by the name that stands for them: Altair copies and validates
# a chart at every step, and data would be most of it.
_pending_records: dict[str, list[dict[str, Any]]] = {}
_data_numbers = itertools.count()


def inline_data(records: Sequence[Mapping[str, Any]]) -> alt.NamedData:
    """Records as data of a chart; `make_figure` puts them into its specification."""
    name = f"records-{next(_data_numbers)}"
    _pending_records[name] = [dict(record) for record in records]
    return alt.NamedData(name=name)


def _data_names(spec: Any) -> Iterator[dict[str, str]]:
    """The references to named data in a specification, in their order."""
    if isinstance(spec, dict):
        for key, part in spec.items():
            if key == "data" and isinstance(part, dict) and "name" in part:
                yield part
            else:
                yield from _data_names(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from _data_names(part)


def _with_records(spec: Spec) -> Spec:
    """The specification with the records that it names, which are numbered from 0 in it."""
    numbers: dict[str, str] = {}
    datasets: dict[str, list[dict[str, Any]]] = {}
    for reference in _data_names(spec):
        name = reference["name"]
        if name not in numbers:
            numbers[name] = f"data-{len(numbers)}"
            datasets[numbers[name]] = _pending_records.pop(name)
        reference["name"] = numbers[name]
    return {**spec, "datasets": datasets}


def make_figure(
    chart: LayeredChart,
    name: str,
    title: str,
    caption: str,
    *,
    height_px: int,
    limits: Mapping[str, tuple[str | None, float | None]] | None = None,
) -> ReportFigure:
    """The figure of a chart; `limits` are its parameters for `limit_rule`, each with the budget's
    limit that moves it in the page and its value (None: no limit)."""
    limits = limits or {}
    parameters = [alt.param(name=key, value=value or 0.0) for key, (_, value) in limits.items()]
    spec: Spec = (
        chart.properties(
            width=PICTURE_WIDTH_PX,
            height=height_px,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
            description=title,
        )
        .add_params(alt.param(name="room", value=PICTURE_WIDTH_PX), *parameters)
        .to_dict(validate=False)  # each part was validated when it was made
    )
    spec = _with_records(spec)
    # The address of the schema is of no use here, and a page should hold none.
    del spec["$schema"]
    spec.pop("config", None)
    moved = {key: limit for key, (limit, _) in limits.items() if limit}
    if moved:
        spec["usermeta"] = {"limits": moved}
    return ReportFigure(name, title, caption, spec)


def _model_scale(styles: Mapping[str, ModelStyle], attribute: str) -> alt.Scale:
    values = [getattr(style, attribute) for style in styles.values()]
    return alt.Scale(
        domain=[style.label for style in styles.values()],
        range=[list(value) if isinstance(value, tuple) else value for value in values],
    )


def model_colour(styles: Mapping[str, ModelStyle], *, legend: bool = True) -> alt.Color:
    """Colour by the field `model`."""
    return alt.Color(
        "model:N",
        scale=_model_scale(styles, "colour"),
        legend=alt.Legend(title=None, symbolOpacity=1) if legend else None,
    )


def model_shape(styles: Mapping[str, ModelStyle], *, legend: bool = True) -> alt.Shape:
    """Shape by the field `model`, in one legend with the colour."""
    return alt.Shape(
        "model:N",
        scale=_model_scale(styles, "shape"),
        # Without an outline, which would be dashed as the lines are.
        legend=alt.Legend(title=None, symbolOpacity=1, symbolStrokeWidth=0) if legend else None,
    )


def model_dash(styles: Mapping[str, ModelStyle], *, points: bool = False) -> alt.StrokeDash:
    """Dash by the field `model`, in one legend with the colour; `points` if it shows shapes too."""
    symbol = {"symbolStrokeWidth": 0} if points else {"symbolType": "stroke", "symbolSize": 500}
    return alt.StrokeDash(
        "model:N",
        scale=_model_scale(styles, "dash"),
        legend=alt.Legend(title=None, symbolOpacity=1, **symbol),
    )


def part_opacity(
    field: str, parts: Sequence[tuple[str, float]], columns: int | alt.ExprRef
) -> alt.Opacity:
    """Opacity by the part of a bar; `parts` are names with their opacity."""
    return alt.Opacity(
        field,
        scale=alt.Scale(domain=[name for name, _ in parts], range=[value for _, value in parts]),
        legend=alt.Legend(
            title=None,
            symbolType="square",
            symbolFillColor=colour("ink"),
            symbolStrokeWidth=0,
            columns=columns,
        ),
    )


def limit_rule(axis: str) -> alt.Chart:
    """A line at the parameter `limit_x` or `limit_y`, absent while it is 0."""
    chart: alt.Chart = (
        alt.Chart(inline_data([{}]))
        .transform_calculate(limit=f"limit_{axis}")
        .transform_filter("datum.limit > 0")
        .mark_rule(color=colour("bad"), strokeWidth=1.8, strokeDash=[6, 3], clip=True)
    )
    return chart.encode(x="limit:Q") if axis == "x" else chart.encode(y="limit:Q")


def capitalize(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
