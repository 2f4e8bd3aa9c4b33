"""A whole search: the data, the trials, the finalists on the test split, and the report.

edgeseq-search.json   that the folder is a search's output, and which search
study.db              Optuna's storage, unless another one was named
search.json           all trials (`edgeseq.formats.search_record`)
report/               the report of the finalists, with a section about the search
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgeseq.errors import CheckpointError, InputError, RefusedError
from edgeseq.formats.result import read_result
from edgeseq.formats.search_record import SearchRecord, SearchTrial
from edgeseq.formats.storage import sha256_file, write_json
from edgeseq.formats.trained_model import Arch, read_model_folder
from edgeseq.model_search.disturbances import REPEATS, disturbance_of
from edgeseq.model_search.finalists import candidate_of, choose_finalists
from edgeseq.model_search.search_folder import check_folder, claim
from edgeseq.model_search.space import MeasuredRunner, SearchSpace, check_families
from edgeseq.model_search.step_runner import StepRunner
from edgeseq.model_search.steps_workbench import (
    SearchJob,
    SearchSources,
    StepsWorkbench,
    plan_candidates,
)
from edgeseq.model_search.study import SearchStudy, open_study
from edgeseq.model_search.trials import SearchEnd, run_trials
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.reporting.budgets import Budget, budget_text, limits_of, parse_budget
from edgeseq.suite.elsewhere import check_shared_store, open_elsewhere
from edgeseq.suite.outputs import content_sha256, list_output
from edgeseq.suite.plan import MEASURED_FILE, RESULT_FILE, SuiteData, data_step
from edgeseq.suite.quick import OTHER_TEXTS
from edgeseq.suite.schema import DataSection
from edgeseq.suite.step_process import run_step_alone
from edgeseq.suite.steps import Step, StepRecord
from edgeseq_converters.models.huggingface.checkpoint import DEFAULT_CHECKPOINT, read_checkpoint
from edgeseq_converters.training.teacher_model import bert_of

STUDY_FILE = "study.db"
RECORD_FILE = Path("search.json")
FINALISTS = 4
DEFAULT_EPOCHS = 8
QUICK_EPOCHS, QUICK_TRAIN_TEXTS = 4, 1_000


class SearchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a search is run.

    `trials` counts those of earlier runs; `timeout_s` ends the trials of this run, after which the
    finalists are still measured. `teacher` is a trained-model folder, `checkpoint` what BERTs and
    tokenizers start from. `storage` is an address for Optuna (None: a file in the output folder).
    `quick`: a data subset, few epochs and a quick benchmark. `scheduler` is the address of a Dask
    scheduler whose workers run the steps, `store` the URL of a store that they share.
    """

    trials: int = 50
    timeout_s: float | None = None
    families: tuple[str, ...] = ()
    teacher: Path | None = None
    checkpoint: str | None = None
    epochs: int | None = None
    runner: str = "native"
    storage: str | None = None
    seed: int = 0
    quick: bool = False
    data_dir: Path | None = None
    scheduler: str | None = None
    store: str | None = None


class SearchRun(msgspec.Struct, frozen=True):
    """What a search made: its record, the answer of the report's step, and the winner's bundle
    (None: none of the finalists fits in the end); `seconds` and memory are of this run's last
    part, from the finalists on. A `disturbance` says that other programs used the machine while the
    finalists were measured, which the next run does again."""

    root: Path
    record: SearchRecord
    report: dict[str, Any]
    winner: Path | None
    seconds: float
    peak_memory_bytes: int
    disturbance: str = ""


def run_search(
    task: str,
    data: DataSection,
    budget_limits: str,
    root: Path,
    options: SearchOptions,
    *,
    progress: ProgressCallback = no_progress,
    on_trial: Callable[[SearchTrial], None] = lambda _: None,
) -> SearchRun:
    """Searches for the best model of `data` within `budget_limits`, with its output below `root`;
    the same call resumes.

    Raises `InputError` for bad options, and for a storage or a folder of another search;
    `RefusedError` when no candidate fits; and what a step raised. What is finished is kept.
    """
    began_s = time.monotonic()
    budget = _check_budget(budget_limits)
    _check_options(options)
    space = _space(task, options)
    root.mkdir(parents=True, exist_ok=True)
    root = root.resolve()
    with open_elsewhere(options.scheduler, options.store, progress) as elsewhere:
        job = _prepare(
            task, data, root, budget, machine=elsewhere.machine, options=options, progress=progress
        )
        identity = _identity(job, space)
        if elsewhere.cluster is not None:
            identity["measuring machine"] = elsewhere.machine["node"]
        claim(root, identity)
        study = open_study(
            options.storage or f"sqlite:///{root / STUDY_FILE}",
            name=root.name,
            identity=identity,
            space=space,
            budget=budget,
            seed=options.seed,
        )
        deadline_s = None if options.timeout_s is None else began_s + options.timeout_s
        runner = StepRunner(root, elsewhere)
        trials = run_trials(
            study,
            StepsWorkbench(job, runner, progress),
            budget,
            SearchEnd(options.trials, deadline_s),
            on_trial=_counted(on_trial, progress, len(study.trials), options.trials),
        )
        finalists = choose_finalists(trials, budget, count=FINALISTS)
        if not finalists:
            raise _nothing_trained(trials, root)
        return _finish(job, runner, study, trials=trials, finalists=finalists, progress=progress)


