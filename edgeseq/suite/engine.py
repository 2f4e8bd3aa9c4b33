"""Runs a suite: its steps one after the other, finished ones kept, conversions two at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import OutputError
from edgeseq.files import os_errors_as_output_errors, write_bytes
from edgeseq.progress import Progress, Report, silent
from edgeseq.suite.identity import machine_identity
from edgeseq.suite.plan import data_step, plan
from edgeseq.suite.process import Job, run_job
from edgeseq.suite.schema import Suite, read_suite
from edgeseq.suite.steps import Step, StepRecord

PARALLEL_CONVERSIONS = 2


class StepEvent(msgspec.Struct, frozen=True):
    """What happened to a step: it was kept from an earlier run, or it finished now."""

    step: str
    title: str
    kept: bool
    seconds: float
    answer: dict[str, Any]
    peak_memory_bytes: int | None


class SuiteRun(msgspec.Struct, frozen=True):
    """What a run of a suite made: its folder and one event a step, in order."""

    root: Path
    events: tuple[StepEvent, ...]
    seconds: float

    def answer(self, name: str) -> dict[str, Any]:
        """The answer of the step called `name`."""
        return next(event.answer for event in self.events if event.step == name)


def run_suite(
    suite_path: Path,
    root: Path,
    *,
    data_dir: Path | None = None,
    report: Report = silent,
    on_step: Callable[[StepEvent], None] = lambda _: None,
) -> SuiteRun:
    """Runs the suite at `suite_path` with its output below `root`, and resumes what is there.

    `data_dir` holds local copies of data sets; `report` hears the progress of the step at work,
    `on_step` every step that is kept or finished. Raises `InputError` for a bad suite, and
    whatever the step that failed raised; finished steps are kept and the next run goes on.
    """
    began = time.monotonic()
    suite = read_suite(suite_path)
    _check_training(suite)
    _claim(root, suite_path)
    runner = _Runner(root, report, on_step)
    data = data_step(suite.data, task=suite.task, suite_path=suite_path, data_dir=data_dir)
    runner.run(data, always=True)
    steps = plan(
        suite,
        data=data,
        data_sha256=str(runner.events[0].answer["sha256"]),
        root=root,
        runtime_identity=machine_identity(),
    )
    conversions = [step for step in steps if step.job == "convert"]
    for step in steps:
        if step.job != "convert":
            runner.run(step)
        elif step is conversions[0]:
            runner.run_all(conversions)
    return SuiteRun(root=root, events=tuple(runner.events), seconds=time.monotonic() - began)


def _check_training(suite: Suite) -> None:
    """Settings of every training, before the first one has taken its minutes."""
    from edgeseq_converters.train.settings import BertSettings, LstmSettings, read_settings

    for model in suite.models:
        if model.arch == "bert":
            read_settings(model.train, BertSettings)
        else:
            read_settings(model.train, LstmSettings)


def _claim(root: Path, suite_path: Path) -> None:
    """Makes `root`; refuses a folder that holds something that is not a suite's output."""
    marker = root / "suite.toml"
    if root.exists() and not root.is_dir():
        raise OutputError("is not a folder", where=root, fix="choose another --out")
    if root.is_dir() and any(root.iterdir()) and not marker.exists():
        raise OutputError(
            "holds files that are not a suite's output", where=root, fix="choose another --out"
        )
    with os_errors_as_output_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    write_bytes(marker, suite_path.read_bytes())


class _Runner:
    def __init__(self, root: Path, report: Report, on_step: Callable[[StepEvent], None]) -> None:
        self.root = root
        self.report = report
        self.on_step = on_step
        self.events: list[StepEvent] = []

    def run(self, step: Step, *, always: bool = False) -> None:
        """Runs one step unless an earlier run finished it."""
        record = None if always else step.finished(self.root)
        kept = record is not None
        self._note(step, record or self._work(step, self.report), kept=kept)

    def run_all(self, steps: Sequence[Step]) -> None:
        """Runs independent steps, two at a time; the first error is raised when all have ended."""
        todo = [step for step in steps if step.finished(self.root) is None]
        title = "convert"
        done = 0
        if todo:
            self.report(Progress(title, 0, len(todo)))
        # Two conversions fit in memory side by side, and most of a conversion has one thread.
        with ThreadPoolExecutor(PARALLEL_CONVERSIONS) as pool:
            futures = {step.name: pool.submit(self._work, step, silent) for step in todo}
            try:
                for step in todo:
                    futures[step.name].result()
                    done += 1
                    self.report(Progress(title, done, len(todo), note=step.arguments["out"]))
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        for step in steps:
            record = step.finished(self.root)
            if record is not None:
                self._note(step, record, kept=step not in todo)

    def _work(self, step: Step, report: Report) -> StepRecord:
        began = time.monotonic()
        answer, peak = run_job(
            Job(step.job, step.arguments),
            log=self.root / "log" / f"{step.name}.log",
            cwd=self.root,
            report=report,
        )
        return step.finish(self.root, seconds=time.monotonic() - began, answer=answer, peak=peak)

    def _note(self, step: Step, record: StepRecord, *, kept: bool) -> None:
        event = StepEvent(
            step=step.name,
            title=step.title,
            kept=kept,
            seconds=record.seconds,
            answer=record.answer,
            peak_memory_bytes=record.peak_memory_bytes,
        )
        self.events.append(event)
        self.on_step(event)
