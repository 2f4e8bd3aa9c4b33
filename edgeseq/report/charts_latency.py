"""Pictures of time: distribution of a query, cost over sentence length, cold start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np

from edgeseq.report.chart_parts import (
    Figure,
    by_model,
    dash_by_model,
    finish,
    limit_rule,
    log_axis,
    shape_by_model,
    values,
)
from edgeseq.report.evidence import percentile_ms
from edgeseq.report.next_words import costs_caption, medians_ms, offered_caption, words_of
from edgeseq.report.rows import Group
from edgeseq.report.theme import IS_NARROW, Style, colour
from edgeseq.tasks.registry import head_of
from edgeseq.units import format_duration_ms, format_factor

_GRID = [*range(1, 90), *range(90, 96), *(96, 97, 98, 99)]


def distribution(
    group: Group, styles: Mapping[str, Style], *, limit_ms: float | None
) -> Figure | None:
    """The share of queries answered within a time, up to the percentile that the samples allow."""
    records: list[dict[str, Any]] = []
    for entry in group.entries:
        total_ns = entry.run.queries.total_ns
        if group.device.emulated or not total_ns:
            continue
        total_ms = np.asarray(total_ns) / 1e6
        highest = max(q for q in (50, 90, 95, 99) if percentile_ms(total_ns, q) is not None)
        grid = [q for q in _GRID if q <= highest]
        for q, value in zip(grid, np.percentile(total_ms, grid), strict=True):
            records.append(
                {"model": styles[entry.row.bundle].label, "x": float(f"{value:.5g}"), "y": q}
            )
    if not records:
        return None
    x = log_axis("p95", f"time of {group.timed}, ms", [r["x"] for r in records], low=1.2, high=1.3)
    base = alt.Chart(values(records)).encode(
        x=alt.X("x:Q", title=x.title, scale=x.scale(), axis=x.axis()),
        y=alt.Y("y:Q", title="queries answered, %", scale=alt.Scale(domain=[0, 100], nice=False)),
        color=by_model(styles, legend=True),
    )
    chart = alt.layer(
        alt.Chart(values([{"y": 95}])).mark_rule(color=colour("none")).encode(y="y:Q"),
        limit_rule("x"),
        base.mark_line(strokeWidth=2.2, clip=True).encode(strokeDash=dash_by_model(styles)),
    ).add_params(alt.param(name="limit_x", value=limit_ms or 0.0))
    return Figure(
        name="latency-distribution",
        title="How long a query takes",
        caption=_distribution_caption(group),
        spec=finish(
            chart,
            height_px=280,
            description="Share of queries answered within a time",
            limits={"limit_x": "p95"},
        ),
    )


def _distribution_caption(group: Group) -> str:
    rows = [row for row in group.rows if row.p50_ms is not None]
    spread = [(row.p95_ms / row.p50_ms, row) for row in rows if row.p95_ms and row.p50_ms]
    if not spread:
        return "Too few queries for a p95 (130 are needed); the curves end where samples allow."
    fast = min(rows, key=lambda row: row.p50_ms or 0.0)
    slow = max(rows, key=lambda row: row.p50_ms or 0.0)
    widest, row = max(spread, key=lambda item: item[0])
    said = f"p95 is {widest:.2g} times the median for {row.bundle}, the widest spread"
    if fast is slow:
        return f"{said}, mostly because texts differ in length."
    factor = (slow.p50_ms or 0.0) / (fast.p50_ms or 1.0)
    return (
        f"Half of the queries take {fast.bundle} at most {format_duration_ms(fast.p50_ms or 0)} "
        f"and {slow.bundle} {format_duration_ms(slow.p50_ms or 0)}, {format_factor(factor)} times "
        f"as long; {said}."
    )


def lengths(group: Group, styles: Mapping[str, Style]) -> Figure | None:
    """Inference time over sentence length, with the band from the lower to the upper decile."""
    records: list[dict[str, Any]] = []
    for entry in () if group.device.emulated else group.entries:
        for point in entry.run.lengths:
            if not point.inference_ns:
                continue
            ms = np.asarray(point.inference_ns) / 1e6
            # A decile needs as many samples as p90; with fewer the band spans the quartiles.
            low, high = (10, 90) if percentile_ms(point.inference_ns, 90) is not None else (25, 75)
            band = np.percentile(ms, [low, 50, high])
            records.append(
                {
                    "model": styles[entry.row.bundle].label,
                    "tokens": point.tokens,
                    "low": float(band[0]),
                    "mid": float(band[1]),
                    "high": float(band[2]),
                }
            )
    if len({record["tokens"] for record in records}) < 2:
        return None
    words = words_of(group.rows[0].task)
    tokens = [float(record["tokens"]) for record in records]
    x = log_axis("tokens", words.x, tokens, low=1.08, high=1.08)
    edges = [record[key] for record in records for key in ("low", "high")]
    y = log_axis("ms", words.y, edges, low=1.2, high=1.2)
    base = alt.Chart(values(records)).encode(
        x=alt.X(
            "tokens:Q",
            title=x.title,
            scale=x.scale(),
            axis=alt.Axis(values=sorted(set(tokens)), format="d", labelOverlap="greedy"),
        ),
        color=by_model(styles, legend=True),
    )
    chart = alt.layer(
        base.mark_area(opacity=0.18).encode(
            y=alt.Y("low:Q", title=y.title, scale=y.scale(), axis=y.axis()), y2="high:Q"
        ),
        base.mark_line(strokeWidth=2.2).encode(
            y="mid:Q", strokeDash=dash_by_model(styles, points=True)
        ),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y="mid:Q",
            shape=shape_by_model(styles, legend=True),
            tooltip=[
                alt.Tooltip("model:N"),
                alt.Tooltip("tokens:Q"),
                alt.Tooltip("mid:Q", title="median, ms", format=".3~g"),
            ],
        ),
    )
    return Figure(
        name="latency-lengths",
        title=words.title,
        caption=_lengths_caption(group),
        spec=finish(chart, height_px=320, description=words.description),
    )


def _lengths_caption(group: Group) -> str:
    """The crossover between the fastest model of each architecture, or that there is none."""
    curves = {
        arch: [(entry.row.bundle, medians_ms(entry)) for entry in group.entries
               if entry.row.arch == arch and entry.run.lengths]
        for arch in ("lstm", "bert")
    }  # fmt: skip
    band = "Bands span the middle 80 % of the inferences (50 % where samples are few)."
    if head_of(group.rows[0].task) == "language-modeling":
        costs = costs_caption(group.entries)
        return f"{costs}{offered_caption(group.entries)} {band}"
    if not curves["lstm"] or not curves["bert"]:
        only = next(iter(curves["lstm"] or curves["bert"]))
        tokens = sorted(only[1])
        growth = only[1][tokens[-1]] / only[1][tokens[0]]
        return (
            f"{only[0]} takes {format_factor(growth)} times as long for {tokens[-1]} tokens as for "
            f"{tokens[0]}. {band}"
        )
    (lstm, fast), (bert, slow) = (
        min(curves[arch], key=lambda curve: sum(curve[1].values())) for arch in ("lstm", "bert")
    )
    shared = sorted(set(fast) & set(slow))
    if not shared:
        return f"{lstm} and {bert} were timed at different lengths. {band}"
    ratios = [slow[tokens] / fast[tokens] for tokens in shared]
    crossing = _crossing(shared, ratios)
    if crossing is not None:
        first, second = (lstm, bert) if ratios[0] > 1 else (bert, lstm)
        return (
            f"The lines cross near {crossing:.0f} tokens: {first} is faster below, {second} "
            f"above. {band}"
        )
    leader, other = (lstm, bert) if ratios[0] > 1 else (bert, lstm)
    low, high = sorted(one if ratios[0] > 1 else 1 / one for one in (ratios[0], ratios[-1]))
    return (
        f"No crossover from {shared[0]} to {shared[-1]} tokens: {other} takes {format_factor(low)} "
        f"to {format_factor(high)} times as long as {leader}. {band}"
    )


def _crossing(tokens: Sequence[int], ratios: Sequence[float]) -> float | None:
    """Where the ratio passes 1, interpolated on logarithmic axes."""
    for i in range(1, len(tokens)):
        before, after = np.log(ratios[i - 1]), np.log(ratios[i])
        if before * after < 0:
            share = before / (before - after)
            return float(np.exp(np.log(tokens[i - 1]) * (1 - share) + np.log(tokens[i]) * share))
    return None


_PARTS = (
    ("start and import the runtime", 1.0),
    ("load and allocate", 0.6),
    ("first answer", 0.3),
)


def cold_start(
    group: Group, styles: Mapping[str, Style], *, limit_ms: float | None
) -> Figure | None:
    """Median time from the start of a process to its first answer, in its parts."""
    records: list[dict[str, Any]] = []
    totals: list[dict[str, Any]] = []
    for entry in () if group.device.emulated else group.entries:
        starts = entry.run.cold_starts
        if not starts:
            continue
        label = styles[entry.row.bundle].label
        median = sorted(starts, key=lambda start: start.total_ns)[(len(starts) - 1) // 2]
        parts = (median.import_ns, median.load_ns, median.first_answer_ns)
        for place, ((part, _), part_ns) in enumerate(zip(_PARTS, parts, strict=True)):
            records.append({"model": label, "part": part, "order": place, "ms": part_ns / 1e6})
        totals += [{"model": label, "ms": start.total_ns / 1e6} for start in starts]
    if not totals:
        return None
    longest = 1.04 * max([limit_ms or 0.0, *(record["ms"] for record in totals)])
    order = [style.label for style in styles.values()]
    y = alt.Y("model:N", title=None, sort=order, axis=alt.Axis(labelLimit=150))
    chart = alt.layer(
        alt.Chart(values(records))
        .mark_bar(height=alt.RelativeBandSize(0.62))
        .encode(
            x=alt.X(
                "sum(ms):Q",
                title="process start to first answer, ms",
                scale=alt.Scale(domain=[0, longest], nice=False),
                axis=alt.Axis(tickCount=8),
            ),
            y=y,
            color=by_model(styles, legend=False),
            opacity=alt.Opacity(
                "part:O",
                scale=alt.Scale(domain=[p for p, _ in _PARTS], range=[o for _, o in _PARTS]),
                legend=alt.Legend(
                    title=None,
                    symbolType="square",
                    symbolFillColor=colour("ink"),
                    symbolStrokeWidth=0,
                    columns=alt.ExprRef(f"{IS_NARROW} ? 1 : 3"),
                ),
            ),
            order="order:Q",
            tooltip=["model:N", "part:N", alt.Tooltip("sum(ms):Q", format=".3~g", title="ms")],
        ),
        alt.Chart(values(totals))
        .mark_tick(color=colour("ink"), thickness=1.5, height=8)
        .encode(x="ms:Q", y=y),
        limit_rule("x"),
    ).add_params(alt.param(name="limit_x", value=limit_ms or 0.0))
    return Figure(
        name="cold-start",
        title="Cold start",
        caption=_cold_caption(group),
        spec=finish(
            chart, height_px=46 + 34 * len(group.entries), description="Cold start by part"
        ),
    )


def _cold_caption(group: Group) -> str:
    rows = [row for row in group.rows if row.cold_start_ms is not None]
    fast = min(rows, key=lambda row: row.cold_start_ms or 0.0)
    slow = max(rows, key=lambda row: row.cold_start_ms or 0.0)
    counts = sorted({len(entry.run.cold_starts) for entry in group.entries} - {0})
    spans = " to ".join(str(count) for count in sorted({counts[0], counts[-1]}))
    dots = f"Bars are the median of {spans} fresh processes, ticks are each of them."
    said = f"{fast.bundle} answers {format_duration_ms(fast.cold_start_ms or 0)} after its "
    said += "process starts"
    if slow is not fast:
        said += f", {slow.bundle} after {format_duration_ms(slow.cold_start_ms or 0)}"
    return f"{said}. {dots}"
