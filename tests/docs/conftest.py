"""A folder with what the examples of README and docs read: a model, its data, bundles, results."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgeseq as es
from edgeseq_benchmarks.bench import runner

KERAS_MODEL = """
import sys
import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.layers.Embedding(int(sys.argv[1]), 8),
    keras.layers.LSTM(8),
    keras.layers.Dense(3, activation="softmax"),
])
model.build((None, None))
model.save(sys.argv[2])
"""


BRIEF = runner.Durations(queries_s=0.2, limited_s=1.0, curve_s=1.0, search_s=0.0)


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory, invented_corpus: Path) -> Path:
    """`sentiment.keras`, `tokenizer.json`, `reviews.csv`, `mine.csv`, bundles and results."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder = tmp_path_factory.mktemp("examples")
    for name in ("reviews.csv", "mine.csv"):
        shutil.copy(invented_corpus / "train.csv", folder / name)
    words = re.findall(r"[a-z]+", (folder / "reviews.csv").read_text(encoding="utf-8").lower())
    vocabulary = ["[PAD]", "[UNK]", *sorted(set(words))]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    python(folder, "-c", KERAS_MODEL, str(len(vocabulary)), "sentiment.keras")
    source = ("sentiment.keras", "--tokenizer", "tokenizer.json", "--data", "reviews.csv")
    edgeseq(folder, "convert", *source, "--out", "bundles/lstm")
    shutil.copytree(folder / "bundles/lstm", folder / "bundles/bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "QUICK", BRIEF)
        es.bench([folder / "bundles/lstm"], quick=True).save(folder / "lstm.json")
    for name in ("result", "old", "new", "before", "after", "kitchen", "pi4"):
        shutil.copy(folder / "lstm.json", folder / f"{name}.json")
    return folder


@pytest.fixture
def brief_quick_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`quick=True` of an example takes a moment; its figures are not looked at."""
    monkeypatch.setattr(runner, "QUICK", BRIEF)


def edgeseq(folder: Path, *arguments: str) -> None:
    """Runs the command line in `folder`; fails with its messages."""
    python(folder, "-m", "edgeseq", *arguments)


def python(folder: Path, *arguments: str) -> None:
    """Runs Python in `folder`; fails with its messages."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
