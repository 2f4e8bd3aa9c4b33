"""A training that was killed goes on, and ends with the same weights as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq.datasets.registry import load_dataset
from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import read_model_folder
from edgeseq.progress import ProgressUpdate
from edgeseq_converters.training.checkpoints import (
    CheckpointFile,
    Snapshot,
    checkpoint_file,
    identity_of,
)
from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
from edgeseq_converters.training.trainer import train as train_model
from edgeseq_converters.training.trainer import train_to_completion

WORDS = ("good", "bad", "plain", "screen", "battery", "very", "not", "the", "of", "a")


def write_rows(path: Path) -> None:
    """A CSV of 150 invented texts: the class is said by one of its words."""
    generator = np.random.default_rng(0)
    lines = ["text,label"]
    for number in range(150):
        label = ("positive", "negative", "neutral")[number % 3]
        others = generator.choice(WORDS[3:], size=generator.integers(2, 9))
        lines.append(f"{' '.join([WORDS[number % 3], *others])} {number},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(data: Path, checkpoint: Path, out: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "edgeseq", "train", "sentiment", "--arch", "bert"),
        *("--data", str(data), "--checkpoint", str(checkpoint), "--out", str(out)),
        *(
            "--epochs",
            "2",
            "--set",
            "batch_size=4",
            "--set",
            "patience=9",
            "--checkpoint-interval",
            "0",
        ),
    ]


def test_killed_and_gone_on_with_equals_uninterrupted(
    small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    data, whole, killed = tmp_path / "rows.csv", tmp_path / "whole", tmp_path / "killed"
    write_rows(data)
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    parts = command(data, small_bert_checkpoint, killed)
    first = subprocess.Popen(
        parts, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = tmp_path / "killed.training.safetensors"
    writes: set[int] = set()
    while len(writes) < 12 and first.poll() is None:  # somewhere in the first epoch
        if state.exists():
            writes.add(state.stat().st_mtime_ns)
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    assert not killed.exists()
    again = subprocess.run(parts, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    settings = BertSettings(epochs=2, batch_size=4, patience=9)
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    expected = train_to_completion(load_dataset(str(data)), whole, settings, options)
    found = read_model_folder(killed)
    for name, array in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], array, err_msg=name)
    assert found.manifest.training.dev_scores == expected.manifest.training.dev_scores
    assert "resuming at step" in again.stderr
    assert not state.exists()


def test_an_interrupted_lstm_goes_on_and_ends_the_same(
    small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.csv")
    data = load_dataset(str(tmp_path / "rows.csv"))
    settings = LstmSettings(epochs=3, batch_size=8, hidden_size=8, embedding_size=8, patience=9)

    def train(out: Path, *, stop_at: float | None = None, interval_s: float | None = 0.0) -> Any:
        def listen(update: ProgressUpdate) -> None:
            notes.append(update.note)
            if update.stage.startswith("train") and update.done == stop_at:
                raise KeyboardInterrupt

        options = TrainerOptions(checkpoint=small_bert_checkpoint, checkpoint_interval_s=interval_s)
        return train_model(data, out, settings, options, progress=listen)

    notes: list[str] = []
    whole = train(tmp_path / "whole", interval_s=None)
    steps = -(-len(data.train) // 8)
    for stop_at in (steps // 2, steps + 3, 2 * steps):  # in and between epochs
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "out", stop_at=stop_at)
    again = train(tmp_path / "out")
    for name, array in whole.weights.items():
        np.testing.assert_array_equal(again.weights[name], array, err_msg=name)
    assert again.manifest.training.dev_scores == whole.manifest.training.dev_scores
    assert f"resuming at step {2 * steps:,}" in notes
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "rows.csv", "whole"]


def test_a_state_is_read_back_as_it_was(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "x.training.safetensors")
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([7], np.uint32)}
    file.write("me", Snapshot({"done": 3, "best": 0.1}, arrays))
    found = file.read("me")
    assert found is not None
    assert found.position == {"done": 3, "best": 0.1}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    assert file.read("somebody else") is None
    file.remove()
    assert file.read("me") is None


@pytest.mark.parametrize("content", [b"", b"garbage that is long enough", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_state_is_said_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.training.safetensors"
    file = CheckpointFile(path)
    path.write_bytes(content)
    if content.endswith(b"{}"):
        assert file.read("me") is None  # whole, but of another version
        return
    with pytest.raises(CheckpointError, match=r"is not a training checkpoint.*remove it") as caught:
        file.read("me")
    assert "\n" not in str(caught.value)


def test_writes_are_few(tmp_path: Path) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    file = CheckpointFile(tmp_path / "x", interval_s=10, clock=clock)
    assert not file.due
    now = 10.0
    assert file.due
    file.write("me", Snapshot({}, {"a": np.zeros(1, np.float32)}))  # takes a second by this clock
    now += 40
    assert not file.due  # 2 % of the time, not more
    now += 20
    assert file.due


def test_what_a_training_starts_from_is_its_identity() -> None:
    zeros = np.zeros((2, 2), np.float32)
    same = identity_of({"a": 1, "b": 2}, [zeros])
    assert identity_of({"b": 2, "a": 1}, [zeros.copy()]) == same
    others = [
        identity_of({"a": 1, "b": 3}, [zeros]),
        identity_of({"a": 1, "b": 2}, [zeros + 1]),
        identity_of({"a": 1, "b": 2}, [zeros.reshape(4)]),
        identity_of({"a": 1, "b": 2}, [zeros.astype(np.float64)]),
        identity_of({"a": 1, "b": 2}, [zeros, zeros]),
    ]
    assert len({same, *others}) == 6


def test_nothing_is_kept_unless_asked(tmp_path: Path) -> None:
    assert checkpoint_file(tmp_path / "out", interval_s=None) is None
    file = checkpoint_file(tmp_path / "out")
    assert file is not None
    assert file.path.parent == tmp_path
