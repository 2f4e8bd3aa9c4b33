"""Texts with any number of labels: read from every format, recognized, and refused in one line."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

import edgeseq as es
from edgeseq.datasets.hub import from_hub_splits
from edgeseq.datasets.readers import Columns, read_multilabel
from edgeseq.datasets.user_files import task_of_file
from edgeseq.errors import DataError

from ...multilabel_data import LABELS, invented_rows, write_table


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\none,b;a\ntwo,\nthree, a ;; b;a\nfour,"[""b"", ""c;d""]"\n'),
        ("a.tsv", 'text\tlabel\none\tb;a\ntwo\t\nthree\t a ;; b;a\nfour\t["b", "c;d"]\n'),
        (
            "a.jsonl",
            '{"text":"one","label":"b;a"}\n{"text":"two","label":[]}\n'
            '{"text":"three","label":["a","b","a"]}\n{"text":"four","label":["b","c;d"]}\n',
        ),
    ],
)
def test_every_format_gives_the_same_labels(tmp_path: Path, name: str, content: str) -> None:
    examples = read_multilabel(write(tmp_path / name, content))
    assert [(one.text, one.labels) for one in examples] == [
        ("one", ("b", "a")),
        ("two", ()),
        ("three", ("a", "b")),
        ("four", ("b", "c;d")),
    ]


@pytest.mark.parametrize(
    ("cells", "is_multilabel"),
    [
        (["a;b", "a", ""], True),
        (["a;b", "b;c"], True),
        (["R&amp;D", "R&amp;D", "sales"], False),
        (["a;b", "c;d"], False),
        (["a", "b"], False),
        (['"[""a"", ""b""]"', "[]"], True),
        (["[a]", "b"], False),
    ],
)
def test_several_labels_are_recognized(
    tmp_path: Path, cells: list[str], is_multilabel: bool
) -> None:
    rows = "".join(f"text {number},{cell}\n" for number, cell in enumerate(cells))
    task = task_of_file(write(tmp_path / "a.csv", "text,label\n" + rows))
    assert task == ("multilabel-classification" if is_multilabel else "text-classification")


def test_a_file_becomes_a_data_set_that_can_be_saved_and_read_again(tmp_path: Path) -> None:
    data = es.load_dataset(write_table(tmp_path / "parcels.csv"))
    assert (data.task, data.labels) == ("multilabel-classification", LABELS)
    expected = dict(invented_rows(300, seed=0))
    examples = (*data.train, *data.dev, *data.test)
    assert {one.text: one.labels for one in examples} == expected
    assert any(not one.labels for one in examples)
    assert any(len(one.labels) > 1 for one in examples)
    es.save_dataset(data, tmp_path / "splits")
    files = {name: tmp_path / "splits" / f"{name}.jsonl" for name in ("dev", "test")}
    again = es.load_dataset(tmp_path / "splits" / "train.jsonl", **files)
    assert [(one.text, one.labels) for one in again.train] == [
        (one.text, one.labels) for one in data.train
    ]


def test_the_summary_counts_each_label_and_each_text_once(tmp_path: Path) -> None:
    data = es.load_dataset(write_table(tmp_path / "parcels.csv"))
    train = es.summarize_dataset(data).balance[0]
    assert train.total == len(data.train)
    assert train.by_label["late"] == sum("late" in one.labels for one in data.train)


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    lists = write(tmp_path / "a.jsonl", '{"text":"one","label":["a"]}\n')
    with pytest.raises(DataError, match=r"jsonl:1: the label is a list.*name the task multilabel"):
        es.load_dataset(lists, task="text-classification")
    empty = write(tmp_path / "b.csv", "text,label\none,a\ntwo,\n")
    with pytest.raises(DataError, match=r"csv:3: the label is empty.*name the task multilabel"):
        es.load_dataset(empty)
    numbers = write(tmp_path / "c.jsonl", '{"text":"one","label":[["a"]]}\n')
    with pytest.raises(DataError, match=r"jsonl:1: the label is not a string: found list"):
        es.load_dataset(numbers)
    blank = write(tmp_path / "d.csv", "text,label\n ,a;b\n")
    with pytest.raises(DataError, match=r"csv:2: the text is empty"):
        es.load_dataset(blank, task="multilabel-classification")
    path = write(tmp_path / "e.csv", "x,y\none,b;a\n")
    with pytest.raises(DataError, match=r"csv:2: unknown label: found 'a', expected 'b' or 'c'"):
        read_multilabel(path, Columns("x", "y"), labels=("b", "c"))


class FakeSplit:
    """Rows with the features of the hub's `go_emotions`: a sequence of classes."""

    def __init__(self, rows: list[dict[str, Any]], names: list[str] | None) -> None:
        classes = types.SimpleNamespace(names=names) if names else types.SimpleNamespace()
        self.features = {
            "text": types.SimpleNamespace(dtype="string"),
            "labels": types.SimpleNamespace(feature=classes),
        }
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows)


def test_a_list_of_classes_on_the_hub() -> None:
    names = ["anger", "joy"]
    rows = [{"text": f"t {n}", "labels": [0, 1][: n % 3]} for n in range(60)]
    data = from_hub_splits("hf:made", None, {"train": FakeSplit(rows, names)})
    assert (data.task, data.labels) == ("multilabel-classification", ("anger", "joy"))
    by_text = {one.text: one.labels for one in (*data.train, *data.dev, *data.test)}
    assert [by_text[f"t {n}"] for n in range(3)] == [(), ("anger",), ("anger", "joy")]
    with pytest.raises(DataError, match="its labels are not those of the task"):
        from_hub_splits("hf:made", "sentiment", {"train": FakeSplit(rows, names)})
    rows[0]["labels"] = [2]
    with pytest.raises(DataError, match=r"row 0: unknown label: found 2, expected 0 to 1"):
        from_hub_splits("hf:made", None, {"train": FakeSplit(rows, names)})


def test_examples_are_written_with_their_list(tmp_path: Path) -> None:
    data = es.load_dataset(write_table(tmp_path / "parcels.csv"))
    es.save_dataset(data, tmp_path / "splits")
    [first, *_] = (tmp_path / "splits" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["labels"] == list(data.test[0].labels)
