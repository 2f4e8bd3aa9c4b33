"""The default data set: its rules on home-made lines, and the real thing from the index."""

from __future__ import annotations

from collections import Counter

import pytest

from edgeseq.datasets import customer_feedback
from edgeseq.datasets.customer_feedback import (
    clean,
    divide,
    label_of_score,
    leakage_key,
    load_with_counts,
    parse,
)
from edgeseq.datasets.registry import entries
from edgeseq.datasets.splits import split_of_group
from edgeseq.errors import DataError
from edgeseq.tasks.examples import TextExample


def test_lines_become_examples() -> None:
    content = "3_1\t0.75\tGood &amp; cheap.\r\n3_2\t-0.5\ta  &amp;lt;b\u00a0c \r\n".encode()
    first, second = parse(content, source="product", where="made.txt")
    assert first == TextExample(
        "product/3_1", "Good & cheap.", "positive", "product", "product/3", 0.75
    )
    assert (second.text, second.label, second.group) == ("a <b c", "negative", "product/3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1\t0.1\tfine\n2\t0.1\n", "made.txt:2: wrong number of columns: found 2"),
        (b"1\thigh\tfine\n", "made.txt:1: no rating"),
        (b"1\tnan\tfine\n", "made.txt:1: rating out of range"),
        (b"1\t4.5\tfine\n", "made.txt:1: rating out of range"),
        (b"1\t0\t &nbsp; \n", "made.txt:1: has no text"),
        (b"1\t0\t\xff\n", "made.txt:1: is not UTF-8"),
        (b"", "made.txt: is empty"),
    ],
)
def test_wrong_lines(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(content, source="film", where="made.txt")


def test_classes_meet_at_the_thresholds() -> None:
    scores = (-4, -0.5, -0.4999, 0, 0.4999, 0.5, 4)
    assert [label_of_score(score)[:3] for score in scores] == [
        *("neg", "neg", "neu", "neu", "neu", "pos", "pos")
    ]


def test_copies_have_one_key() -> None:
    variants = ("It works.", "it WORKS!!!", "It really works", " it works ")
    assert len({leakage_key(text) for text in variants}) == 1
    assert len({leakage_key(text) for text in ("!", "...", "It worked.", ":)")}) == 4
    assert clean(" a\n b ") == "a b"


def test_copies_are_taken_once_and_the_held_out_one_stays() -> None:
    groups: dict[str, str] = {}
    for number in range(1000):
        groups.setdefault(split_of_group(f"tweet/{number}"), f"tweet/{number}")
    examples = [
        TextExample(f"{part}{copy}", text, "neutral", "tweet", group)
        for part, group in groups.items()
        for copy, text in enumerate(("same words", "Same words!", f"only in {part}"))
    ]
    parts, counts = divide(examples)
    assert [one.id for one in parts["test"]] == ["test0", "test2"]
    assert [one.id for one in parts["dev"]] == ["dev2"]
    assert [one.id for one in parts["train"]] == ["train2"]
    assert counts.read == 9
    assert counts.num_copies == {"train": 2, "dev": 2, "test": 1}


@pytest.mark.index
def test_the_real_data_set() -> None:
    dataset, counts = load_with_counts()
    assert counts.read == 23_703
    assert counts.num_copies == {"train": 241, "dev": 15, "test": 18}
    assert dataset.sha256 == "b83e50d3e31407addb3f48c54ccd67144728e7e9b752ef3148a78a98a0232f61"
    assert dataset.labels == ("negative", "neutral", "positive")
    by_part = {"train": dataset.train, "dev": dataset.dev, "test": dataset.test}
    assert tuple(map(len, by_part.values())) == entries()[0].sizes
    assert Counter(one.label for one in dataset.test) == {
        "negative": 872, "neutral": 419, "positive": 979,
    }  # fmt: skip
    part_of: dict[str, str] = {}
    keys: Counter[str] = Counter()
    for part, examples in by_part.items():
        for one in examples:
            assert part_of.setdefault(one.group, part) == part == split_of_group(one.group)
            assert one.score is not None
            assert one.label == label_of_score(one.score)
            assert one.text == clean(one.text) != ""
            keys[leakage_key(one.text)] += 1
    assert max(keys.values()) == 1
    assert {one.source for one in dataset.test} == set(customer_feedback.FILES)
