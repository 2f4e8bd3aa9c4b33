"""Charts of memory: the ledger by phase, and the latency over shrinking limits (the cliff)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import altair as alt

from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.reporting.charts.chart_parts import (
    MB,
    LogAxis,
    inline_data,
    log_axis,
    make_figure,
    model_colour,
    model_dash,
    part_opacity,
)
from edgeseq.reporting.charts.theme import (
    AXIS_WIDTH_PX,
    NARROW_WIDTH_PX,
    ModelStyle,
    arch_title,
    archs_of,
    colour,
)
from edgeseq.reporting.format import format_limit
from edgeseq.reporting.rows import MeasuredModel, ModelGroup
from edgeseq.reporting.run_statistics import percentile_ms, working_memory_of
from edgeseq.reporting.sections import ReportFigure
from edgeseq.stats.latency import median
from edgeseq.units import format_bytes, format_duration_ns

PHASE_TITLES = {
    "runtime_imported": "runtime imported",
    "tokenizer_loaded": "tokenizer loaded",
    "model_loaded": "model loaded",
    "tensors_allocated": "tensors allocated",
    "first_answer": "first answer",
    "steady": "steady",
}
RELEASE_TITLE = "weights released"
STATUS_TITLES = {"killed": "killed", "timed_out": "timed out", "failed": "failed"}
_KINDS = (("anonymous", 1.0), ("file-backed", 0.42))
_STATUS_SHAPES = ["M-.7,-.7L.7,.7M.7,-.7L-.7,.7", "circle", "triangle"]
_PLOT_PX = 270
_STRIP_LINE_PX = 14
MARK_WIDTH_PX = 10


def ledger_chart(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """Resident memory at the end of each phase, anonymous and file-backed, with the peak in it."""
    bars: list[dict[str, Any]] = []
    peaks: list[dict[str, Any]] = []
    for model in group.models:
        phases = [(PHASE_TITLES[phase.phase], phase) for phase in model.run.memory]
        if model.run.after_weight_release is not None:
            phases.append((RELEASE_TITLE, model.run.after_weight_release))
        for title, phase in phases:
            base = {"model": styles[model.row.bundle].label, "phase": title}
            amounts = (phase.anonymous_bytes, phase.file_bytes)
            for order, ((kind, _), amount) in enumerate(zip(_KINDS, amounts, strict=True)):
                bars.append({**base, "kind": kind, "order": order, "mb": round(amount / MB, 3)})
            if phase.peak_bytes is not None:
                peaks.append({**base, "mb": round(phase.peak_bytes / MB, 3)})
    if not bars:
        return None
    titles = [*PHASE_TITLES.values(), RELEASE_TITLE]
    present = [title for title in titles if any(bar["phase"] == title for bar in bars)]
    y = alt.Y(
        "phase:N",
        title=None,
        sort=present,
        axis=alt.Axis(labelLimit=130),
        scale=alt.Scale(paddingInner=0.28),
    )
    offset = alt.YOffset("model:N", sort=[style.label for style in styles.values()])
    chart = alt.layer(
        alt.Chart(inline_data(bars))
        .mark_bar()
        .encode(
            x=alt.X("sum(mb):Q", title="resident memory, MB", axis=alt.Axis(tickCount=8)),
            y=y,
            yOffset=offset,
            color=model_colour(styles),
            opacity=part_opacity("kind:O", _KINDS, columns=2),
            order="order:Q",
            tooltip=["model:N", "phase:N", "kind:N", alt.Tooltip("sum(mb):Q", title="MB")],
        ),
        alt.Chart(inline_data(peaks or [{}]))
        .transform_filter("isValid(datum.mb)")
        .mark_tick(color=colour("ink"), thickness=1.6, height=alt.RelativeBandSize(0.9))
        .encode(x="mb:Q", y=y, yOffset=offset),
    )
    return make_figure(
        chart,
        "memory-ledger",
        "Where the memory goes",
        _ledger_caption(group),
        height_px=len(present) * (16 + 10 * len(group.models)),
    )


def _ledger_caption(group: ModelGroup) -> str:
    kinds = "Dark is anonymous memory, light is file-backed (the kernel may drop it)"
    models = [model for model in group.models if model.row.peak_memory_bytes is not None]
    if not models:
        return f"{kinds}. This kernel reports no peaks, so a process may have needed more."
    smallest = min(models, key=lambda model: model.row.peak_memory_bytes or 0).row
    largest = max(models, key=lambda model: model.row.peak_memory_bytes or 0)
    row = largest.row
    phase = max(largest.run.memory, key=lambda phase: phase.peak_bytes or 0).phase
    text = (
        f"{row.bundle} peaks {format_bytes(row.peak_memory_bytes or 0)} above the bare runtime, "
        f"in the phase “{PHASE_TITLES[phase]}”"
    )
    if smallest is not row:
        text += f"; {smallest.bundle} {format_bytes(smallest.peak_memory_bytes or 0)}"
    text += f". {kinds}, ticks are the peak within the phase."
    released = row.memory_after_release_bytes
    if released is not None:
        text += (
            f" A program that releases the model file's pages after the first answer (see "
            f"docs/guides/raspberry-pi.md) needs {format_bytes(released)} for {row.bundle}."
        )
    return text


def cliff_chart(group: ModelGroup, styles: Mapping[str, ModelStyle]) -> ReportFigure | None:
    """Latency of a whole query under hard limits on the whole process, p50 and p95.

    Limits under which there was no answer are marked in a strip above, by status.
    """
    lines: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for model in group.timed_models:
        for run in _one_per_limit(model):
            base = {"model": styles[model.row.bundle].label, "x": run.limit_bytes / MB}
            if run.status != "answered" or not run.total_ns:
                failures.append({**base, "status": STATUS_TITLES.get(run.status, "failed")})
                continue
            for name, percent in (("median", 50), ("p95", 95)):
                time_ms = percentile_ms(run.total_ns, percent)
                if time_ms is not None:
                    lines.append({**base, "ms": time_ms, "percentile": name})
    if not lines and not failures:
        return None
    limits = [record["x"] for record in (*lines, *failures)]
    x = log_axis("hard limit on the process, MB", limits, low=1.08, high=1.08)
    times = [record["ms"] for record in lines] or [1.0]
    y = log_axis("time of a whole query, ms", times, low=1.5, high=1.5)
    # Limits without an answer get a strip above the plot, one line per model.
    failures = _apart(failures, x)
    labels = [style.label for style in styles.values()]
    failed = [label for label in labels if any(f["model"] == label for f in failures)]
    strip_px = _STRIP_LINE_PX * len(failed) + 6 * bool(failed)
    for record in failures:
        line = failed.index(record["model"]) + 1
        record["ms"] = y.value(_PLOT_PX + _STRIP_LINE_PX * line - 4, _PLOT_PX)
    with_strip = LogAxis(y.title, y.low, y.value(_PLOT_PX + strip_px, _PLOT_PX))
    layers = _cliff_lines(lines, styles, x, y, with_strip)
    if failures:
        layers += _cliff_failures(failures, styles, y)
    return make_figure(
        alt.layer(*layers),
        "memory-cliff",
        "The memory cliff",
        _cliff_caption(group),
        height_px=_PLOT_PX + strip_px,
    )


def _one_per_limit(model: MeasuredModel) -> list[LimitedRun]:
    """The run under each limit, the worst of several: without an answer, or the slowest."""
    worst: dict[int, tuple[tuple[bool, float], LimitedRun]] = {}
    for run in model.run.under_limits:
        is_answered = run.status == "answered" and bool(run.total_ns)
        badness = (not is_answered, float(median(run.total_ns)) if is_answered else 0.0)
        if run.limit_bytes not in worst or badness > worst[run.limit_bytes][0]:
            worst[run.limit_bytes] = (badness, run)
    return [run for _, run in sorted(worst.values(), key=lambda item: -item[1].limit_bytes)]


def _apart(failures: list[dict[str, Any]], x: LogAxis) -> list[dict[str, Any]]:
    """Marks of limits without an answer, without those that would cover a larger limit's mark."""
    inner_px = NARROW_WIDTH_PX - AXIS_WIDTH_PX
    last_px: dict[str, float] = {}
    kept = []
    for record in failures:  # of each model from the largest limit down
        px = x.px(record["x"], inner_px)
        if last_px.get(record["model"], math.inf) - px >= MARK_WIDTH_PX:
            last_px[record["model"]] = px
            kept.append(record)
    return kept


