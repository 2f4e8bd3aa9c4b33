"""Steps that build on each other, two at a time, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeseq.errors import DataError, StepError
from edgeseq.progress import ProgressUpdate
from edgeseq.suite.scheduler import run_steps
from edgeseq.suite.steps import Kind, Step, StepRecord
from edgeseq.suite.times import busy_seconds, peak_memory_bytes, read_records

CHILD = """
import os, signal, sys, time
from pathlib import Path
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobChannel, JobFailure, JobMessage
side = JobChannel()
at_work = Path("at-work")
at_work.mkdir(exist_ok=True)
mine = at_work / side.job.arguments["step"]
mine.write_text(str(os.getpid()))
wait_for = side.job.arguments.get("wait_for")
try:
    while wait_for and not Path(wait_for).exists():
        time.sleep(0.01)
    others = []
    if side.job.arguments.get("alone"):
        others = sorted(path.name for path in at_work.iterdir() if path != mine)
    if side.job.name == "fail":
        side.send(JobMessage(failure=JobFailure("DataError", "a.csv:3: empty text")))
        time.sleep(60)
    if side.job.name == "wait":
        time.sleep(60)
    side.report(ProgressUpdate(side.job.arguments["step"], 1, 1))
    mine.unlink()
    Path(side.job.arguments["step"]).touch()
    side.send(JobMessage(answer={"others": others}, peak_memory_bytes=5))
except KeyboardInterrupt:
    time.sleep(0.2)
    Path(side.job.arguments["step"] + "-cleaned").touch()
