"""The times of a result as a trace that Perfetto and Chrome show (ui.perfetto.dev).

The format is Chrome's Trace Event Format: complete events (`ph` "X") with `ts` and `dur` in
microseconds. Each model and runner is a process with a thread for its queries, one for its cold
starts and one for its operators. Durations are those that were measured; when each query began is
not stored, so that events are laid end to end, in the order in which they were measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from edgeseq.formats.result import OperatorProfile, Queries, ResultRecord, Run

Event = dict[str, Any]
_QUERIES, _COLD_STARTS, _OPERATORS = 1, 2, 3
_THREADS = {
    _QUERIES: "queries, end to end",
    _COLD_STARTS: "cold starts, end to end",
    _OPERATORS: "operators, mean per query",
}


def trace_json(records: Sequence[ResultRecord]) -> bytes:
    """The trace of all runs of results, as JSON."""
    runs = [(record.device.name, run) for record in records for run in record.runs]
    events = [
        {"pid": process, **event}
        for process, (device, run) in enumerate(runs, start=1)
        for event in _events_of(run, device)
    ]
    trace = {"traceEvents": events, "displayTimeUnit": "ms"}
    content: bytes = msgspec.json.encode(trace)
    return content + b"\n"


def _events_of(run: Run, device: str) -> Iterator[Event]:
    name = f"{run.bundle.name} ({run.runner}, {device})"
    yield {"name": "process_name", "ph": "M", "tid": 0, "args": {"name": name}}
    for thread, title in _THREADS.items():
        yield {"name": "thread_name", "ph": "M", "tid": thread, "args": {"name": title}}
    yield from _query_events(run.queries)
    yield from _cold_start_events(run)
    if run.profile is not None:
        yield from _operator_events(run.profile)


def _query_events(queries: Queries) -> Iterator[Event]:
    start_ns = 0
    for index, total_ns in enumerate(queries.total_ns):
        facts = {
            "example": queries.example[index],
            "round": queries.round[index],
            "tokens": queries.tokens[index],
        }
        parts = [
            (name, getattr(queries, f"{name}_ns")[index])
            for name in ("tokenize", "inference", "decode")
        ]
        yield from _nested(_QUERIES, "query", start_ns, total_ns, parts=parts, facts=facts)
        start_ns += total_ns


def _cold_start_events(run: Run) -> Iterator[Event]:
    start_ns = 0
    for start in run.cold_starts:
        parts = [
            ("start and import", start.import_ns),
            ("load", start.load_ns),
            ("first answer", start.first_answer_ns),
        ]
        yield from _nested(
            _COLD_STARTS, "cold start", start_ns, start.total_ns, parts=parts, facts={}
        )
        start_ns += start.total_ns


def _operator_events(profile: OperatorProfile) -> Iterator[Event]:
    start_ns = 0.0
    for operator in profile.operators:
        mean_ns = 1e3 * operator.total_us / profile.runs
        facts = {"by": operator.by, "calls per query": operator.calls / profile.runs}
        yield _event(_OPERATORS, operator.name, start_ns, mean_ns, facts)
        start_ns += mean_ns


def _nested(
    thread: int,
    name: str,
    start_ns: int,
    total_ns: int,
    *,
    parts: Sequence[tuple[str, int]],
    facts: Event,
) -> Iterator[Event]:
    """An event and, one after the other inside of it, its parts that took time."""
    yield _event(thread, name, start_ns, total_ns, facts)
    for part, duration_ns in parts:
        if duration_ns:
            yield _event(thread, part, start_ns, duration_ns, {})
        start_ns += duration_ns


def _event(thread: int, name: str, start_ns: float, duration_ns: float, facts: Event) -> Event:
    times = {"ts": start_ns / 1e3, "dur": duration_ns / 1e3}
    return {"name": name, "ph": "X", "tid": thread, **times, "args": facts}
