"""The safety net: no byte of a .tflite file and no derived number changes by accident."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeseq.errors import ConversionError
from studies.safety_net.command import pinned_environment, read_stored
from studies.safety_net.entries import Entries, differences, file_hash, numbers

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_hash_and_number_is_as_stored() -> None:
    """Where a change is meant: `python -m studies.safety_net --write`, and name it."""
    folders = [str(ROOT), str(ROOT / "converters"), str(ROOT / "benchmarks")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    check = subprocess.run(
        [sys.executable, "-m", "studies.safety_net", "--check"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, f"{check.stdout[:4000]}\n{check.stderr[-2000:]}"


def test_the_stored_entries_cover_files_and_numbers() -> None:
    stored = read_stored()
    files = [value for key, value in stored.items() if key.startswith(("tflite/", "converted/"))]
    hashes = [value for value in files if not str(value).startswith("refused")]
    assert all(len(str(value)) == 64 for value in hashes)
    assert len(set(hashes)) > 500
    assert not any(
        str(value).startswith("refused")
        for key, value in stored.items()
        if key.startswith("converted/")
    )
    kinds = {key.partition("/")[0] for key in stored}
    assert kinds == {
        "compare", "converted", "evidence", "metrics", "percentiles", "recommend", "report",
        "statistics", "tflite",
    }  # fmt: skip


def test_differences_are_named() -> None:
    expected: Entries = {"a": 1.0, "b": "x", "c": [1, None, 2.5], "d": True}
    assert not list(differences(expected, {**expected, "a": 1.0 + 1e-12}))
    changed: Entries = {"a": 1.001, "b": "y", "c": [1, None, 2.6], "e": 1}
    assert [line.partition(":")[0] for line in differences(expected, changed)] == [
        "differs", "differs", "differs", "missing", "new",
    ]  # fmt: skip


def test_values_become_entries() -> None:
    values = {"low": float("inf"), "pair": (1, (None, 0.1 + 0.2)), "more": {"text": "a"}}
    assert numbers("x", values) == {"x/low": "inf", "x/pair": [1, None, 0.3], "x/more/text": "a"}


def test_a_refusal_is_recorded_by_its_class() -> None:
    def refuse() -> bytes:
        raise ConversionError("no such recipe")

    assert file_hash(refuse) == "refused: ConversionError"
    assert len(file_hash(lambda: b"TFL3")) == 64


def test_the_computation_is_held_to_one_thread() -> None:
    assert pinned_environment()["OPENBLAS_NUM_THREADS"] == "1"
