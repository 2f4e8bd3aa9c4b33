"""Candidates measured and trained by the steps of suites, each in a process of its own.

models/NAME           a trained model, with its step's record in steps/
bundles/NAME-RECIPE   its bundle
shapes/SHAPE          an untrained bundle of a shape, and SHAPE.json what it costs
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import RefusedError
from edgeseq.formats.result import read_result
from edgeseq.model_search.candidates import Candidate, Costs
from edgeseq.model_search.disturbances import disturbance_of
from edgeseq.model_search.space import MeasuredRunner
from edgeseq.model_search.step_runner import StepRunner
from edgeseq.model_search.workbench import Measurement, OnEpoch, Trained
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.reporting.rows import derive_row
from edgeseq.suite.plan import TEACHER_OUTPUTS, SuiteData, plan
from edgeseq.suite.schema import BenchSection, DataSection, ModelSection, ReportSettings, Suite
from edgeseq.suite.steps import Step

_SHAPES = Path("shapes")


class SearchSources(msgspec.Struct, frozen=True):
    """What candidates begin from: a teacher's folder, a checkpoint, and the hashes of both."""

    teacher: str | None = None
    teacher_sha256: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None


class SearchJob(msgspec.Struct, frozen=True):
    """What all steps of a search have in common, which run in the folder `root`; `identity` is that
    of the machine."""

    root: Path
    task: str
    data: SuiteData
    budget: str
    runner: MeasuredRunner
    quick: bool
    identity: dict[str, str]
    sources: SearchSources = SearchSources()
    working_memory: bool = True


def plan_candidates(job: SearchJob, candidates: Sequence[Candidate]) -> list[Step]:
    """The steps of a suite of these candidates, whose models differ: training to report."""
    suite = Suite(
        name="search",
        task=job.task,
        models=tuple(map(_model_section, candidates)),
        data=DataSection(),  # the data step has read it
        bench=BenchSection(
            quick=job.quick, runners=(job.runner,), working_memory=job.working_memory
        ),
        report=ReportSettings(budget=job.budget),
    )
    distilled = {candidate.name for candidate in candidates if candidate.is_distilled}
    steps = plan(
        suite,
        data=job.data,
        root=job.root,
        runtime_identity=job.identity,
    )
    changed: dict[str, Step] = {}
    for step in steps:
        arguments = dict(step.arguments)
        if step.job == "train":
            is_distilled = step.title[6:] in distilled
            arguments |= _source_arguments(job.sources, is_distilled=is_distilled)
            if is_distilled:
                arguments["teacher_outputs"] = TEACHER_OUTPUTS
        elif step.job == "convert":
            arguments["all_dev"] = True
        after = tuple(changed.get(needed.name, needed) for needed in step.after)
        changed[step.name] = msgspec.structs.replace(step, arguments=arguments, after=after)
    return list(changed.values())


def _model_section(candidate: Candidate) -> ModelSection:
    return ModelSection(
        name=candidate.name,
        arch=candidate.arch,
        recipes=(candidate.recipe,),
        lowerings=(candidate.lowering,),
        train=candidate.train,
    )


def _source_arguments(sources: SearchSources, *, is_distilled: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "checkpoint": sources.checkpoint,
        "checkpoint_sha256": sources.checkpoint_sha256,
    }
    if is_distilled:
        arguments |= {"teacher": sources.teacher, "teacher_sha256": sources.teacher_sha256}
    return arguments


class StepsWorkbench:
    """Trials by steps; what has a record in the folder is not run again."""

    def __init__(
        self, job: SearchJob, runner: StepRunner, progress: ProgressCallback = no_progress
    ) -> None:
        self._job, self._runner, self._progress = job, runner, progress

    @property
    def num_workers(self) -> int:
        return self._runner.num_workers

    def measure(self, candidate: Candidate, *, again: bool = False) -> Measurement:
        """The costs of the untrained model; those of an equal shape are not measured again."""
        job, name = self._job, candidate.shape_name
        untrained, cost = self._measuring_steps(candidate)
        if again:
            self._runner.expire(cost)
        if cost.finished(job.root) is None:
            self._runner.run(untrained, self._progress)
        self._runner.run(cost, self._progress)
        result = read_result(job.root / cost.arguments["out"])
        if not result.runs:
            raise RefusedError("was not measured", where=name)
        return Measurement(Costs.of(derive_row(result, result.runs[0])), disturbance_of(result))

    def wait_for_idle_machine(self) -> bool:
        return self._runner.wait_for_idle_machine(self._progress)

    def stop(self) -> None:
        self._runner.stop()

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Trained:
        """Trains, converts and scores the model; see `Workbench.train`."""
        steps = plan_candidates(self._job, [candidate])
        train = next(step for step in steps if step.job == "train")
        convert = next(step for step in steps if step.job == "convert")

        def pass_on(update: ProgressUpdate) -> None:
            self._progress(update)
            if update.dev_scores:
                on_epoch(update.dev_scores)

        trained = self._runner.run(train, pass_on)
        converted = self._runner.run(convert, self._progress)
        dev_score = float(converted.answer["dev_score"])
        return Trained(dev_score, tuple(trained.answer["dev_scores"]))

    def _measuring_steps(self, candidate: Candidate) -> tuple[Step, Step]:
        job, name = self._job, candidate.shape_name
        bundle, result = _SHAPES / name, _SHAPES / f"{name}.json"
        untrained = Step(
            name=f"untrained-{name}",
            title=f"untrained {name}",
            job="untrained",
            arguments={
                "arch": candidate.arch,
                "task": job.task,
                "settings": candidate.shape,
                "recipe": candidate.recipe,
                "lowering": candidate.lowering,
                **job.data.arguments,
                "out": str(bundle),
                # A student of a teacher has its tokenizer.
                **_source_arguments(job.sources, is_distilled=candidate.is_distilled),
            },
            output=job.root / bundle,
        )
        cost = Step(
            name=f"cost-{name}",
            title=f"measure {name}",
            job="cost",
            arguments={
                "bundle": str(bundle),
                "runner": job.runner,
                "threads": 1,
                "working_memory": job.working_memory,
                "identity": job.identity,
                "out": str(result),
            },
            output=job.root / result,
            after=(untrained,),
            kind="measure",
        )
        return untrained, cost
