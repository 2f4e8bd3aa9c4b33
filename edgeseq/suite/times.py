"""What a run took, from the records of its steps, which may have run at the same time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from edgeseq.errors import InputError
from edgeseq.formats.storage import read_json
from edgeseq.suite.steps import StepRecord


class Timed(Protocol):
    """A step's begin (None: not known), seconds and peak memory."""

    @property
    def began_unix_s(self) -> float | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def peak_memory_bytes(self) -> int | None: ...


def read_records(root: Path) -> list[StepRecord]:
    """The records of a suite's output folder, in the order in which the steps began.

    Raises `InputError` when there is none or one is damaged.
    """
    paths = sorted((root / "steps").glob("*.json"))
    if not paths:
        raise InputError("has no steps", where=root, fix="name the output folder of a suite")
    records = [read_json(path, StepRecord) for path in paths]
    return sorted(records, key=lambda record: record.began_unix_s or 0.0)


def busy_seconds(steps: Iterable[Timed]) -> float:
    """Seconds in which at least one step ran.

    Neither what an interrupted run lost nor the time until it was resumed is counted. A step
    whose beginning is not known counts as if it had run alone.
    """
    steps = list(steps)
    total = sum(step.seconds for step in steps if step.began_unix_s is None)
    end_of_last = float("-inf")
    for begin, end in sorted(map(_span, _known(steps))):
        total += max(0.0, end - max(begin, end_of_last))
        end_of_last = max(end_of_last, end)
    return total


def peak_memory_bytes(steps: Iterable[Timed]) -> int:
    """Bytes that the steps needed at most: the highest sum of the peaks of steps that overlap."""
    steps = list(steps)
    sums = [step.peak_memory_bytes or 0 for step in steps]
    spans = [(*_span(step), step.peak_memory_bytes or 0) for step in _known(steps)]
    for moment, _, _ in spans:
        sums.append(sum(peak for begin, end, peak in spans if begin <= moment < end))
    return max(sums, default=0)


def _known(steps: list[Timed]) -> list[Timed]:
    return [step for step in steps if step.began_unix_s is not None]


def _span(step: Timed) -> tuple[float, float]:
    begin = step.began_unix_s or 0.0
    return begin, begin + step.seconds
