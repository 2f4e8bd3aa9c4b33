"""What a suite keeps and what it replaces: only what its own steps wrote."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from edgeseq.errors import OutputError
from edgeseq.suite.engine import SuiteOptions, run_suite
from edgeseq.suite.output_folder import claim_folder
from edgeseq.suite.outputs import read_journal
from edgeseq.suite.scheduler import run_steps
from edgeseq.suite.steps import Step

SUITE = """
schema_version = 1
name = "tickets"
task = "sentiment"
data = { name = "customer-feedback" }
[[model]]
name = "a"
arch = "lstm"
"""
WRITER = """
import os, signal
from pathlib import Path
from edgeseq.formats.storage import new_folder, write_text
from edgeseq.subprocesses.job_processes import JobChannel, JobMessage
from edgeseq.suite.outputs import write_journal
side = JobChannel()
write_journal(Path(side.job.journal), Path(side.job.output))
with new_folder(Path(side.job.output), overwrite=True) as draft:
    write_text(draft / "weights", side.job.arguments["content"])
if side.job.name == "die":
    os.kill(os.getpid(), signal.SIGKILL)
side.send(JobMessage(answer={}))
"""


def _step(root: Path, content: str = "1", job: str = "write") -> Step:
    return Step("train-a", "a", job, {"content": content}, root / "models" / "a")


def _run(step: Step, root: Path) -> None:
    run_steps(
        [step],
        root,
        finished=(),
        progress=lambda _: lambda _: None,
        on_finished=lambda *_: None,
        command=(sys.executable, "-c", WRITER),
    )


def test_a_folder_of_the_users_is_refused_and_nothing_in_it_is_touched(tmp_path: Path) -> None:
    suite = tmp_path / "tickets.toml"
    mine = {"tickets.toml": SUITE, "suite.toml": "# mine", "result.json": "{}"}
    for name, content in mine.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "models" / "a").mkdir(parents=True)
    (tmp_path / "models" / "a" / "mine").touch()
    with pytest.raises(OutputError, match="not a suite's output"):
        run_suite(suite, tmp_path, SuiteOptions())
    assert {name: (tmp_path / name).read_text() for name in mine} == mine
    assert (tmp_path / "models" / "a" / "mine").exists()


def test_an_edited_copy_of_the_suite_is_not_overwritten(tmp_path: Path) -> None:
    suite, root = tmp_path / "tickets.toml", tmp_path / "out"
    suite.write_text(SUITE)
    claim_folder(root, suite)
    suite.write_text(SUITE + "# changed")
    claim_folder(root, suite)
    claim_folder(root, root / "suite.toml")
    (root / "suite.toml").write_text(SUITE + "# my notes")
    with pytest.raises(OutputError, match="was edited"):
        claim_folder(root, suite)
    claim_folder(root, root / "suite.toml")  # the edited copy may be run
    assert "# my notes" in (root / "suite.toml").read_text()


def test_a_marker_that_another_program_wrote_is_none(tmp_path: Path) -> None:
    suite = tmp_path / "tickets.toml"
    suite.write_text(SUITE)
    root = tmp_path / "out"
    root.mkdir()
    (root / "edgeseq-run.json").write_text('{"mine": true}')
    with pytest.raises(OutputError, match="not a suite's output"):
        claim_folder(root, suite)


@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "changed"])
def test_a_step_is_finished_only_while_its_output_is_as_it_was_written(
    tmp_path: Path, damage: str
) -> None:
    step = _step(tmp_path, "0123456789")
    _run(step, tmp_path)
    assert step.finished(tmp_path) is not None
    weights = step.output / "weights"
    os.utime(weights, (1, 1))  # copied elsewhere and back
    assert step.finished(tmp_path) is not None
    if damage == "removed":
        shutil.rmtree(step.output)
    elif damage == "emptied":
        weights.unlink()
    else:
        weights.write_text("1" if damage == "cut" else "9876543210")
    assert step.finished(tmp_path) is None
    if damage in ("removed", "emptied"):
        step.check_output(tmp_path)
        _run(step, tmp_path)
        assert step.finished(tmp_path) is not None
    else:
        with pytest.raises(OutputError, match="was changed after a step wrote it"):
            step.check_output(tmp_path)


def test_a_step_replaces_what_it_wrote_with_other_settings(tmp_path: Path) -> None:
    _run(_step(tmp_path, "1"), tmp_path)
    other = _step(tmp_path, "2")
    assert other.finished(tmp_path) is None
    other.check_output(tmp_path)
    (other.output / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt: is in the way, and no step wrote it"):
        other.check_output(tmp_path)


def test_an_output_in_the_place_of_a_step_is_refused(tmp_path: Path) -> None:
    step = _step(tmp_path)
    step.output.mkdir(parents=True)
    step.check_output(tmp_path)
    (step.output / "weights").write_text("1")
    with pytest.raises(OutputError, match="no step wrote it"):
        step.check_output(tmp_path)
    shutil.rmtree(step.output)
    step.output.symlink_to(tmp_path)
    with pytest.raises(OutputError, match="no step wrote it"):
        step.check_output(tmp_path)


def test_a_kill_between_output_and_record_is_resumed(tmp_path: Path) -> None:
    step = _step(tmp_path, job="die")
    with pytest.raises(Exception, match="SIGKILL"):
        _run(step, tmp_path)
    assert (step.output / "weights").read_text() == "1"
    assert step.finished(tmp_path) is None
    step.check_output(tmp_path)
    [noted] = read_journal(step.journal_path(tmp_path))
    assert noted.path == "models/a/weights"
    _run(_step(tmp_path), tmp_path)
    assert not step.journal_path(tmp_path).exists()
    record = json.loads(step.record_path(tmp_path).read_text())
    assert [file["path"] for file in record["outputs"]] == ["models/a/weights"]


def test_a_step_of_a_lost_device_runs_again_over_what_it_wrote(tmp_path: Path) -> None:
    step = _step(tmp_path)
    _run(step, tmp_path)
    step.expire(tmp_path)
    assert step.finished(tmp_path) is None
    step.check_output(tmp_path)