def _nothing_trained(trials: Sequence[SearchTrial], root: Path) -> RefusedError:
    disturbed = sum(trial.outcome == "disturbed" for trial in trials)
    others = f", {disturbed} of them not measured: other programs used the machine"
    return RefusedError(
        "no candidate was trained to its end",
        where=root,
        found=f"{len(trials)} trials{others if disturbed else ''}",
        fix="run it again on an idle machine, which tries them again"
        if disturbed
        else "give it more time: the same command resumes",
    )


def _check_budget(text: str) -> Budget:
    budget = parse_budget(text)
    if not limits_of(budget):
        raise InputError(
            "a search needs a limit",
            where="budget",
            found=repr(text),
            expected="e.g. memory=16MB p95=5ms size=1MB",
        )
    return budget


def _check_options(options: SearchOptions) -> None:
    for name, value in (("trials", options.trials), ("epochs", options.epochs)):
        if value is not None and value < 1:
            raise InputError("is not a number of " + name, where=name, found=value)
    _runner(options)
    check_shared_store(options.scheduler, options.store)


def _runner(options: SearchOptions) -> MeasuredRunner:
    for runner in get_args(MeasuredRunner):
        if options.runner == runner:
            known: MeasuredRunner = runner
            return known
    raise InputError(
        "unknown runner",
        where="runner",
        found=options.runner,
        expected=" or ".join(get_args(MeasuredRunner)),
    )


def _space(task: str, options: SearchOptions) -> SearchSpace:
    families = options.families
    if not families:
        is_bert_wanted = options.checkpoint is not None or options.teacher is not None
        families = _default_families(task, with_bert=is_bert_wanted)
    epochs = options.epochs or (QUICK_EPOCHS if options.quick else DEFAULT_EPOCHS)
    known = check_families(task, families)
    return SearchSpace(
        task=task,
        families=known,
        runner=_runner(options),
        epochs=epochs,
        has_teacher=options.teacher is not None,
        bert_layers=_bert_layers(options) if "bert" in known else 0,
    )


def _default_families(task: str, *, with_bert: bool) -> tuple[Arch, ...]:
    families: tuple[Arch, ...] = ("bag", "lstm", "bert") if with_bert else ("bag", "lstm")
    try:
        return check_families(task, families)
    except InputError:  # a bag labels whole texts alone
        return check_families(task, [family for family in families if family != "bag"])


def _bert_layers(options: SearchOptions) -> int:
    """How many layers a BERT has to keep some of."""
    if options.teacher is not None and options.checkpoint is None:
        return bert_of(read_model_folder(options.teacher)).layers
    checkpoint = read_checkpoint(
        options.checkpoint or DEFAULT_CHECKPOINT, pooling="mean", data_dir=options.data_dir
    )
    return checkpoint.config.layers


def _prepare(
    task: str,
    data: DataSection,
    root: Path,
    budget: Budget,
    *,
    machine: dict[str, str],
    options: SearchOptions,
    progress: ProgressCallback,
) -> SearchJob:
    """Reads the data set, and identifies what candidates begin from."""
    if options.quick:
        data = msgspec.structs.replace(
            data, max_train=QUICK_TRAIN_TEXTS, max_dev=OTHER_TEXTS, max_test=OTHER_TEXTS
        )
    # Paths of the data are relative to the working folder.
    step = data_step(data, task=task, suite_path=Path("search"), data_dir=options.data_dir)
    check_folder(root)
    step.expire(root)
    step.check_output(root)
    read = run_step_alone(step, root, progress)
    teacher, checkpoint = options.teacher, options.checkpoint
    if checkpoint is not None and Path(checkpoint).is_dir():
        checkpoint = str(Path(checkpoint).resolve())
    return SearchJob(
        root=root,
        task=task,
        data=SuiteData(step, str(read.answer["sha256"])),
        budget=budget_text(budget),
        runner=_runner(options),
        quick=options.quick,
        identity=machine,
        sources=SearchSources(
            teacher=None if teacher is None else str(teacher.resolve()),
            teacher_sha256=None
            if teacher is None
            else sha256_file(teacher / "weights.safetensors"),
            checkpoint=checkpoint,
            checkpoint_sha256=checkpoint_sha256(checkpoint),
        ),
    )


