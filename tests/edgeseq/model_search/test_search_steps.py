"""What candidates begin from, and how the steps of a search are run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeseq.errors import StepError
from edgeseq.model_search.candidates import Candidate
from edgeseq.model_search.search import checkpoint_sha256
from edgeseq.model_search.step_runner import StepRunner
from edgeseq.model_search.steps_workbench import SearchJob, SearchSources, plan_candidates
from edgeseq.suite.elsewhere import Elsewhere
from edgeseq.suite.plan import SuiteData, data_step
from edgeseq.suite.schema import DataSection
from edgeseq.suite.step_process import step_request
from edgeseq.suite.steps import Step
from edgeseq.suite.store import Store
from edgeseq.suite.stored_steps import InputUploads

from ...conftest import invented_rows, write_csv

SETTINGS = {"epochs": 1, "learning_rate": 1e-3}


def _job(tmp_path: Path) -> SearchJob:
    section = DataSection(train=str(write_csv(tmp_path / "texts.csv", invented_rows(9, seed=0))))
    step = data_step(section, task="sentiment", suite_path=Path("search"), data_dir=None)
    return SearchJob(
        root=tmp_path / "out",
        task="sentiment",
        data=SuiteData(step, "0" * 64),
        budget="memory=16MB",
        runner="native",
        quick=True,
        identity={"node": "here"},
        sources=SearchSources(teacher=str(tmp_path / "teacher"), teacher_sha256="1" * 64),
    )


def _training(job: SearchJob, candidate: Candidate) -> Step:
    [step] = [step for step in plan_candidates(job, [candidate]) if step.job == "train"]
    return step


def test_students_of_a_teacher_share_its_outputs_here_and_on_a_cluster(tmp_path: Path) -> None:
    job, store = _job(tmp_path), Store(str(tmp_path / "store"))
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher/weights.safetensors").write_bytes(b"weights")
    student, alone = (
        _training(job, Candidate("bert", "float32", "encoder", SETTINGS, is_distilled=distilled))
        for distilled in (True, False)
    )
    assert student.arguments["teacher_outputs"] == "teachers"
    assert student.arguments["teacher_sha256"] == "1" * 64
    assert "teacher" not in alone.arguments
    request, work = InputUploads(store).describe(student, step_request(student, job.root))
    assert request.arguments["teacher_outputs"] == store.url
    kinds = [kind for kind, _ in work.inputs]
    assert kinds.count("inputs") == 2  # the texts and the teacher
    for kind, key in work.inputs:
        store.fetch(kind, key, tmp_path / "worker")
    teacher = tmp_path / "worker" / request.arguments["teacher"]
    assert (teacher / "weights.safetensors").read_bytes() == b"weights"


def test_a_checkpoint_is_known_by_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    before = checkpoint_sha256(str(folder))
    shutil.copytree(folder, tmp_path / "copy")
    assert checkpoint_sha256(str(tmp_path / "copy")) == before
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    assert checkpoint_sha256(str(folder)) != before
    assert checkpoint_sha256("all-MiniLM-L6-v2") is None


def test_a_step_that_a_store_has_is_fetched_by_other_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = _job(tmp_path).data.step
    elsewhere = Elsewhere({}, store=Store(str(tmp_path / "store")))
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    record = StepRunner(tmp_path / "first", elsewhere).run(step)
    monkeypatch.setattr("edgeseq.model_search.step_runner.run_step_alone", _fail)
    assert StepRunner(tmp_path / "second", elsewhere).run(step).answer == record.answer
    assert (tmp_path / "second/data.json").read_bytes() == (
        tmp_path / "first/data.json"
    ).read_bytes()
    runner = StepRunner(tmp_path / "second", elsewhere)
    runner.expire(step)
    with pytest.raises(StepError, match="was run"):
        runner.run(step)


def _fail(*_: object) -> None:
    raise StepError("was run")
