"""Files of numeric sequences that are damaged, or whose arrays do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeseq.datasets.sequence_arrays import arrays_of, read_arrays
from edgeseq.datasets.sequence_data import MAX_CLASSES, Windows, load_sequences
from edgeseq.errors import DataError, InputError

COUNT, STEPS, FEATURES = 30, 4, 2
CLASSES = np.arange(COUNT) % 3


def save(path: Path, y: Any, **arrays: Any) -> Path:
    np.savez(path, **{"x": np.zeros((COUNT, STEPS, FEATURES)), "y": y, **arrays})
    return path


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.zeros((COUNT, 2)), np.zeros(COUNT), r"found floats \[N, 1\], expected floats \[N, 2\]"),
        (CLASSES, CLASSES.astype(np.float32), r"found floats \[N, 1\], expected whole numbers"),
        (CLASSES, np.array(["a", "b", "c"])[CLASSES], r"found words \[N, 1\], expected whole"),
    ],
)
def test_splits_with_other_targets_are_refused(
    train: Any, test: Any, message: str, tmp_path: Path
) -> None:
    paths = {"train": save(tmp_path / "train.npz", train), "test": save(tmp_path / "t.npz", test)}
    with pytest.raises(DataError, match=message):
        load_sequences(paths)  # type: ignore[arg-type]


def test_whole_numbers_and_floats_go_together_where_the_task_is_named(tmp_path: Path) -> None:
    train = save(tmp_path / "train.npz", CLASSES)
    test = save(tmp_path / "test.npz", CLASSES + 0.5)
    data = load_sequences({"train": train, "test": test}, task="sequence")
    assert [example.target for example in data.test[:2]] == [(0.5,), (1.5,)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.zeros((COUNT, 0))}, "y does not go with x"),
        ({"y": CLASSES + MAX_CLASSES}, "too large for classes: found 100002, expected below"),
        ({"y": CLASSES, "labels": ["sit", "walk"]}, "labels do not name every class: found 2"),
        (
            {
                "x": np.zeros((120, FEATURES)),
                "lengths": [2**62, 2**62, 2**62, 2**62 + 120],
                "y": [0, 1, 2, 0],
            },
            "lengths do not add up",
        ),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(
    arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_sequences({"train": save(tmp_path / "train.npz", **arrays)})


@pytest.mark.parametrize(
    "header",
    ["{'descr': (", f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70}, 2)}}"],
)
def test_a_damaged_header_is_refused(header: str, tmp_path: Path) -> None:
    content = header.encode().ljust(117) + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little"))
    with (tmp_path / "x.npy").open("ab") as file:
        file.write(content)
    with pytest.raises(DataError, match="is not an array of numbers"):
        read_arrays(tmp_path / "x.npy")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((COUNT, STEPS, FEATURES)))
    content = bytearray(path.read_bytes())
    content[100:110] = bytes([255] * 10)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is not an \.npz file"):
        read_arrays(path)


def test_a_folder_and_lists_without_sequences_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no x\.npy"):
        read_arrays(tmp_path)
    with pytest.raises(DataError, match="are not sequences of numbers"):
        arrays_of([[[1.0, 2.0], [3.0]]])


def test_a_table_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("a,b\n1,grün\n1,blau\n".encode("latin-1") * 9)
    with pytest.raises(DataError, match="is not UTF-8: found byte 0xfc at offset 8"):
        load_sequences({"train": path}, windows=Windows(2, "b"))


def test_a_task_of_texts_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "train.npz", CLASSES)
    with pytest.raises(InputError, match="found the task ner, expected sequence or sequence-class"):
        load_sequences({"train": path}, task="ner")
    with pytest.raises(InputError, match="unknown task"):
        load_sequences({"train": path}, task="sequences")


@pytest.mark.parametrize(
    ("header", "last", "message"),
    [
        ("a,b", "3,NA", "the target has numbers and a cell that is not a number: found 'NA'"),
        ("a,b", "3,", "the target has numbers and a cell that is not a number: found ''"),
        ("b,b", "3,1", "has several such columns: found b"),
        ("a,b", "3,1e60", "does not hold a window of numbers"),
    ],
)
def test_a_target_that_is_not_plainly_numbers_or_words_is_refused(
    header: str, last: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n".join((header, *(f"{n},{n / 3}" for n in range(30)), last)))
    with pytest.raises(DataError, match=message):
        load_sequences({"train": path}, windows=Windows(3, "b"))


def test_classes_may_be_whole_numbers_and_words(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "".join(f"{n},{('1', '2', '3+')[n % 3]}\n" for n in range(30)))
    data = load_sequences({"train": path}, windows=Windows(3, "b"))
    assert data.labels == ("1", "2", "3+")