def _cliff_lines(
    records: list[dict[str, Any]],
    styles: Mapping[str, ModelStyle],
    x: LogAxis,
    y: LogAxis,
    with_strip: LogAxis,
) -> list[alt.Chart]:
    """p95 as a thin line, the median as a thick one; only `y` has ticks, not the strip above it."""
    base = alt.Chart(inline_data(records or [{}])).transform_filter("isValid(datum.ms)")
    return [
        base.transform_filter(f"datum.percentile == '{percentile}'")
        .mark_line(strokeWidth=width, opacity=opacity, point={"size": size, "filled": True})
        .encode(
            x=x.x("x:Q"),
            y=alt.Y("ms:Q", title=y.title, scale=with_strip.scale(), axis=y.axis()),
            color=model_colour(styles),
            strokeDash=model_dash(styles),
            tooltip=[
                "model:N",
                alt.Tooltip("x:Q", format=".4~g", title="limit, MB"),
                "percentile:N",
                alt.Tooltip("ms:Q", format=".3~g", title="ms"),
            ],
        )
        for percentile, width, opacity, size in (("p95", 1.0, 0.55, 14), ("median", 2.4, 1.0, 42))
    ]


def _cliff_failures(
    records: list[dict[str, Any]], styles: Mapping[str, ModelStyle], y: LogAxis
) -> list[alt.Chart]:
    status = alt.Shape(
        "status:N",
        scale=alt.Scale(domain=list(STATUS_TITLES.values()), range=_STATUS_SHAPES),
        legend=alt.Legend(title=None, columns=3),
    )
    marks = (
        alt.Chart(inline_data(records))
        .mark_point(size=62, strokeWidth=2.2, opacity=1)
        .encode(
            x="x:Q",
            y="ms:Q",
            color=model_colour(styles),
            shape=status,
            tooltip=["model:N", alt.Tooltip("x:Q", format=".4~g", title="limit, MB"), "status:N"],
        )
    )
    border = alt.Chart(inline_data([{"ms": y.high}])).mark_rule(color=colour("none"))
    return [marks, border.encode(y="ms:Q")]


