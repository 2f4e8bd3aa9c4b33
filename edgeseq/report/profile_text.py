"""What an operator profile says, as text: shares of the time, and what XNNPACK took over."""

from __future__ import annotations

from collections import Counter
from statistics import median

from edgeseq.formats.result import OperatorProfile
from edgeseq.units import format_duration_ns, format_share


def profile_lines(
    profile: OperatorProfile, *, limit: int
) -> tuple[tuple[str, str, str, str, str], ...]:
    """Operator, who ran it, calls a query, time a query and share of the graph's time.

    The `limit` longest, then all others in one line, then what lies between the operators.
    """
    runs, whole_us = max(1, profile.runs), max(1, profile.invoke_us)
    ordered = sorted(profile.operators, key=lambda one: -one.total_us)
    entries: list[tuple[str, str, int, int]] = [
        (one.name, one.by, one.calls, one.total_us) for one in ordered[:limit]
    ]
    if rest := ordered[limit:]:
        calls, total_us = sum(one.calls for one in rest), sum(one.total_us for one in rest)
        entries.append((f"{len(rest)} others", "", calls, total_us))
    between_us = max(0, profile.invoke_us - sum(one.total_us for one in ordered))
    entries.append(("between operators, loops, the profiler itself", "", 0, between_us))
    return tuple(
        (
            name,
            by,
            f"{calls / runs:.3g}" if calls else "",
            format_duration_ns(1e3 * total_us / runs),
            format_share(total_us / whole_us),
        )
        for name, by, calls, total_us in entries
    )


def taken_over(profile: OperatorProfile) -> str:
    """Which of the file's operators XNNPACK took over, and which it left to the runtime."""
    if not profile.shares:  # a phone's tool does not say
        return "Which operators XNNPACK took over is not known"
    nodes: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for share in profile.shares:
        nodes[share.name] += share.nodes
        taken[share.name] += share.taken
    left = ", ".join(
        f"{name} {nodes[name] - taken[name]} of {nodes[name]}"
        for name, _ in (nodes - taken).most_common()
    )
    said = f"XNNPACK took over {taken.total()} of {nodes.total()} operators"
    return f"{said}, but not {left}" if left else said


def profile_remark(profile: OperatorProfile) -> str:
    """The conditions of a profile, and how much the profiler itself took."""
    plain = format_duration_ns(median(profile.plain_ns))
    under = format_duration_ns(1e3 * profile.invoke_us / max(1, profile.runs))
    return (
        f"{taken_over(profile)}. At {profile.tokens} tokens, {profile.runs} runs; a run took "
        f"{under} under the profiler and {plain} without."
    )
