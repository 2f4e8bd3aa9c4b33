"""Turns numbers and measurements into text, the same for terminal, page and Markdown.

`edgeseq.units` holds the primitives (sizes, durations, counts); nothing else in the report or the
command line formats a number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from edgeseq.formats.memory_limits import LimitedRun
from edgeseq.formats.result import EnergyWindow, MicroFootprint, OperatorProfile
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.run_statistics import joules_per_query, percentile_ms
from edgeseq.stats.latency import median
from edgeseq.units import (
    format_bytes,
    format_duration_ms,
    format_duration_ns,
    format_interval,
    format_share,
)

Unit = Literal["bytes", "ms", "points"]
NOT_MEASURED = "not measured"
ABSENT = "–"
NOT_ITS_SPEED = "the limits of the board, not its speed"
LIMITED_STATUS_TEXTS = {
    "answered": "answers",
    "killed": "killed: out of memory",
    "timed_out": "timed out",
    "failed": "failed",
}
_PHASE_TEXTS = {
    "started": "before the runtime was imported",
    "runtime_imported": "while loading the tokenizer",
    "tokenizer_loaded": "while loading the model",
    "model_loaded": "while allocating tensors",
    "tensors_allocated": "at the first answer",
    "first_answer": "while answering",
}


def format_quantity(value: float, unit: Unit) -> str:
    """A value with its unit: `64.0 MB`, `20.0 ms`, `1.25 pt`."""
    if unit == "points":
        return f"{round(value, 2):g} pt"
    return format_bytes(value) if unit == "bytes" else format_duration_ms(value)


def format_quantity_interval(ends: tuple[float, float | None], unit: Unit) -> str:
    """Both ends with their units, or the lower one alone: `at least 1.2 ms`."""
    low, high = (None if end is None else format_quantity(end, unit) for end in ends)
    return f"at least {low}" if high is None else f"{low} to {high}"


def format_limit(value: float, unit: Unit) -> str:
    """A limit without needless zeros: `64 MB`, `61.5 MB`, `20 ms`, `0.25 ms`, `1.5 s`."""
    number, _, unit_name = format_quantity(value, unit).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit_name}"


def format_exact(value: float) -> str:
    """All digits of a number, without an exponent."""
    return f"{Decimal(repr(value)):f}"


def format_excess(value: float, limit: float, unit: Unit) -> str:
    """`31.2 ms > 20 ms`: both numbers, with enough digits to be told apart."""
    value_text, limit_text = format_quantity(value, unit), format_limit(limit, unit)
    (number, unit_name), (limit_number, limit_unit) = value_text.split(), limit_text.split()
    if float(number) == float(limit_number) and unit_name == limit_unit:
        return f"{format_exact(value)} {'B' if unit == 'bytes' else 'ms'} > {limit_text}"
    return f"{value_text} > {limit_text}"


def format_optional(
    value: float | None, formatter: Callable[[float], str], absent: str = NOT_MEASURED
) -> str:
    """A number by `formatter`, or `absent` for None."""
    return absent if value is None else formatter(value)


def format_footprint(footprint: MicroFootprint) -> str:
    """What a model takes of a microcontroller, or why it cannot run there."""
    if footprint.refused is not None:
        return f"cannot run on a microcontroller: {footprint.refused}"
    arena, flash = footprint.arena_bytes, footprint.flash_bytes
    return f"{format_optional(arena, format_bytes)} of memory (arena), " + (
        f"{format_optional(flash, format_bytes)} of flash"
    )


def format_points(points: float) -> str:
    """`1 point`, `0.5 points`: a margin as the user wrote it."""
    return f"{points:g} point{'s' * (points != 1)}"


def format_score(row: ReportRow) -> str:
    """The score as its metric shows it."""
    return format_optional(row.score, row.metric_definition.show)


def format_score_interval(row: ReportRow) -> str:
    """The 95 % interval of the score, empty without one."""
    return "" if row.score_ci95 is None else row.metric_definition.show_interval(*row.score_ci95)


def format_p_value(p_value: float) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def format_point_difference(points: float) -> str:
    """A difference of two scores: `6.7 points`."""
    return f"{points:.1f} points"


def format_relative_change(ratio: float) -> str:
    """A ratio as a change: `+12.3 %`."""
    return f"{100 * (ratio - 1):+.1f} %"


def format_relative_interval(ends: tuple[float, float | None]) -> str:
    """An interval of a ratio as changes: `+1.2 to +3.4 %`, `at least +1.2 %`."""
    low, high = ends
    if high is None:
        return f"at least {format_relative_change(low)}"
    return f"{100 * (low - 1):+.1f} to {format_relative_change(high)}"


def format_gain(worse_by: float) -> str:
    """A change of a score, positive where it is better: `-0.50 pt`."""
    return f"{0.0 - worse_by:+.2f} pt"


def format_gain_interval(worse_by: tuple[float, float | None] | None) -> str:
    """Its interval, from the worst to the best end; empty without one."""
    if worse_by is None or worse_by[1] is None:
        return ""
    return f"{0.0 - worse_by[1]:+.2f} to {format_gain(worse_by[0])}"


def format_range(values: Sequence[float | None], template: str) -> str:
    """The lowest and the highest of the known values in a template; empty without any."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = template.format(min(known)), template.format(max(known))
    return low if low == high else f"{low} to {high}"


class LabelledFigure(NamedTuple):
    """A number with its name and a remark (an interval, a unit), all as text, and as `amount`."""

    title: str
    value: str
    remark: str = ""
    amount: float | None = None


def model_figures(row: ReportRow) -> tuple[LabelledFigure, ...]:
    """The numbers of a model that decide, in the order in which every table shows them."""
    median_title, p95_title, cold_title = (
        ("inference median", "inference p95", "load + first inference")
        if row.scope == "inference"
        else ("median", "p95", "cold start")
    )
    beyond = format_optional(row.peak_memory_bytes, lambda size: f"+{format_bytes(size)}", "")
    working = format_optional(row.working_memory_bytes, format_bytes)
    return (
        LabelledFigure(
            row.metric_definition.title, format_score(row), format_score_interval(row), row.score
        ),
        _time(median_title, row.p50_ms, row.p50_ms_ci95),
        _time(p95_title, row.p95_ms, row.p95_ms_ci95),
        LabelledFigure("working memory", working, format_bracket(row), row.working_memory_bytes),
        LabelledFigure(
            "peak memory",
            format_optional(row.peak_process_bytes, format_bytes),
            beyond,
            row.peak_process_bytes,
        ),
        LabelledFigure(
            "size",
            format_bytes(row.size_bytes),
            f"{row.parameters / 1e6:.3g} M parameters",
            row.size_bytes,
        ),
        _time(cold_title, row.cold_start_ms, None),
    )


def format_bracket(row: ReportRow) -> str:
    """The limits between which the minimum working memory lies; empty where it is not known."""
    if row.working_memory_bracket_bytes is None:
        return ""
    low, high = row.working_memory_bracket_bytes
    return f"above {format_bytes(low)}" if low else f"{format_bytes(high)} or less"


def _time(
    title: str, time_ms: float | None, interval: tuple[float, float | None] | None
) -> LabelledFigure:
    remark = "" if time_ms is None else format_interval(interval)
    return LabelledFigure(title, format_optional(time_ms, format_duration_ms), remark, time_ms)


def format_energy(busy: EnergyWindow | None, idle: EnergyWindow | None) -> str:
    """`12.3 mJ per query above idle (RAPL, 60 s)`, or that it was not measured."""
    joules = joules_per_query(busy, idle)
    if joules is None or busy is None:
        return NOT_MEASURED
    window = f"({busy.reader}, {busy.duration_s:.0f} s)"
    if joules <= 0:
        return f"not above the idle machine {window}"
    return f"{1e3 * joules:.3g} mJ per query above idle {window}"


