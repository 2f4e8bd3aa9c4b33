"""Charts of time: distribution of a query, cost over sentence length, cold start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from edgeseq.formats.trained_model import Arch
from edgeseq.reporting.charts.chart_parts import (
    inline_data,
    limit_rule,
    log_axis,
    make_figure,
    model_colour,
    model_dash,
    model_shape,
    part_opacity,
)
from edgeseq.reporting.charts.next_word_captions import (
    context_cost_caption,
    top_k_caption,
)
from edgeseq.reporting.charts.theme import IS_NARROW, ModelStyle, colour
from edgeseq.reporting.rows import ModelGroup
from edgeseq.reporting.run_statistics import length_medians_ms, percentile_ms
from edgeseq.reporting.sections import ReportFigure
from edgeseq.stats.latency import median, nearest_rank, percentile
from edgeseq.tasks.registry import task_of
from edgeseq.units import format_duration_ms, format_factor

_PERCENTS = range(1, 100)
_COLD_START_PARTS = (
    ("start and import", 1.0),
    ("load and allocate", 0.6),
    ("first answer", 0.3),
)

_COMPARED: tuple[Arch, ...] = ("lstm", "bert", "bag")
"""The first two that were measured are compared over the length."""


def distribution_chart(
    group: ModelGroup, styles: Mapping[str, ModelStyle], *, limit_ms: float | None
) -> ReportFigure | None:
    """The share of queries answered within a time, up to the percentile that the samples allow."""
    records: list[dict[str, Any]] = []
    for model in group.timed_models:
        label = styles[model.row.bundle].label
        total_ns = np.asarray(model.run.queries.total_ns)
        for percent in _PERCENTS if total_ns.size else ():
            time_ns = percentile(total_ns, percent)
            if time_ns is None:
                break
            records.append({"model": label, "x": float(f"{time_ns / 1e6:.5g}"), "y": percent})
    if not records:
        return None
    times_ms = [record["x"] for record in records]
    x = log_axis(f"time of {group.timed_scope}, ms", times_ms, low=1.2, high=1.3)
    base = alt.Chart(inline_data(records)).encode(
        x=x.x("x:Q"),
        y=alt.Y("y:Q", title="queries answered, %", scale=alt.Scale(domain=[0, 100], nice=False)),
        color=model_colour(styles),
    )
    chart = alt.layer(
        alt.Chart(inline_data([{"y": 95}])).mark_rule(color=colour("none")).encode(y="y:Q"),
        limit_rule("x"),
        base.mark_line(strokeWidth=2.2, clip=True).encode(strokeDash=model_dash(styles)),
    )
    return make_figure(
        chart,
        "latency-distribution",
        "How long a query takes",
        _distribution_caption(group),
        height_px=280,
        limits={"limit_x": ("p95", limit_ms)},
    )


def _distribution_caption(group: ModelGroup) -> str:
    rows = [row for row in group.rows if row.p50_ms is not None]
    spreads = [(row.p95_ms / row.p50_ms, row) for row in rows if row.p95_ms and row.p50_ms]
    if not spreads:
        return "Too few queries for a p95 (130 are needed); the curves end where samples allow."
    fastest = min(rows, key=lambda row: row.p50_ms or 0.0)
    slowest = max(rows, key=lambda row: row.p50_ms or 0.0)
    spread, row = max(spreads, key=lambda item: item[0])
    text = f"p95 is {format_factor(spread)} times the median for {row.bundle}, the widest spread"
    if fastest is slowest:
        return f"{text}, mostly because texts differ in length."
    factor = (slowest.p50_ms or 0.0) / (fastest.p50_ms or 1.0)
    return (
        f"The median query takes {fastest.bundle} {format_duration_ms(fastest.p50_ms or 0)} and "
        f"{slowest.bundle} {format_duration_ms(slowest.p50_ms or 0)}, {format_factor(factor)} "
        f"times as long; {text}."
    )


def length_chart(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """Inference time over sentence length, with the band from the lower to the upper decile."""
    records: list[dict[str, Any]] = []
    for model in group.timed_models:
        for point in model.run.lengths:
            if not point.inference_ns:
                continue
            # A decile needs as many samples as p90; with fewer the band spans the quartiles.
            high = 90 if percentile_ms(point.inference_ns, 90) is not None else 75
            band = {"low": 100 - high, "mid": 50, "high": high}
            times_ms = {key: nearest_rank(point.inference_ns, p) / 1e6 for key, p in band.items()}
            label = styles[model.row.bundle].label
            records.append({"model": label, "tokens": point.tokens, **times_ms})
    if len({record["tokens"] for record in records}) < 2:
        return None
    texts = task_of(group.task).length_chart
    tokens = [float(record["tokens"]) for record in records]
    x = log_axis(texts.x_axis, tokens, low=1.08, high=1.08)
    edges = [record[key] for record in records for key in ("low", "high")]
    y = log_axis(texts.y_axis, edges, low=1.2, high=1.2)
    base = alt.Chart(inline_data(records)).encode(
        x=x.x("tokens:Q", ticks=sorted(set(tokens))), color=model_colour(styles)
    )
    chart = alt.layer(
        base.mark_area(opacity=0.18).encode(y=y.y("low:Q"), y2="high:Q"),
        base.mark_line(strokeWidth=2.2).encode(
            y="mid:Q", strokeDash=model_dash(styles, points=True)
        ),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y="mid:Q",
            shape=model_shape(styles),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("tokens:Q"),
                alt.Tooltip("mid:Q", title="median, ms", format=".3~g"),
            ],
        ),
    )
    return make_figure(chart, "latency-lengths", texts.title, _length_caption(group), height_px=320)


def _length_caption(group: ModelGroup) -> str:
    """The crossover between the fastest models of two architectures, or that there is none."""
    band = "Bands span the middle 80 % of the inferences (50 % where samples are few)."
    unit = task_of(group.task).length_chart.unit
    if task_of(group.task).is_streaming:
        return f"{context_cost_caption(group.models)}{top_k_caption(group.models)} {band}"
    curves = {
        arch: [
            (model.row.bundle, length_medians_ms(model.run))
            for model in group.models
            if model.row.arch == arch and model.run.lengths
        ]
        for arch in _COMPARED
    }
    present = [arch for arch in _COMPARED if curves[arch]]
    if len(present) == 1:
        name, medians_ms = curves[present[0]][0]
        shortest, longest = min(medians_ms), max(medians_ms)
        growth = format_factor(medians_ms[longest] / medians_ms[shortest])
        return f"{name} takes {growth} times as long for {longest} {unit} as for {shortest}. {band}"
    (first, first_ms), (second, second_ms) = (
        min(curves[arch], key=lambda curve: sum(curve[1].values())) for arch in present[:2]
    )
    shared = sorted(set(first_ms) & set(second_ms))
    if not shared:
        return f"{first} and {second} were timed at different lengths. {band}"
    ratios = [second_ms[tokens] / first_ms[tokens] for tokens in shared]
    faster, slower = (first, second) if ratios[0] > 1 else (second, first)
    crossing = _crossing(shared, ratios)
    if crossing is not None:
        return (
            f"The lines cross near {crossing:.0f} {unit}: {faster} is faster below, {slower} "
            f"above. {band}"
        )
    low, high = sorted(ratio if ratios[0] > 1 else 1 / ratio for ratio in (ratios[0], ratios[-1]))
    return (
        f"No crossover from {shared[0]} to {shared[-1]} {unit}: {slower} takes "
        f"{format_factor(low)} to {format_factor(high)} times as long as {faster}. {band}"
    )


def _crossing(tokens: Sequence[int], ratios: Sequence[float]) -> float | None:
    """Where the ratio passes 1, interpolated on logarithmic axes."""
    for i in range(1, len(tokens)):
        before, after = math.log(ratios[i - 1]), math.log(ratios[i])
        if before * after < 0:
            share = before / (before - after)
            return float(tokens[i - 1] ** (1 - share) * tokens[i] ** share)
    return None


def cold_start_chart(
    group: ModelGroup, styles: Mapping[str, ModelStyle], *, limit_ms: float | None
) -> ReportFigure | None:
    """Median time from the start of a process to its first answer, in its parts."""
    records: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for model in group.timed_models:
        starts, label = model.run.cold_starts, styles[model.row.bundle].label
        if not starts:
            continue
        median_ns = median([start.total_ns for start in starts])
        start = next(start for start in starts if start.total_ns == median_ns)
        parts_ns = (start.import_ns, start.load_ns, start.first_answer_ns)
        for index, ((part, _), part_ns) in enumerate(zip(_COLD_START_PARTS, parts_ns, strict=True)):
            records.append({"model": label, "part": part, "order": index, "ms": part_ns / 1e6})
        totals += [{"model": label, "ms": start.total_ns / 1e6} for start in starts]
    if not totals:
        return None
    longest_ms = 1.04 * max([limit_ms or 0.0, *(record["ms"] for record in totals)])
    order = [style.label for style in styles.values()]
    y = alt.Y("model:N", title=None, sort=order, axis=alt.Axis(labelLimit=150))
    x = alt.X(
        "sum(ms):Q",
        title="start to first answer, ms",
        scale=alt.Scale(domain=[0, longest_ms], nice=False),
        axis=alt.Axis(tickCount=8),
    )
    chart = alt.layer(
        alt.Chart(inline_data(records))
        .mark_bar(height=alt.RelativeBandSize(0.62))
        .encode(
            x=x,
            y=y,
            color=model_colour(styles, legend=False),
            opacity=part_opacity(
                "part:O", _COLD_START_PARTS, columns=alt.ExprRef(f"{IS_NARROW} ? 1 : 3")
            ),
            order="order:Q",
            tooltip=["model:N", "part:N", alt.Tooltip("sum(ms):Q", format=".3~g", title="ms")],
        ),
        alt.Chart(inline_data(totals))
        .mark_tick(color=colour("ink"), thickness=1.5, height=8)
        .encode(x="ms:Q", y=y),
        limit_rule("x"),
    )
    return make_figure(
        chart,
        "cold-start",
        "Cold start",
        _cold_start_caption(group),
        height_px=46 + 34 * len(group.models),
        limits={"limit_x": (None, limit_ms)},
    )


def _cold_start_caption(group: ModelGroup) -> str:
    rows = [row for row in group.rows if row.cold_start_ms is not None]
    fastest = min(rows, key=lambda row: row.cold_start_ms or 0.0)
    slowest = max(rows, key=lambda row: row.cold_start_ms or 0.0)
    counts = sorted({len(model.run.cold_starts) for model in group.models} - {0})
    span = " to ".join(str(count) for count in sorted({counts[0], counts[-1]}))
    text = f"{fastest.bundle} answers {format_duration_ms(fastest.cold_start_ms or 0)} after its "
    text += "process starts"
    if slowest is not fastest:
        text += f", {slowest.bundle} after {format_duration_ms(slowest.cold_start_ms or 0)}"
    return f"{text}. Bars are the median of {span} fresh processes, ticks are each of them."
