"""Every long command is terminated and killed at random moments, and ends as if it had not been."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.result import read_result
from edgeseq.formats.storage import sha256_file
from edgeseq.suite.times import read_records
from studies.reliability import record

from .commands import Command, abandoned_control_groups, drafts
from .conftest import TinyRun

# One after the other: each looks for control groups of processes that are gone.
pytestmark = [
    *(pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(900)),
    pytest.mark.xdist_group("signals"),
]

SEED = int(os.environ.get("EDGESEQ_FAULTS_SEED", "17"))
TERMINATED = 128 + signal.SIGTERM


def _disturb(
    name: str,
    command: Command,
    *,
    signals: int,
    seconds: float,
    folder: Path,
    check: Callable[[], object],
) -> None:
    """Sends that many signals, half of them SIGTERM, within the first `seconds` of a run each."""
    rng = random.Random(SEED + signals)  # noqa: S311 - moments, not a secret
    sent = 0
    for _ in range(4 * signals):
        if sent == signals:
            record(f"signals sent to `edgeseq {name}`", sent)
            return
        number = (signal.SIGTERM, signal.SIGKILL)[sent % 2]
        before = set(drafts(folder))  # of processes that were killed
        code = command.run_and_signal(number, rng.uniform(0.05, seconds))
        assert not command.wait_for_processes(), "processes outlived the command"
        if code in (None, 0):
            seconds *= 0.8  # it was faster than before, and at most had to clean up
            continue
        sent += 1
        check()
        if number == signal.SIGTERM:
            # Before Python's first line has run, the signal ends it at once.
            assert code in (TERMINATED, -signal.SIGTERM)
            assert set(drafts(folder)) <= before
    pytest.fail(f"only {sent} of {signals} signals arrived in time")


def _finish(command: Command, *folders: Path) -> None:
    """An undisturbed run: nothing that the others began may be left."""
    done = command.run()
    assert done.returncode == 0, done.stderr
    assert not command.wait_for_processes()
    assert not drafts(*folders)
    assert not list(command.scratch.iterdir())


def _seconds(command: Command) -> float:
    began = time.monotonic()
    done = command.run()
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def test_convert(tiny_run: TinyRun, tmp_path: Path, scratch: Path) -> None:
    out = tmp_path / "out" / "bundle"
    command = Command(
        ["convert", tiny_run.model, *tiny_run.data_options, "--out", out, "--overwrite"], scratch
    )
    seconds = _seconds(command)
    expected = sha256_file(out / "model.tflite")

    def check() -> None:
        # The old bundle or the new one, whole, at any moment.
        assert read_bundle(out).manifest.files["model.tflite"].sha256 == expected

    _disturb("convert", command, signals=20, seconds=seconds, folder=out.parent, check=check)
    _finish(command, tmp_path)
    check()


def test_report(tiny_run: TinyRun, tmp_path: Path, scratch: Path) -> None:
    out = tmp_path / "out" / "report"
    command = Command(["report", tiny_run.root / "result.json", "--out", out], scratch)
    seconds = _seconds(command)
    summary = (out / "summary.json").read_text()

    def check() -> None:
        assert (out / "summary.json").read_text() == summary
        assert (out / "report.html").read_text().rstrip().endswith("</html>")

    _disturb("report", command, signals=16, seconds=seconds, folder=out.parent, check=check)
    _finish(command, tmp_path)
    check()


def test_bench(tiny_run: TinyRun, tmp_path: Path, scratch: Path) -> None:
    out = tmp_path / "out" / "result.json"
    out.parent.mkdir()
    settings = ("--quick", "--no-working-memory", "--memory", "1GB")
    command = Command(["bench", tiny_run.bundle, *settings, "--out", out], scratch)
    seconds = _seconds(command)
    expected = [run.predictions for run in read_result(out).runs]

    def check() -> None:
        assert [run.predictions for run in read_result(out).runs] == expected

    _disturb("bench", command, signals=12, seconds=seconds, folder=out.parent, check=check)
    _finish(command, tmp_path)
    check()
    assert not abandoned_control_groups()


def test_suite(tiny_run: TinyRun, tmp_path: Path, scratch: Path) -> None:
    root = tmp_path / "out"
    command = Command(["run", tiny_run.suite, "--out", root, "--json"], scratch)
    rng = random.Random(SEED)  # noqa: S311 - moments, not a secret
    sent = 0
    # Steps that finished are kept from one signal to the next: each step is disturbed in turn.
    records = read_records(tiny_run.root)
    logs = [root / "log" / f"{step.name}.log" for step in records]
    for step, log, next_log in zip(records, logs, [*logs[1:], None], strict=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for path in filter(None, (log, next_log)):
                path.unlink(missing_ok=True)
            delay_s = rng.uniform(0, step.seconds)
            code = command.run_and_signal(
                number, delay_s, after=log.exists, until=next_log and next_log.exists
            )
            assert not command.wait_for_processes(), "processes outlived the command"
            sent += code not in (None, 0)  # after its end it cleans up and exits as ever
            if number == signal.SIGTERM and code not in (None, 0):
                assert code in (TERMINATED, -signal.SIGTERM)
                assert not drafts(root)
    assert sent >= 2 * len(records) - 3  # the last step may be over before its signal
    record("signals sent to `edgeseq run`", sent)
    _finish(command, root)
    tiny_run.check_equal(root)
    assert not abandoned_control_groups()
    again = command.run()
    steps = json.loads(again.stdout)["steps"]
    assert [step["step"] for step in steps if not step["reused"]] == ["data"]
