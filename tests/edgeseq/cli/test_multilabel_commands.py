"""The commands with any number of labels per text."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.formats.trained_model import write_model_folder

from ...converters.conftest import LABELS, make_dataset, make_lstm
from ...multilabel_data import as_multilabel, write_table

TEXTS = ("the teapot was slow", "a lovely garden")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, and data for it."""
    folder = tmp_path_factory.mktemp("commands")
    model = make_lstm()
    manifest = msgspec.structs.replace(model.manifest, task="multilabel-classification")
    write_model_folder(folder / "model", msgspec.structs.replace(model, manifest=manifest))
    data = as_multilabel(make_dataset(60))
    rows = (
        msgspec.json.encode(example) + b"\n"
        for part in (data.train, data.dev, data.test)
        for example in part
    )
    (folder / "data.jsonl").write_bytes(b"".join(rows))
    return folder


def run(*arguments: str | Path, fails: bool = False) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert (result.exit_code != 0) == fails, result.output
    return str(result.exception) if fails else result.output


def test_convert_inspect_and_predict_show_thresholds_and_labels(folder: Path) -> None:
    common = ("convert", folder / "model", "--data", folder / "data.jsonl")
    shown = run(*common, "--out", folder / "bundle", "--recipe", "float32", "--thresholds", "0.5")
    thresholds = ", ".join(f"{label} 0.5" for label in LABELS)
    assert thresholds in " ".join(shown.split())
    assert f"thresholds: {thresholds}" in run("inspect", folder / "bundle")
    predicted = msgspec.json.decode(run("predict", folder / "bundle", *TEXTS, "--json"))
    table = run("predict", folder / "bundle", *TEXTS)
    for answer in predicted:
        reached = [label for label, score in answer["scores"].items() if score >= 0.5]
        assert answer["labels"] == reached
        assert (";".join(reached) or "none") in table


def test_wrong_options_end_in_one_line(folder: Path) -> None:
    common = ("convert", folder / "model", "--data", folder / "data.jsonl", "--out", folder / "x")
    assert "does not say how thresholds" in run(*common, "--thresholds", "2", fails=True)
    another = run(*common, "--task", "text-classification", fails=True)
    assert "--task: the model was trained for another task" in another
    assert not (folder / "x").exists()


def test_data_of_another_task_can_be_named(tmp_path: Path) -> None:
    table = write_table(tmp_path / "parcels.csv")
    assert "parcels: multilabel-classification" in run("data", "show", table)
    assert "the label is empty" in run("data", "show", table, "--task", "sentiment", fails=True)
