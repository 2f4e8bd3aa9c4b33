"""What a teacher said in training: kept with what it belongs to, and used for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load, save

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import CheckpointError
from edgeseq.formats.train_logits import (
    FILE_NAME,
    of_data,
    read_train_logits,
    texts_sha256,
    write_train_logits,
)
from edgeseq.tasks.examples import Dataset, TextExample

LOGITS = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)


def make_data(*texts: str) -> Dataset:
    def part(name: str, given: tuple[str, ...]) -> list[TextExample]:
        return [
            TextExample(id=f"{name}{n}", text=text, label="good" if n else "bad")
            for n, text in enumerate(given)
        ]

    return make_dataset(
        "invented",
        "sentiment",
        ("bad", "good"),
        {
            "train": part("train", texts or ("A lamp.", "A tent.", "A kettle.")),
            "dev": part("dev", ("A router.",)),
            "test": part("test", ("A jacket.",)),
        },
        licence="",
        origin="",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    write_train_logits(tmp_path, of_data(make_data(), LOGITS))
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    logits = read_train_logits(folder, make_data())
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, LOGITS)


def test_no_file_is_no_logits(tmp_path: Path) -> None:
    assert read_train_logits(tmp_path, make_data()) is None


def test_other_data_other_order_and_other_weights_are_noticed(folder: Path) -> None:
    assert read_train_logits(folder, make_data("A lamp.", "A tent.")) is None
    data = make_data()
    turned = msgspec.structs.replace(data, train=data.train[::-1])
    assert turned.sha256 == data.sha256
    assert read_train_logits(folder, turned) is None
    (folder / "weights.safetensors").write_bytes(b"others")
    assert read_train_logits(folder, data) is None


def test_the_hash_of_texts_knows_where_each_ends() -> None:
    assert texts_sha256(["ab", "c"]) != texts_sha256(["a", "bc"])
    assert texts_sha256(["ab", "c"]) != texts_sha256(["c", "ab"])
    assert texts_sha256(["ab", "c"]) == texts_sha256(iter(("ab", "c")))


def with_metadata(path: Path, **changed: str) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    path.write_bytes(save(load(path.read_bytes()), metadata | changed))


def with_array(name: str, array: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            metadata = file.metadata()
        path.write_bytes(save({name: array}, metadata))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "is not a safetensors file"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), "is not a safetensors file"),
        (lambda path: with_metadata(path, format_version="2"), "unknown format version: found 2"),
        (with_array("logits", LOGITS[:2]), r"found float32 \(2, 2\), expected float32 \(3, 2\)"),
        (with_array("logits", LOGITS.astype(np.float64)), "found float64"),
        (with_array("others", LOGITS), "found none"),
        (with_array("logits", LOGITS * np.float32(np.nan)), "NaN or infinite"),
    ],
)
def test_damage_is_one_line_that_says_what_to_do(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder / FILE_NAME)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_train_logits(folder, make_data())
    assert str(folder / FILE_NAME) in str(caught.value)
    assert "remove it" in str(caught.value)
