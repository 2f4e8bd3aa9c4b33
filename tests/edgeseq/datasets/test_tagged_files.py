"""A user's own tagged files, the named sets of tagged words, and suites on a part of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import edgeseq
from edgeseq.datasets.registry import entries, load_dataset
from edgeseq.datasets.tagged_files import read_tagged
from edgeseq.datasets.user_files import load_files
from edgeseq.errors import DataError, InputError
from edgeseq.suite.quick import TRAIN_TEXTS, find_suite, quick_suite, take_subset
from edgeseq.suite.schema import read_suite
from edgeseq.tasks.tagging import spans

BIO = ("B-PER", "I-PER", "O", "B-LOC")


def conll(tags: tuple[str, ...], times: int = 1, separator: str = "\t") -> str:
    return "".join(
        "".join(f"w{n}{place}{separator}{tag}\n" for place, tag in enumerate(tags)) + "\n"
        for n in range(times)
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", conll(BIO)),
        ("a.txt", conll(BIO, separator=" NN ")),
        ("a.csv", conll(BIO, separator=",")),
        ("iob1.conll", conll(("I-PER", "I-PER", "O", "I-LOC"))),
        ("io.conll", conll(("PER", "PER", "O", "LOC"))),
        ("a.jsonl", '{"words": ["a", "b", "c", "d"], "tags": ["B-PER", "I-PER", "O", "B-LOC"]}\n'),
    ],
)
def test_every_format_and_scheme_becomes_bio(name: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    [one] = read_tagged(path, "ner")
    assert one.tags == BIO
    assert len(one.words) == 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"words": ["a"], "tags": []}\n', "a.jsonl:1: must have one tag per word"),
        ("a.jsonl", '{"words": "a"}\n', "a.jsonl:1: is not a tagged sentence"),
        ("a.jsonl", "\n", "holds no sentences"),
        ("a.conll", "word\n", "a.conll:1: has no column for the tag"),
    ],
)
def test_a_wrong_line_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_tagged(path, "ner")


def test_one_file_is_divided_and_an_unknown_tag_refused(tmp_path: Path) -> None:
    train, test = tmp_path / "train.conll", tmp_path / "test.conll"
    train.write_text(conll(BIO, times=80))
    data = load_dataset(str(train), task="ner")
    assert data.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert [len(part) for part in (data.train, data.dev, data.test)] == [
        len(part) for part in _parts(load_files("ner", train=train))
    ]
    assert sum(len(part) for part in _parts(data)) == 80
    assert len({one.text for part in _parts(data) for one in part}) == 80
    test.write_text(conll(("B-ORG",), times=3))
    with pytest.raises(DataError, match="unknown label: found 'B-ORG'"):
        load_files("ner", train=train, test=test)
    with pytest.raises(DataError, match="unknown data set"):
        load_dataset("mine.docx", task="pos")


def _parts(data):  # type: ignore[no-untyped-def]
    return data.train, data.dev, data.test


def test_a_part_of_a_data_set_says_so(tmp_path: Path) -> None:
    path = tmp_path / "train.conll"
    path.write_text(conll(BIO, times=80))
    data = load_files("ner", train=path)
    some = take_subset(data, max_train=10, max_dev=None, max_test=2)
    assert [len(part) for part in _parts(some)] == [10, len(data.dev), 2]
    assert "a part: 10" in some.name
    assert some.sha256 != data.sha256
    assert take_subset(data, max_train=1000, max_dev=None, max_test=None) is data


@pytest.mark.parametrize("name", ["pos", "ner"])
def test_suites_come_by_name_and_quick(name: str) -> None:
    suite = read_suite(find_suite(name))
    assert suite.task == name
    quick = quick_suite(suite)
    assert quick.name == f"{name}-quick"
    assert quick.bench.quick
    assert quick.data.max_train == TRAIN_TEXTS["token-classification"]
    with pytest.raises(InputError, match="no such suite"):
        find_suite("nothing")


def test_the_help_names_every_suite() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
    (line,) = [line for line in documented.splitlines() if "Suite file (TOML), or a name" in line]
    named = line.partition("or a name: ")[2].partition(".")[0].split(", ")
    own = Path(edgeseq.__file__).parent / "suites"
    assert sorted(named) == sorted(path.stem for path in own.glob("*.toml"))


@pytest.mark.skipif("EDGESEQ_DATA" not in os.environ, reason="set EDGESEQ_DATA to local copies")
def test_the_published_sets_are_what_their_papers_count() -> None:
    folder = Path(os.environ["EDGESEQ_DATA"])
    for entry in entries(folder):
        if entry.task in ("pos", "ner") and entry.is_local and entry.sizes and entry.name != "FILE":
            data = load_dataset(entry.name, data_dir=folder)
            assert tuple(map(len, _parts(data))) == entry.sizes
    data = load_dataset("e-ner", data_dir=folder)
    assert sum(len(spans(one.tags)) for part in _parts(data) for one in part) == 8821
    filings = [{one.group for one in part} for part in _parts(data)]
    assert [len(own) for own in filings] == [37, 5, 10]
    assert not filings[0] & (filings[1] | filings[2])
    with pytest.raises(DataError, match="is for another task"):
        load_dataset("e-ner", task="pos", data_dir=folder)
