"""Which result files are watched below a path, as a run writes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import edgeseq
from edgeseq.errors import InputError
from edgeseq.formats.storage import write_json
from edgeseq.suite.output_folder import MARKER, RunMarker
from edgeseq.suite.steps import StepRecord
from edgeseq.suite.watched_results import WatchedResults

SUITE = """
schema_version = 1
name = "mine"
task = "pos"

[data]
name = "ud-ewt"

[[model]]
name = "lstm"
arch = "lstm"

[report]
budget = "memory=64MB"
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    (root / "steps").mkdir(parents=True)
    write_json(root / MARKER, RunMarker(edgeseq.__version__, ()))
    (root / "suite.toml").write_text(SUITE)
    return root


def write(path: Path, time_s: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    os.utime(path, (time_s, time_s))


def watched_names(path: Path) -> list[str]:
    return [str(file.relative_to(path)) for file, _, _ in WatchedResults([path]).versions()]


def test_a_suite_gives_its_newest_result_of_each_device_its_budget_and_steps(output: Path) -> None:
    watched = WatchedResults([output])
    assert (watched.versions(), watched.finished_steps(), watched.baseline) == ((), [], None)
    assert watched.budget == "memory=64MB"
    write(output / "measured.json", 100)
    assert watched_names(output) == ["measured.json"]
    write(output / "result.json", 101)
    assert watched_names(output) == ["result.json"]
    write(output / "measured.json", 102)  # measured again
    assert watched_names(output) == ["measured.json"]
    for name, measured_s, run_s in (("kitchen", 100, 101), ("pi4", 102, 101)):
        write(output / "measured" / f"{name}.json", measured_s)
        write(output / "results" / f"{name}.json", run_s)
    assert watched_names(output)[1:] == ["results/kitchen.json", "measured/pi4.json"]
    record = StepRecord("train-lstm", "f", 1.0, {"note": "half"}, began_unix_s=1.0)
    write_json(output / "steps" / "train-lstm.json", record)
    assert watched.finished_steps() == [record]


def test_a_folder_gives_its_files_and_no_unfinished_one_that_was_measured_again(
    tmp_path: Path,
) -> None:
    for name in ("fleet-a.json", "fleet-a-unfinished.json", "fleet-b-unfinished.json", "note.txt"):
        write(tmp_path / name, 100)
    assert watched_names(tmp_path) == ["fleet-a.json", "fleet-b-unfinished.json"]
    assert WatchedResults([tmp_path]).budget == ""


def test_a_file_may_be_missing_but_not_its_folder(tmp_path: Path) -> None:
    assert WatchedResults([tmp_path / "later.json"]).versions() == ()
    with pytest.raises(InputError, match="no such folder"):
        WatchedResults([tmp_path / "typo" / "later.json"])