def checkpoint_sha256(checkpoint: str | None) -> str | None:
    """The hash of a checkpoint's folder by the content of all its files; None for a name.

    Weights are read too: a copy is the same checkpoint, and a second per gigabyte is little beside
    a search. Raises `CheckpointError`.
    """
    if checkpoint is None or not Path(checkpoint).is_dir():
        return None
    try:
        return content_sha256(list_output(Path(checkpoint), Path(checkpoint), {}))
    except OSError as error:
        raise CheckpointError("cannot be read", where=checkpoint, found=error.strerror) from error


def _identity(job: SearchJob, space: SearchSpace) -> dict[str, str]:
    """What a search is for, by facts; another one does not go into its study."""
    return {
        "task": job.task,
        "data": job.data.sha256,
        "budget": job.budget,
        "families": ", ".join(space.families),
        "epochs": str(space.epochs),
        "runner": job.runner,
        "teacher": job.sources.teacher_sha256 or "none",
        "checkpoint": job.sources.checkpoint_sha256 or job.sources.checkpoint or "default",
    }


def _counted(
    on_trial: Callable[[SearchTrial], None], progress: ProgressCallback, done: int, total: int
) -> Callable[[SearchTrial], None]:
    count = done

    def note(trial: SearchTrial) -> None:
        nonlocal count
        count += 1
        on_trial(trial)
        progress(ProgressUpdate("trials", count, total))

    return note


def _run_undisturbed(
    step: Step, root: Path, runner: StepRunner, progress: ProgressCallback
) -> StepRecord:
    """Runs a step; a full measurement that other programs disturbed is repeated."""
    record = runner.run(step, progress)
    for _ in range(REPEATS if step.name == "bench" else 0):
        if not disturbance_of(read_result(root / MEASURED_FILE)):
            break
        if not runner.wait_for_idle_machine(progress):
            break
        runner.expire(step)
        record = runner.run(step, progress)
    return record


def _finish(
    job: SearchJob,
    runner: StepRunner,
    study: SearchStudy,
    *,
    trials: Sequence[SearchTrial],
    finalists: Sequence[SearchTrial],
    progress: ProgressCallback,
) -> SearchRun:
    """Measures the finalists in full, scores them on the test split, and reports."""
    candidates = [candidate_of(trial) for trial in finalists]
    data = msgspec.json.decode((job.root / "data.json").read_bytes())
    record = SearchRecord(
        task=job.task,
        data_name=data["name"],
        data_sha256=job.data.sha256,
        budget=job.budget,
        trials=tuple(trials),
        importance=study.importance(),
        finalists=tuple(candidate.bundle for candidate in candidates),
    )
    write_json(job.root / RECORD_FILE, record)
    began_s, answer, peak_bytes = time.monotonic(), dict[str, Any](), 0
    steps = plan_candidates(job, candidates)
    for step in steps:
        if step.job == "report":
            arguments = {
                **step.arguments,
                "search": str(job.root / RECORD_FILE),
                "search_sha256": sha256_file(job.root / RECORD_FILE),
            }
            step = msgspec.structs.replace(  # noqa: PLW2901
                step, arguments=arguments, identity={"search": str(RECORD_FILE)}
            )
        finished = _run_undisturbed(step, job.root, runner, progress)
        answer, peak_bytes = finished.answer, max(peak_bytes, finished.peak_memory_bytes or 0)
    winner = answer["verdict"]["winner"]
    disturbance = disturbance_of(read_result(job.root / RESULT_FILE))
    if winner is None or disturbance:  # a disturbed measurement is repeated by the next run
        runner.expire(next(step for step in steps if step.name == "bench"))
    return SearchRun(
        root=job.root,
        record=record,
        report=answer,
        winner=None if winner is None else job.root / "bundles" / winner,
        disturbance=disturbance,
        seconds=time.monotonic() - began_s,
        peak_memory_bytes=peak_bytes,
    )
