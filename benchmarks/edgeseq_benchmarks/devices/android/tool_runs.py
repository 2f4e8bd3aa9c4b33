"""Runs on the phone: one process of the native tool each, one adb call for many of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from edgeseq.errors import DeviceError
from edgeseq.subprocesses.command_runs import pause
from edgeseq_benchmarks.devices.android.benchmark_model import ToolTimes, parse_times
from edgeseq_benchmarks.devices.android.phone_scripts import RUN_JOBS
from edgeseq_benchmarks.devices.base import Device, DeviceLostError

# A connection that breaks is tried again this often without a run done in between, each after a
# pause in which a loose cable or a radio may recover.
_RECONNECTS = 4
_RECONNECT_PAUSE_S = 2.0
_CONNECT_S = 30.0
_KILLED = (124, 137)


class ToolRun(NamedTuple):
    """Input `offset` to `offset + tokens` (in int32) of model number `model`, run `warmups` times
    and then `runs` times; with `keep_logits` the logits of the last run come back."""

    model: int
    offset: int
    tokens: int
    warmups: int
    runs: int
    keep_logits: bool = False


class ToolOutput(NamedTuple):
    """The output of a run; `status` is the tool's exit status, 0 when it succeeded."""

    status: int
    lines: tuple[str, ...]
    logits: tuple[str, ...]

    @property
    def times(self) -> ToolTimes:
        return parse_times(self.lines)

    def reason(self, limit_s: float) -> str:
        """Why it failed, in one line."""
        if self.status in _KILLED:
            return f"no answer within {limit_s:g} s, or killed by the phone"
        lines = [line for line in self.lines if line.strip()]
        # A shell may print after it that the process was aborted.
        wrong = [line for line in lines if "ERROR" in line or "FATAL" in line]
        last = (wrong or lines or ["nothing"])[-1]
        return f"benchmark_model ended with status {self.status} and printed {last.strip()!r}"


class ToolOptions(NamedTuple):
    """The longest time for one process of the tool and for a call besides, and its warm-up.

    A phone raises its clock with the load, within some ten milliseconds; a process that has loaded
    its model and then warmed up for `warmup_s` is beyond that.
    """

    run_s: float = 180.0
    call_s: float = 120.0
    warmup_s: float = 0.05


class ToolRunner:
    """Does runs in a folder on the phone that holds the tool, the models and the inputs."""

    def __init__(
        self,
        device: Device,
        folder: PurePosixPath,
        scratch: Path,
        *,
        threads: int,
        options: ToolOptions,
    ) -> None:
        self._device = device
        self._folder = folder
        self._scratch = scratch
        self._threads = threads
        self.options = options
        self._slowest_s = 0.0

    def run(
        self, runs: Sequence[ToolRun], report_count: Callable[[int], None]
    ) -> list[ToolOutput | None]:
        """Runs the jobs in their order: `run_part` of all of them."""
        self.load(runs)
        return self.run_part(0, len(runs), report_count)

    def load(self, runs: Sequence[ToolRun]) -> None:
        """Copies runs to the phone, to be done in parts."""
        lines = (" ".join(str(int(cell)) for cell in (n, *run)) for n, run in enumerate(runs))
        path = self._scratch / "jobs"
        path.write_text("".join(f"{line}\n" for line in lines))
        self._device.put(path, self._folder / "jobs", timeout_s=self.options.call_s)

    def run_part(
        self, first: int, count: int, report_count: Callable[[int], None]
    ) -> list[ToolOutput | None]:
        """Does `count` of the loaded runs from number `first` on; `report_count` takes how many.

        Resumes after a broken connection. Raises `PhoneLostError` with the output so far when it
        stays broken.
        """
        collector = _Collector(first, count, report_count)
        broken = 0
        while not collector.complete:
            before = collector.count
            try:
                self._call(collector)
            except DeviceLostError as error:
                broken = broken + 1 if collector.count == before else 1
                if not error.worth_retrying or broken > _RECONNECTS:
                    raise PhoneLostError(error, collector.done) from error
                self._reconnect(error, collector)
        return collector.done

    def _call(self, collector: _Collector) -> None:
        """One adb call for all remaining runs. The timeout follows the slowest run so far."""
        remaining = len(collector.done) - collector.count
        slowest_s = min(self.options.run_s, 20 * self._slowest_s) or self.options.run_s
        arguments = (
            *("sh", "-c", RUN_JOBS, "sh", str(self._folder), "jobs", str(collector.next + 1)),
            *(
                str(remaining),
                str(self._threads),
                f"{self.options.warmup_s:g}",
                f"{self.options.run_s:g}",
            ),
        )
        begun_s = time.monotonic()
        before = collector.count
        finished = self._device.run(
            arguments,
            timeout_s=self.options.call_s + self.options.run_s + remaining * max(2.0, slowest_s),
            on_line=collector.add_line,
        )
        finished_count = collector.count - before
        if finished.returncode != 0 or not finished_count:
            raise DeviceError(
                "the script on the phone failed",
                where=self._device.name,
                found=f"status {finished.returncode} {finished.stderr.decode(errors='replace')}",
            )
        self._slowest_s = max(self._slowest_s, (time.monotonic() - begun_s) / finished_count)

    def _reconnect(self, error: DeviceLostError, collector: _Collector) -> None:
        for attempt in range(_RECONNECTS):
            pause(_RECONNECT_PAUSE_S)
            try:
                self._device.connect(timeout_s=_CONNECT_S)
            except DeviceLostError as failure:
                if not failure.worth_retrying or attempt == _RECONNECTS - 1:
                    raise PhoneLostError(failure, collector.done) from error
            else:
                return


class PhoneLostError(DeviceLostError):
    """The phone was lost for good; `done` is the output so far, None for the other runs."""

    def __init__(self, error: DeviceLostError, done: list[ToolOutput | None]) -> None:
        super().__init__(error.what, where=error.where or "", found=error.found, fix=error.fix)
        self.done = done


class _Collector:
    """Takes the lines of `RUN_JOBS`; a run counts once its last line has come."""

    def __init__(self, first: int, runs: int, report_count: Callable[[int], None]) -> None:
        self.done: list[ToolOutput | None] = [None] * runs
        self._first = first
        self.count = 0
        self._report_count = report_count
        self._status = 0
        self._lines: list[str] = []
        self._logits: list[str] = []
        self._into = self._lines

    @property
    def next(self) -> int:
        """The number of the next run."""
        return self._first + self.count

    @property
    def complete(self) -> bool:
        return self.count == len(self.done)

    def add_line(self, raw: bytes) -> None:
        line = raw.decode("utf-8", errors="replace").rstrip("\r")
        word, *rest = line.split() or [""]
        if word == "@job":
            # Also drops half a run from before a broken connection.
            self._status, self._lines, self._logits = int(rest[1]), [], []
            self._into = self._lines
        elif word == "@logits":
            self._into = self._logits
        elif word == "@end":
            if int(rest[0]) == self.next:
                done = ToolOutput(self._status, tuple(self._lines), tuple(self._logits))
                self.done[self.count] = done
                self.count += 1
                self._report_count(self.count)
        else:
            self._into.append(line)


def pack_inputs(inputs: Iterable[Sequence[int]]) -> tuple[bytes, list[int]]:
    """Token ids as int32, little endian as every Android is, and where each input begins."""
    offsets, content, position = [], bytearray(), 0
    for token_ids in inputs:
        offsets.append(position)
        content += np.asarray(token_ids, dtype="<i4").tobytes()
        position += len(token_ids)
    return bytes(content), offsets
