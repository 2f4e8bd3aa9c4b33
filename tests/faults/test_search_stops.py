"""A search of real trainings in real processes, stopped and resumed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeseq.formats.search_record import read_search_record

TRIALS = 3


def search_command(corpus: Path, checkpoint: Path, out: Path) -> list[str]:
    splits = {"--data": "train", "--dev": "dev", "--test": "test"}
    files = [word for name, part in splits.items() for word in (name, str(corpus / f"{part}.csv"))]
    return [
        *(sys.executable, "-m", "edgeseq", "search", "sentiment", *files),
        *("--budget", "memory=64MB p95=50ms size=20MB", "--trials", str(TRIALS)),
        *("--family", "bag", "--epochs", "1", "--checkpoint", str(checkpoint), "--quick"),
        *("--out", str(out)),
    ]


def step_files(out: Path) -> dict[str, int]:
    """When each finished step of a trial was recorded."""
    names = ("untrained-*.json", "cost-*.json", "train-*.json")
    return {
        path.name: path.stat().st_mtime_ns for name in names for path in (out / "steps").glob(name)
    }


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_search_that_is_stopped_twice_repeats_nothing(
    invented_corpus: Path, small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    command = search_command(invented_corpus, small_bert_checkpoint, out)
    finished: dict[str, int] = {}
    for pattern in ("cost-*.json", "train-*.json"):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = set((out / "steps").glob(pattern))
        while child.poll() is None and not set((out / "steps").glob(pattern)) - known:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=60) == 128 + signal.SIGTERM
        after = step_files(out)
        assert finished.items() <= after.items(), "a finished step was run again"
        finished = after
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    # 3: other programs used the machine, so that no measurement is valid.
    assert ended.returncode in (0, 3), ended.stderr
    assert finished.items() <= step_files(out).items(), "a finished step was run again"
    record = read_search_record(out / "search.json")
    assert len(record.trials) == TRIALS
    assert [trial.outcome for trial in record.trials].count("trained") >= 1
    summary = json.loads((out / "report" / "summary.json").read_text("utf-8"))
    assert {row["bundle"] for row in summary["rows"]} == set(record.finalists)
    assert "Search" in (out / "report" / "report.md").read_text("utf-8")