def _cliff_caption(group: ModelGroup) -> str:
    """The model of each architecture that keeps its speed under the smallest limit."""
    parts = []
    for arch in archs_of(row.arch for row in group.rows):
        models = [m for m in group.models if m.row.arch == arch and m.run.under_limits]
        needed = [
            (limit_bytes, model)
            for model in models
            if (limit_bytes := working_memory_of(model.run).limit_bytes) is not None
        ]
        if needed:
            limit_bytes, model = min(needed, key=lambda item: item[0])
            parts.append(_model_caption(model, limit_bytes))
        elif models and not any(_answered(model) for model in models):
            parts.append(f"No {arch_title(arch, group.task)} answered under any limit")
    captions = "; ".join(parts) + "." if parts else "Latency under hard limits."
    return f"{captions} Thin lines are p95; marks on top are limits without an answer."


def _answered(model: MeasuredModel) -> list[LimitedRun]:
    return [run for run in model.run.under_limits if run.status == "answered" and run.total_ns]


def _model_caption(model: MeasuredModel, limit_bytes: int) -> str:
    limited = model.run.under_limits
    answered = _answered(model)
    smallest: LimitedRun = min(answered, key=lambda run: run.limit_bytes)
    failed = [run.limit_bytes for run in limited if run.status != "answered"]
    limit = format_limit(limit_bytes, "bytes")
    text = f"{model.row.bundle} keeps its speed down to a limit of {limit}"
    if smallest.limit_bytes < limit_bytes:
        text += (
            f", slows to a median of {format_duration_ns(median(smallest.total_ns))} at "
            f"{format_limit(smallest.limit_bytes, 'bytes')}"
        )
    if failed:
        text += f" and gives no answer at {format_limit(max(failed), 'bytes')}"
    return text
