"""Runs a suite: finished steps are kept, the others run as soon as their inputs are there."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.suite.checks import check_suite
from edgeseq.suite.devices import suite_targets
from edgeseq.suite.elsewhere import Elsewhere, check_shared_store, load_dask, open_elsewhere
from edgeseq.suite.output_folder import claim_folder
from edgeseq.suite.plan import SuiteData, data_step, plan
from edgeseq.suite.quick import quick_suite
from edgeseq.suite.schema import read_suite
from edgeseq.suite.step_process import run_step_alone
from edgeseq.suite.steps import Step, StepRecord
from edgeseq.suite.unlabelled import resolve_unlabelled, unlabelled_of


class StepEvent(msgspec.Struct, frozen=True):
    """A step that finished now, or (`reused`) in an earlier run, or in another that shares a store.

    `began_unix_s` and `seconds` say when and for how long it ran; steps may overlap.
    """

    step: str
    title: str
    reused: bool
    seconds: float
    answer: dict[str, Any]
    peak_memory_bytes: int | None
    began_unix_s: float | None


class SuiteOptions(msgspec.Struct, frozen=True):
    """How a suite is run.

    `quick` makes a smaller suite of it (`edgeseq.suite.quick`); `data_dir` has local copies of data
    sets; `devices` are measured on instead of the suite's boards, or of this machine where it names
    none, with the interpreter `python` there. `scheduler` is the address of a Dask scheduler whose
    workers run the steps, `store` the URL of a store that they share (`edgeseq.suite.store`).
    """

    quick: bool = False
    data_dir: Path | None = None
    devices: tuple[str, ...] = ()
    python: str | None = None
    scheduler: str | None = None
    store: str | None = None


class SuiteRun(msgspec.Struct, frozen=True):
    """What a run of a suite made: its folder and one event per step, in the plan's order.

    `result_paths` are the results that the report is about; `lost` has a line for each device that
    was lost, whose result is missing there.
    """

    root: Path
    events: tuple[StepEvent, ...]
    seconds: float
    result_paths: tuple[Path, ...] = ()
    lost: tuple[str, ...] = ()

    def answer(self, name: str) -> dict[str, Any]:
        """The answer of the step called `name`."""
        return next(event.answer for event in self.events if event.step == name)


def run_suite(
    suite_path: Path,
    root: Path,
    options: SuiteOptions,
    *,
    progress: ProgressCallback = no_progress,
    on_step: Callable[[StepEvent], None] = lambda _: None,
) -> SuiteRun:
    """Runs the suite at `suite_path` with its output below `root`, and resumes what is there.

    `progress` is called with the progress of running steps, `on_step` with every step when it is
    reused or finished. Raises `InputError` for a bad suite, and what the failed step raised;
    finished steps are kept and the next run resumes.
    """
    began = time.monotonic()
    suite = read_suite(suite_path)
    check_suite(suite)
    suite = resolve_unlabelled(suite, suite_path.parent)
    if options.quick:
        suite = quick_suite(suite)
    # An unknown name is refused before hours of training.
    targets = suite_targets(options.devices or suite.boards, options.python)
    check_shared_store(options.scheduler, options.store)
    claim_folder(root, suite_path)
    with open_elsewhere(options.scheduler, options.store, progress) as elsewhere:
        runner = _Runner(root, progress, on_step, elsewhere)
        data = data_step(
            suite.data,
            task=suite.task,
            suite_path=suite_path,
            data_dir=options.data_dir,
            unlabelled=unlabelled_of(suite),
        )
        runner.run_data(data)
        answer = runner.events[data.name].answer
        steps = plan(
            suite,
            data=SuiteData(data, str(answer["sha256"]), dict(answer["unlabelled_sha256"])),
            root=root,
            runtime_identity=elsewhere.machine,
            targets=targets,
            python=options.python,
        )
        runner.run(steps)
        lost = tuple(runner.events["bench"].answer.get("lost", ()))
        if lost:  # measured there by the next run, which writes the report again
            for name in ("bench", "verdict", "verdict-run", "report"):
                runner.steps[name].expire(root)
                elsewhere.forget(runner.steps[name])
        results = [root / path for path in steps[-1].arguments["results"]]
    return SuiteRun(
        root=root,
        lost=lost,
        result_paths=tuple(path for path in results if path.exists()),
        events=tuple(runner.events[step.name] for step in (data, *steps)),
        seconds=time.monotonic() - began,
    )


class _Runner:
    def __init__(
        self,
        root: Path,
        progress: ProgressCallback,
        on_step: Callable[[StepEvent], None],
        elsewhere: Elsewhere,
    ) -> None:
        self.elsewhere = elsewhere
        self.root = root
        self.progress = progress
        self.on_step = on_step
        self.events: dict[str, StepEvent] = {}
        self.steps: dict[str, Step] = {}
        self._conversions = 0
        self._converted = 0

    def run_data(self, step: Step) -> None:
        """Runs the step that every run repeats."""
        self.steps[step.name] = step
        step.check_output(self.root)
        self._note(step, run_step_alone(step, self.root, self.progress), reused=False)

    def run(self, steps: Sequence[Step]) -> None:
        """Runs the steps that no earlier run finished."""
        todo = []
        self.steps |= {step.name: step for step in steps}
        for step in steps:
            record = step.finished(self.root)
            if record is None:
                step.check_output(self.root)
                todo.append(step)
            else:
                self._note(step, record, reused=True)
        if not todo:
            return
        self._conversions = sum(step.job == "convert" for step in todo)
        load_dask().run_steps(
            todo,
            self.root,
            finished=[step.name for step in steps if step not in todo],
            progress=self._progress_of,
            on_finished=self._finished,
            on_fetched=lambda step, record: self._note(step, record, reused=True),
            cluster=self.elsewhere.cluster,
            store=self.elsewhere.store,
        )

    def _progress_of(self, step: Step) -> ProgressCallback:
        """What hears a step: the conversions, which are many and short, share one bar."""
        if step.job != "convert":
            return self.progress
        self._tell_conversions(str(step.arguments["out"]))
        return no_progress

    def _finished(self, step: Step, record: StepRecord) -> None:
        if step.job == "convert":
            self._converted += 1
            self._tell_conversions(str(step.arguments["out"]))
        self._note(step, record, reused=False)

    def _tell_conversions(self, note: str) -> None:
        self.progress(ProgressUpdate("convert", self._converted, self._conversions, note=note))

    def _note(self, step: Step, record: StepRecord, *, reused: bool) -> None:
        event = StepEvent(
            step=step.name,
            title=step.title,
            reused=reused,
            seconds=record.seconds,
            answer=record.answer,
            peak_memory_bytes=record.peak_memory_bytes,
            began_unix_s=record.began_unix_s,
        )
        self.events[step.name] = event
        self.on_step(event)