"""
COMMAND = (sys.executable, "-c", CHILD)


def make_step(
    name: str,
    root: Path = Path(),
    *,
    job: str = "work",
    kind: Kind = "other",
    after: tuple[Step, ...] = (),
    **arguments: Any,
) -> Step:
    return Step(
        name=name,
        title=name,
        job=job,
        arguments={"step": name, **arguments},
        output=root / name,
        after=after,
        kind=kind,
    )


def run(steps: Sequence[Step], root: Path, *, workers: int = 2) -> dict[str, StepRecord]:
    records = {}
    run_steps(
        steps,
        root,
        finished=(),
        progress=lambda step: lambda update: None,
        on_finished=lambda step, record: records.update({step.name: record}),
        workers=workers,
        command=COMMAND,
    )
    return records


def test_one_training_at_a_time_with_other_steps_beside_it(tmp_path: Path) -> None:
    # The conversion looks around once the first has begun, which ends once the conversion has; the
    # second waits although it comes before the conversion.
    first = make_step("first", tmp_path, kind="train", wait_for="convert")
    second = make_step("second", tmp_path, kind="train", alone=True)
    convert = make_step("convert", tmp_path, alone=True, wait_for="at-work/first")
    records = run([first, second, convert], tmp_path)
    assert list(records)[-1] == "second"
    assert records["convert"].answer == {"others": ["first"]}
    assert records["second"].answer == {"others": []}


def test_a_measuring_step_runs_alone_and_last(tmp_path: Path) -> None:
    measures = [make_step(name, tmp_path, kind="measure", alone=True) for name in ("m", "n")]
    others = [make_step(name, tmp_path) for name in ("a", "b", "c")]
    records = run([*measures, *others], tmp_path)
    assert set(list(records)[3:]) == {"m", "n"}  # either may take the lock first
    assert all(records[step.name].answer == {"others": []} for step in measures)


def test_steps_run_beside_each_other_and_the_measuring_one_alone(tmp_path: Path) -> None:
    bert = make_step("bert", tmp_path, kind="train")
    # Neither of these two ends before the other one has begun.
    lstm = make_step("lstm", tmp_path, kind="train", after=(bert,), wait_for="at-work/convert-bert")
    convert = make_step("convert-bert", tmp_path, after=(bert,), wait_for="lstm")
    last = make_step("convert-lstm", tmp_path, after=(lstm,))
    bench = make_step("bench", tmp_path, kind="measure", after=(convert, last), alone=True)
    report = make_step("report", tmp_path, after=(bench,))
    steps = [bert, lstm, convert, last, bench, report]
    records = run(steps, tmp_path)
    assert set(records) == {step.name for step in steps}
    assert records["bench"].answer == {"others": []}
    for step in steps:
        assert step.finished(tmp_path) == records[step.name]
        for needed in step.after:
            before = records[needed.name]
            assert before.began_unix_s is not None
            assert (records[step.name].began_unix_s or 0) >= before.began_unix_s
    read = read_records(tmp_path)
    assert read[0].name == "bert"
    assert [record.name for record in read][-2:] == ["bench", "report"]
    assert 0 < busy_seconds(read) < sum(record.seconds for record in read)
    assert peak_memory_bytes(read) == 10


def test_one_worker_runs_them_one_after_the_other(tmp_path: Path) -> None:
    steps = [make_step(name, tmp_path, alone=True) for name in ("a", "b", "c")]
    records = run(steps, tmp_path, workers=1)
    assert list(records) == ["a", "b", "c"]
    assert all(record.answer == {"others": []} for record in records.values())


def test_progress_of_both_is_heard(tmp_path: Path) -> None:
    heard: list[tuple[str, ProgressUpdate]] = []
    run_steps(
        [make_step(name, tmp_path) for name in ("a", "b")],
        tmp_path,
        finished=(),
        progress=lambda step: lambda update: heard.append((step.name, update)),
        on_finished=lambda step, record: None,
        command=COMMAND,
    )
    assert sorted(heard, key=lambda one: one[0]) == [
        ("a", ProgressUpdate("a", 1, 1)),
        ("b", ProgressUpdate("b", 1, 1)),
    ]


def test_when_a_step_fails_the_other_is_ended_cleanly_and_what_finished_is_kept(
    tmp_path: Path,
) -> None:
    before = make_step("before", tmp_path)
    fails = make_step("fails", tmp_path, job="fail", after=(before,), wait_for="at-work/waits")
    waits = make_step("waits", tmp_path, job="wait", after=(before,))
    never = make_step("never", tmp_path, after=(fails,))
    with pytest.raises(DataError, match=r"^a\.csv:3: empty text$"):
        run([before, fails, waits, never], tmp_path)
    assert (tmp_path / "waits-cleaned").exists()
    assert before.finished(tmp_path) is not None
    assert [record.name for record in read_records(tmp_path)] == ["before"]
    assert not (tmp_path / "never").exists()


def test_a_step_that_waits_for_none_of_them_is_an_error(tmp_path: Path) -> None:
    lost = make_step("lost", tmp_path, after=(make_step("elsewhere"),))
    with pytest.raises(StepError, match="needs"):
        run([lost], tmp_path)


def test_an_interrupt_of_the_parent_alone_ends_both_steps(tmp_path: Path) -> None:
    parent = f"""
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("steps", {__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
root = Path({str(tmp_path)!r})
try:
    module.run([module.make_step(name, root, job="wait") for name in ("a", "b")], root)
except KeyboardInterrupt:
    sys.exit(130)
"""
    # Whoever starts the tests in the background has them ignore the signal.
    command = ["env", "--default-signal=INT", sys.executable, "-c", parent]
    process = subprocess.Popen(command, start_new_session=True)
    pids = []
    for name in ("a", "b"):
        mark = tmp_path / "at-work" / name
        while not (mark.exists() and mark.read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        pids.append(int(mark.read_text()))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130  # the steps themselves would take a minute
    for name, pid in zip(("a", "b"), pids, strict=True):
        assert (tmp_path / f"{name}-cleaned").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not (tmp_path / "steps").exists()


def test_times_of_overlapping_and_resumed_steps() -> None:
    def record(begin: float | None, seconds: float, peak: int | None) -> StepRecord:
        return StepRecord("s", "f", seconds, {}, peak, begin)

    steps = [
        record(100.0, 10.0, 5),
        record(105.0, 10.0, 7),
        record(110.0, 1.0, None),
        record(1000.0, 2.0, 9),  # after a pause
    ]
    assert busy_seconds(steps) == pytest.approx(17)
    assert peak_memory_bytes(steps) == 12
    assert busy_seconds([*steps, record(None, 4.0, 30)]) == pytest.approx(21)
    assert peak_memory_bytes([*steps, record(None, 4.0, 30)]) == 30
    assert busy_seconds([]) == 0
    assert peak_memory_bytes([]) == 0
