"""Pictures of memory: the ledger by phase, and the latency over shrinking limits (the cliff)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from edgeseq.formats.result import LimitedRun
from edgeseq.formats.trained_model import Arch
from edgeseq.report.budgets import format_limit
from edgeseq.report.chart_parts import (
    MB,
    Axis,
    Figure,
    by_model,
    dash_by_model,
    finish,
    log_axis,
    values,
)
from edgeseq.report.evidence import percentile_ms
from edgeseq.report.rows import Entry, Group
from edgeseq.report.theme import Style, arch_title, colour
from edgeseq.stats.latency import median
from edgeseq.units import format_bytes, format_duration_ms

PHASE_TITLES = {
    "runtime_imported": "runtime imported",
    "tokenizer_loaded": "tokenizer loaded",
    "model_loaded": "model loaded",
    "tensors_allocated": "tensors allocated",
    "first_answer": "first answer",
    "steady": "steady",
}
RELEASED_TITLE = "weights released"
STATUS_TITLES = {"killed": "killed", "timed_out": "timed out", "failed": "failed"}
_KINDS = (("anonymous", 1.0), ("file-backed", 0.42))
CLIFF_FACTOR = 2.0
"""A limit is below the knee when the median there is this many times that of the largest limit."""


def ledger(group: Group, styles: Mapping[str, Style]) -> Figure | None:
    """Resident memory at the end of each phase, anonymous and file-backed, with the peak in it."""
    bars: list[dict[str, Any]] = []
    peaks: list[dict[str, Any]] = []
    for entry in group.entries:
        label = styles[entry.row.bundle].label
        phases = [(PHASE_TITLES[phase.phase], phase) for phase in entry.run.memory]
        if entry.run.after_weight_release is not None:
            phases.append((RELEASED_TITLE, entry.run.after_weight_release))
        for title, phase in phases:
            amounts = (phase.anonymous_bytes, phase.file_bytes)
            for order, ((kind, _), amount) in enumerate(zip(_KINDS, amounts, strict=True)):
                bars.append(
                    {"model": label, "phase": title, "kind": kind, "order": order,
                     "mb": round(amount / MB, 3)}
                )  # fmt: skip
            if phase.peak_bytes is not None:
                peaks.append(
                    {"model": label, "phase": title, "mb": round(phase.peak_bytes / MB, 3)}
                )
    if not bars:
        return None
    present = {bar["phase"] for bar in bars}
    y = alt.Y(
        "phase:N",
        title=None,
        sort=[one for one in (*PHASE_TITLES.values(), RELEASED_TITLE) if one in present],
        axis=alt.Axis(labelLimit=130),
        scale=alt.Scale(paddingInner=0.28),
    )
    offset = alt.YOffset("model:N", sort=[style.label for style in styles.values()])
    chart = alt.layer(
        alt.Chart(values(bars))
        .mark_bar()
        .encode(
            x=alt.X(
                "sum(mb):Q",
                title="resident memory, MB",
                axis=alt.Axis(tickCount=8),
            ),
            y=y,
            yOffset=offset,
            color=by_model(styles, legend=True),
            opacity=alt.Opacity(
                "kind:O",
                scale=alt.Scale(domain=[k for k, _ in _KINDS], range=[o for _, o in _KINDS]),
                legend=alt.Legend(
                    title=None,
                    symbolType="square",
                    symbolFillColor=colour("ink"),
                    symbolStrokeWidth=0,
                    columns=2,
                ),
            ),
            order="order:Q",
            tooltip=["model:N", "phase:N", "kind:N", alt.Tooltip("sum(mb):Q", title="MB")],
        ),
        alt.Chart(values(peaks or [{}]))
        .transform_filter("isValid(datum.mb)")
        .mark_tick(color=colour("ink"), thickness=1.6, height=alt.RelativeBandSize(0.9))
        .encode(x="mb:Q", y=y, yOffset=offset),
    )
    return Figure(
        name="memory-ledger",
        title="Where the memory goes",
        caption=_ledger_caption(group),
        spec=finish(
            chart,
            height_px=len(present) * (16 + 10 * len(group.entries)),
            description="Resident memory by phase, anonymous and file-backed",
        ),
    )


def _ledger_caption(group: Group) -> str:
    kinds = "Dark is anonymous memory, light is file-backed (the kernel may drop it)"
    known = [row for row in group.rows if row.peak_memory_bytes is not None]
    if not known:
        return f"{kinds}. This kernel reports no peaks, so a process may have needed more."
    least = min(known, key=lambda row: row.peak_memory_bytes or 0)
    most = max(known, key=lambda row: row.peak_memory_bytes or 0)
    entry = next(entry for entry in group.entries if entry.row is most)
    peak = max(entry.run.memory, key=lambda phase: phase.peak_bytes or 0)
    said = (
        f"{most.bundle} peaks {format_bytes(most.peak_memory_bytes or 0)} above the bare runtime, "
        f"in the phase “{PHASE_TITLES[peak.phase]}”"
    )
    if least is not most:
        said += f"; {least.bundle} {format_bytes(least.peak_memory_bytes or 0)}"
    said += f". {kinds}, ticks are the peak within the phase."
    if most.memory_after_release_bytes is not None:
        said += (
            f" A program that releases the model file's pages once it has answered (see "
            "docs/guides/raspberry-pi.md) needs "
            f"{format_bytes(most.memory_after_release_bytes)} for "
            f"{most.bundle}."
        )
    return said


def cliff(group: Group, styles: Mapping[str, Style]) -> Figure | None:
    """Latency of a whole query under hard limits on the whole process, p50 and p95.

    Limits under which there was no answer are marked in a strip above, by what happened.
    """
    lines: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    for entry in () if group.device.emulated else group.entries:
        label = styles[entry.row.bundle].label
        for run in entry.run.under_limits:
            limit_mb = run.limit_bytes / MB
            if run.status != "answered" or not run.total_ns:
                status = STATUS_TITLES.get(run.status, "failed")
                failures.append({"model": label, "x": limit_mb, "what": status})
                continue
            for name, q in (("median", 50), ("p95", 95)):
                time_ms = percentile_ms(run.total_ns, q)
                if time_ms is not None:
                    lines.append({"model": label, "x": limit_mb, "ms": time_ms, "which": name})
    if not lines and not failures:
        return None
    limits = [record["x"] for record in (*lines, *failures)]
    x = log_axis("memory", "hard limit on the process, MB", limits, low=1.08, high=1.08)
    times = [record["ms"] for record in lines] or [1.0]
    y = log_axis("ms", "time of a whole query, ms", times, low=1.5, high=1.5)
    ticks = sorted({round(limit, 1) for limit in limits})
    x_channel = alt.X(
        "x:Q",
        title=x.title,
        scale=x.scale(),
        axis=alt.Axis(values=ticks, format="~r", labelOverlap="greedy"),
    )
    labels = [style.label for style in styles.values()]
    # Limits without an answer get a strip above the plot, one line a model.
    failed = [label for label in labels if any(f["model"] == label for f in failures)]
    plot_px, strip_px = 270, 14 * len(failed) + 6 * bool(failed)
    per_px = (y.high / y.low) ** (1 / plot_px)
    whole = Axis("ms", y.title, y.low, y.high * per_px**strip_px)
    for record in failures:
        record["ms"] = y.high * per_px ** (14 * (failed.index(record["model"]) + 1) - 4)
    base = alt.Chart(values(lines or [{}])).transform_filter("isValid(datum.ms)")
    layers: list[alt.Chart] = [
        base.transform_filter(f"datum.which == '{which}'")
        .mark_line(strokeWidth=width, opacity=opacity, point={"size": size, "filled": True})
        .encode(
            x=x_channel,
            y=alt.Y("ms:Q", title=y.title, scale=whole.scale(), axis=y.axis()),
            color=by_model(styles, legend=True),
            strokeDash=dash_by_model(styles),
            tooltip=[
                "model:N",
                alt.Tooltip("x:Q", title="limit, MB"),
                "which:N",
                alt.Tooltip("ms:Q", format=".3~g", title="ms"),
            ],
        )
        for which, width, opacity, size in (("p95", 1.0, 0.55, 14), ("median", 2.4, 1.0, 42))
    ]
    if failures:
        layers.append(
            alt.Chart(values(failures))
            .mark_point(size=62, strokeWidth=2.2, opacity=1)
            .encode(
                x="x:Q",
                y="ms:Q",
                color=by_model(styles, legend=True),
                shape=alt.Shape(
                    "what:N",
                    scale=alt.Scale(
                        domain=["killed", "timed out", "failed"],
                        range=["M-.7,-.7L.7,.7M.7,-.7L-.7,.7", "circle", "triangle"],
                    ),
                    legend=alt.Legend(title=None, columns=3),
                ),
                tooltip=["model:N", alt.Tooltip("x:Q", title="limit, MB"), "what:N"],
            )
        )
        layers.append(
            alt.Chart(values([{"ms": y.high}])).mark_rule(color=colour("none")).encode(y="ms:Q")
        )
    return Figure(
        name="memory-cliff",
        title="The memory cliff",
        caption=_cliff_caption(group),
        spec=finish(
            alt.layer(*layers),
            height_px=plot_px + strip_px,
            description="Latency under hard memory limits",
        ),
    )


def knee_bytes(entry: Entry) -> int | None:
    """The smallest limit, in bytes, under which the median is still about that of the largest.

    None when no limit was answered. "About" is less than `CLIFF_FACTOR` times.
    """
    answered = sorted(
        (run for run in entry.run.under_limits if run.status == "answered" and run.total_ns),
        key=lambda run: -run.limit_bytes,
    )
    knee: LimitedRun | None = None
    for run in answered:
        if median(run.total_ns) >= CLIFF_FACTOR * median(answered[0].total_ns):
            break
        knee = run
    return None if knee is None else knee.limit_bytes


def _cliff_caption(group: Group) -> str:
    """The model of each architecture that keeps its speed under the smallest limit."""
    said = []
    archs: tuple[Arch, ...] = ("lstm", "bert")
    for arch in archs:
        entries = [e for e in group.entries if e.row.arch == arch and e.run.under_limits]
        knees = [(knee, entry) for entry in entries if (knee := knee_bytes(entry)) is not None]
        if knees:
            knee, entry = min(knees, key=lambda item: item[0])
            said.append(_cliff_words(entry, knee))
        elif entries:
            said.append(f"No {arch_title(arch, group.task)} answered under any limit")
    text = "; ".join(said)
    return f"{text}. Thin lines are p95; marks on top are limits without an answer."


def _cliff_words(entry: Entry, knee: int) -> str:
    answered = [run for run in entry.run.under_limits if run.status == "answered" and run.total_ns]
    smallest = min(answered, key=lambda run: run.limit_bytes)
    failed = [run.limit_bytes for run in entry.run.under_limits if run.status != "answered"]
    text = (
        f"{entry.row.bundle} keeps its speed down to a limit of {format_limit(knee, unit='bytes')}"
    )
    if smallest.limit_bytes < knee:
        slow_ms = median(smallest.total_ns) / 1e6
        text += (
            f", slows to a median of {format_duration_ms(slow_ms)} at "
            f"{format_limit(smallest.limit_bytes, unit='bytes')}"
        )
    if failed:
        text += f" and gives no answer at {format_limit(max(failed), unit='bytes')}"
    return text
