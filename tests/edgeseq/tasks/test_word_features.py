"""Word features: the numbers that every implementation has to give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeseq.tasks.word_features import (
    SIGNS,
    UPPER_CASE,
    WordFeatures,
    features_of,
    fnv1a,
)

GOLDEN = json.loads(Path(__file__).with_name("word_features.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"b", 0xE70C2DE5), (b"foobar", 0xBF9CF968)],
)
def test_hash_has_its_authors_test_values(content: bytes, value: int) -> None:
    assert fnv1a(content) == value


@pytest.mark.parametrize("example", GOLDEN["words"], ids=lambda example: repr(example["word"]))
def test_words_have_their_golden_features(example: dict[str, object]) -> None:
    word = str(example["word"])
    assert features_of(word) == (example["shape"], example["prefix"], example["suffix"])
    rows = [list(WordFeatures(rows=rows, size=1).rows_of(word)) for rows in GOLDEN["rows"]]
    assert rows == example["table_rows"]


@pytest.mark.parametrize(
    ("word", "features"),
    [
        ("McDonald's", ("XxXxxxx'x", "mcd", "d's")),
        ("10-K", ("dd-X", "10-", "0-k")),
        ("AAAAAAB", ("XXXX", "aaa", "aab")),
        ("------", ("----", "---", "---")),
        ("I", ("X", "i", "i")),
        ("\N{LATIN CAPITAL LETTER E WITH ACUTE}t", ("Xx", "ét", "ét")),
        ("\N{CJK UNIFIED IDEOGRAPH-6771}", ("x", "東", "東")),
    ],
)
def test_features_of_words(word: str, features: tuple[str, str, str]) -> None:
    assert features_of(word) == features


def test_upper_case_is_that_of_unicode() -> None:
    codes = [
        (code, code + part.offset)
        for part in UPPER_CASE
        for code in range(part.first, part.last + 1, part.step)
    ]
    assert len(codes) == len(set(codes)) == 360
    assert all(chr(code).isupper() and chr(code).lower() == chr(lower) for code, lower in codes)


def test_no_letter_of_the_scripts_with_case_is_a_sign() -> None:
    signs = {code for first, last in SIGNS for code in range(first, last + 1)}
    letters = {code for code in range(0x530) if chr(code).isalpha()}
    assert letters & signs == {0xAA, 0xB5, 0xBA}


def test_rows_of_the_features_do_not_overlap() -> None:
    tables = WordFeatures(rows=5, size=4)
    words = [f"{head}{tail}" for head in "abcXYZ19-" for tail in ("", "ing", "-X", "99")]
    columns = zip(*map(tables.rows_of, words), strict=True)
    for number, rows in enumerate(columns):
        assert set(rows) <= set(range(1 + 5 * number, 6 + 5 * number))
        assert len(set(rows)) > 1
    assert (tables.table_rows, tables.width) == (16, 12)


def test_a_lone_surrogate_is_a_code_point_like_any_other() -> None:
    assert features_of("a\ud800") == ("xx", "a\ud800", "a\ud800")
    assert max(WordFeatures(rows=10, size=1).rows_of("a\ud800")) <= 30
