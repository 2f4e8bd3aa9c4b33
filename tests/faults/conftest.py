"""An undisturbed run of a tiny suite: what the disturbed ones must end with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeseq.formats.result import read_result
from edgeseq.formats.storage import sha256_file

from ..conftest import INVENTED_SUITE, invented_rows, write_csv
from .commands import Command

SUITE = (
    INVENTED_SUITE
    + """\
recipes = ["float32"]
train = {{ epochs = 1, learning_rate = 5e-3, frozen_layers = 0 }}

[[model]]
name = "tiny-lstm"
arch = "lstm"
teacher = "tiny-bert"
recipes = ["dynamic_wi8_afp32"]
train = {{ epochs = 1, batch_size = 32, hidden_size = 16, embedding_size = 16 }}

[bench]
quick = true
working_memory = false
runners = ["native"]

[report]
budget = "memory=2GB p95=5s"
"""
)


@dataclass(frozen=True)
class TinyRun:
    """A finished suite with its corpus and file."""

    suite: Path
    corpus: Path
    root: Path

    @property
    def model(self) -> Path:
        return self.root / "models" / "tiny-lstm"

    @property
    def bundle(self) -> Path:
        return self.root / "bundles" / "tiny-lstm-dynamic_wi8_afp32"

    def check_equal(self, root: Path) -> None:
        """Whether another run of the suite ended with the same weights, files and predictions."""
        for path in (
            *("models/tiny-bert/weights.safetensors", "models/tiny-lstm/weights.safetensors"),
            *("bundles/tiny-bert-float32/model.tflite", "data.json"),
            "bundles/tiny-lstm-dynamic_wi8_afp32/model.tflite",
        ):
            assert sha256_file(root / path) == sha256_file(self.root / path), path
        ours, theirs = (read_result(folder / "result.json").runs for folder in (root, self.root))
        assert [run.predictions for run in ours] == [run.predictions for run in theirs]
        rows = json.loads((root / "report" / "summary.json").read_text())["rows"]
        assert len(rows) == len(ours)

    @property
    def data_options(self) -> list[str]:
        return ["--data", str(self.corpus / "train.csv")]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, small_bert_checkpoint: Path) -> TinyRun:
    folder = tmp_path_factory.mktemp("tiny")
    for seed, (part, count) in enumerate((("train", 200), ("dev", 40), ("test", 40))):
        write_csv(folder / f"{part}.csv", invented_rows(count, seed=seed))
    suite = folder / "invented.toml"
    suite.write_text(SUITE.format(corpus=folder, checkpoint=small_bert_checkpoint))
    scratch = tmp_path_factory.mktemp("scratch")
    root = folder / "out"
    done = Command(["run", suite, "--out", root], scratch).run()
    assert done.returncode == 0, done.stderr
    assert not list(scratch.iterdir())
    return TinyRun(suite, folder, root)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for temporary files, which must be empty again in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder
