"""What a run inside of limits says, as text for the terminal and the report."""

from __future__ import annotations

from edgeseq.formats.result import LimitedRun
from edgeseq.stats.latency import median, percentile
from edgeseq.units import format_bytes, format_duration_ns

NOT_ITS_SPEED = "a limit on this machine, not that board's speed"
_HAPPENED = {
    "answered": "answers",
    "killed": "killed for want of memory",
    "timed_out": "too slow, given up",
    "failed": "failed",
}
_REACHED = {
    "started": "before the runtime was imported",
    "runtime_imported": "while loading the tokenizer",
    "tokenizer_loaded": "while loading the model",
    "model_loaded": "while allocating tensors",
    "tensors_allocated": "at the first answer",
    "first_answer": "while answering",
}


def limits_words(run: LimitedRun) -> str:
    """The limits: `64.0 MB`, `64.0 MB, 0.5 processors`, `those of pi4 (2.15 GB)`."""
    words = format_bytes(run.limit_bytes)
    if run.cpus is not None:
        words += f", {run.cpus:g} processor{'s' * (run.cpus != 1)}"
    return words if run.board is None else f"those of {run.board} ({words})"


def happened_words(run: LimitedRun) -> str:
    """What became of the process, and how far it had come when it did not answer to the end."""
    words = _HAPPENED[run.status]
    if run.status == "answered":
        return words
    words += f" {_REACHED.get(run.phase, f'after {run.phase}')}"
    return f"{words}, after {len(run.total_ns)} answers" if run.total_ns else words


def limited_cells(run: LimitedRun) -> tuple[str, str, str, str, str, str]:
    """Limits, what happened, median, p95, major page faults and what is to be kept in mind."""
    p50 = format_duration_ns(median(run.total_ns)) if run.total_ns else "–"
    p95 = percentile(run.total_ns, 95) if run.total_ns else None
    remarks = [NOT_ITS_SPEED] if run.board is not None else []
    remarks += [run.lacks] if run.lacks else []
    return (
        limits_words(run),
        happened_words(run),
        p50,
        "–" if p95 is None else format_duration_ns(p95),
        f"{run.major_faults:,}",
        "; ".join([*remarks, run.mechanism]),
    )