def format_limits(run: LimitedRun) -> str:
    """The limits: `64.0 MB`, `64.0 MB, 0.5 processors`, `pi4 (2.15 GB)`."""
    limits = format_bytes(run.limit_bytes)
    if run.cpus is not None:
        limits += f", {run.cpus:g} processor{'s' * (run.cpus != 1)}"
    return limits if run.board is None else f"{run.board} ({limits})"


def format_limited_status(run: LimitedRun) -> str:
    """How the process ended, and in which phase when it did not answer to the end."""
    status = LIMITED_STATUS_TEXTS[run.status]
    if run.status == "answered":
        return status
    status += f" {_PHASE_TEXTS.get(run.phase, f'after {run.phase}')}"
    return f"{status}, after {len(run.total_ns)} answers" if run.total_ns else status


class LimitedRunCells(NamedTuple):
    """A run inside limits as the cells of a table."""

    limits: str
    status: str
    median: str
    p95: str
    major_faults: str
    remark: str


def format_limited_run(run: LimitedRun) -> LimitedRunCells:
    """Limits, outcome, median, p95, major page faults and remarks."""
    remarks = [NOT_ITS_SPEED] if run.board is not None else []
    remarks += [run.limitations] if run.limitations else []
    return LimitedRunCells(
        limits=format_limits(run),
        status=format_limited_status(run),
        median=format_optional(percentile_ms(run.total_ns, 50), format_duration_ms, ABSENT),
        p95=format_optional(percentile_ms(run.total_ns, 95), format_duration_ms, ABSENT),
        major_faults=f"{run.major_faults:,}",
        remark="; ".join([*remarks, run.mechanism]),
    )


def format_profile_lines(
    profile: OperatorProfile, *, limit: int
) -> tuple[tuple[str, str, str, str, str], ...]:
    """Operator, kernel, calls per query, time per query and share of the graph's time.

    The `limit` longest, then the rest in one line, then what lies between the operators.
    """
    runs, total_us = max(1, profile.runs), max(1, profile.invoke_us)
    operators = sorted(profile.operators, key=lambda operator: -operator.total_us)
    lines: list[tuple[str, str, int, int]] = [
        (operator.name, operator.by, operator.calls, operator.total_us)
        for operator in operators[:limit]
    ]
    if rest := operators[limit:]:
        calls = sum(operator.calls for operator in rest)
        rest_us = sum(operator.total_us for operator in rest)
        lines.append((f"{len(rest)} others", "", calls, rest_us))
    between_us = max(0, profile.invoke_us - sum(operator.total_us for operator in operators))
    lines.append(("between operators, loops, the profiler", "", 0, between_us))
    return tuple(
        (
            name,
            kernel,
            f"{calls / runs:.3g}" if calls else "",
            format_duration_ns(1e3 * operator_us / runs),
            format_share(operator_us / total_us),
        )
        for name, kernel, calls, operator_us in lines
    )


def format_delegation(profile: OperatorProfile) -> str:
    """How many of the file's operators XNNPACK runs, and which it leaves to the runtime."""
    if not profile.shares:  # a phone's tool does not say
        return "It is not known which operators XNNPACK runs"
    nodes: Counter[str] = Counter()
    delegated: Counter[str] = Counter()
    for share in profile.shares:
        nodes[share.name] += share.nodes
        delegated[share.name] += share.delegated
    remaining = ", ".join(
        f"{name} {nodes[name] - delegated[name]} of {nodes[name]}"
        for name, _ in (nodes - delegated).most_common()
    )
    text = f"XNNPACK runs {delegated.total()} of {nodes.total()} operators"
    return f"{text}, but not {remaining}" if remaining else text


def format_profile_summary(profile: OperatorProfile) -> str:
    """Delegation, conditions of the profile, and how much the profiler itself took."""
    plain = format_duration_ns(median(profile.plain_ns))
    profiled = format_duration_ns(1e3 * profile.invoke_us / max(1, profile.runs))
    return (
        f"{format_delegation(profile)}. At {profile.tokens} tokens, {profile.runs} runs; a run "
        f"took {profiled} under the profiler and {plain} without."
    )
