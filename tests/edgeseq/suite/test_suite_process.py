"""A step's process: answers, errors, deaths and orphans, with real children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeseq.errors import DataError, OutputError, StepError
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobProcess, JobRequest, run_job, stop_all

CHILD = """
import atexit, os, signal, sys, time
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobChannel, JobFailure, JobMessage
side = JobChannel()
name = side.job.name
print("chatter of a library")
os.write(1, b"chatter of native code\\n")
if name == "answer":
    side.report(ProgressUpdate("work", 1, 2))
    side.send(JobMessage(answer={"given": side.job.arguments}, peak_memory_bytes=5))
elif name == "fail":
    side.send(JobMessage(failure=JobFailure("DataError", "a.csv:3: empty text")))
elif name == "odd":
    side.send(JobMessage(failure=JobFailure("Path", "what is this")))
elif name == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif name == "exit":
    sys.exit(7)
elif name == "wait":
    open(side.job.arguments["begun"], "w").write(str(os.getpid()))
    time.sleep(60)
elif name == "clean":
    try:
        open(side.job.arguments["begun"], "w").write(str(os.getpid()))
        time.sleep(60)
    finally:
        time.sleep(0.3)
        open(side.job.arguments["cleaned"], "w").close()
elif name == "clean at exit":
    def clean():
        time.sleep(0.3)
        open("cleaned", "w").close()
    atexit.register(clean)
    side.send(JobMessage(answer={}))
elif name == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    open(side.job.arguments["begun"], "w").write(str(os.getpid()))
    time.sleep(60)
"""


def _begun(path: Path) -> int:
    """The process id that a child wrote, once it did."""
    for _ in range(6000):
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.01)
    pytest.fail("the child did not begin")


def _start(name: str, tmp_path: Path, **arguments: str) -> JobProcess:
    return JobProcess(
        JobRequest(name, {"begun": str(tmp_path / name), **arguments}),
        log=tmp_path / "step.log",
        cwd=tmp_path,
        command=(sys.executable, "-c", CHILD),
    )


def _run(name: str, tmp_path: Path, **arguments: str) -> tuple[dict[str, object], int | None]:
    return run_job(
        JobRequest(name, arguments),
        log=tmp_path / "log" / "step.log",
        cwd=tmp_path,
        command=(sys.executable, "-c", CHILD),
    )


def test_what_a_child_cleans_up_after_its_answer_is_not_interrupted(tmp_path: Path) -> None:
    _run("clean at exit", tmp_path)
    assert (tmp_path / "cleaned").exists()


def test_answer_progress_and_peak_come_back_and_chatter_goes_to_the_log(tmp_path: Path) -> None:
    heard: list[ProgressUpdate] = []
    answer, peak = run_job(
        JobRequest("answer", {"x": 1}),
        log=tmp_path / "step.log",
        cwd=tmp_path,
        progress=heard.append,
        command=(sys.executable, "-c", CHILD),
    )
    assert answer == {"given": {"x": 1}}
    assert peak == 5
    assert heard == [ProgressUpdate("work", 1, 2)]
    log = (tmp_path / "step.log").read_text()
    assert "chatter of a library" in log
    assert "chatter of native code" in log


def test_large_questions_and_answers_arrive_whole(tmp_path: Path) -> None:
    text = "word " * 100_000  # more than a pipe holds
    answer, _ = _run("answer", tmp_path, text=text)
    assert answer == {"given": {"text": text}}


def test_the_childs_error_is_raised_with_its_class_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^a\.csv:3: empty text$"):
        _run("fail", tmp_path)


def test_a_name_that_is_no_error_class_is_a_step_error(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="what is this"):
        _run("odd", tmp_path)


@pytest.mark.parametrize(("name", "cause"), [("crash", "SIGSEGV"), ("exit", "exit status 7")])
def test_a_child_that_dies_is_named_with_its_log(tmp_path: Path, name: str, cause: str) -> None:
    with pytest.raises(StepError, match=cause) as caught:
        _run(name, tmp_path)
    assert "step.log" in str(caught.value)


def test_a_log_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(OutputError):
        _run("answer", tmp_path)


def test_cleaning_up_is_not_interrupted_again(tmp_path: Path) -> None:
    # Ctrl-C reaches a child from the terminal and from its parent.
    child = _start("clean", tmp_path, cleaned=str(tmp_path / "cleaned"))
    pid = _begun(tmp_path / "clean")
    os.kill(pid, signal.SIGINT)
    time.sleep(0.1)
    child.stop()
    assert (tmp_path / "cleaned").exists()


def test_children_that_do_not_listen_are_killed_within_one_grace_period(tmp_path: Path) -> None:
    children = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        children.append(_start("deaf", folder))
    pids = [_begun(tmp_path / str(number) / "deaf") for number in range(2)]
    stop_all(children, grace_s=0.2)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    parent = f"""
import sys
from pathlib import Path
from edgeseq.subprocesses.job_processes import JobRequest, run_job
run_job(JobRequest("wait", {{"begun": {str(begun)!r}}}), log=Path({str(tmp_path / "log")!r}),
        cwd=Path({str(tmp_path)!r}), command=(sys.executable, "-c", {CHILD!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    while not (begun.exists() and begun.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    child = int(begun.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(1000):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if (Path(f"/proc/{child}/stat").read_text().split()[2]) == "Z":
            return  # ended; nobody has collected it yet
        time.sleep(0.01)
    pytest.fail("the child outlived its parent")
