"""One word a line: CoNLL files with entity tags, and CoNLL-U files with parts of speech."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgeseq.datasets.lines import numbered_lines
from edgeseq.errors import DataError
from edgeseq.tasks.examples import TaggedExample

Scheme = Literal["bio", "iob1", "io", "raw"]

DOCUMENT_START = "-DOCSTART-"

UPOS = frozenset(
    {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM"}
    | {"PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X"}
)
"""The 17 universal parts of speech (Universal Dependencies, version 2)."""


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """Tags of one sentence in BIO (also called IOB2): each entity begins with `B-TYPE`.

    `scheme` is what `tags` are in (Ramshaw & Marcus 1995; Tjong Kim Sang & Veenstra 1999):
    `bio`, which is only checked; `iob1`, where `B-` is only between two touching entities of
    one type; `io`, where a type is bare or has `I-` and touching words of one type are one
    entity.

    Raises `DataError` naming the word's position for a tag that the scheme does not have.
    """
    return _to_bio(tags, scheme, [f"word {position + 1}" for position in range(len(tags))])


def _to_bio(tags: Sequence[str], scheme: Scheme, positions: Sequence[str]) -> tuple[str, ...]:
    result: list[str] = []
    previous = ""  # the type of the entity that the word before is in
    for tag, position in zip(tags, positions, strict=True):
        if tag == "O":
            result.append(tag)
            previous = ""
            continue
        prefix, dash, kind = tag.partition("-")
        if scheme == "io" and prefix != "I":
            prefix, dash, kind = "I", "-", tag
        if prefix not in ("B", "I") or not dash or not kind or (scheme == "io" and "-" in kind):
            raise DataError(
                f"no {scheme.upper()} tag",
                where=position,
                found=repr(tag),
                expected="O or a type" if scheme == "io" else "O, B-TYPE or I-TYPE",
                fix="check the tag column and the tagging scheme",
            )
        begins = prefix == "B" or kind != previous
        if scheme == "bio" and prefix == "I" and begins:
            raise DataError(
                "the tag continues an entity that did not begin",
                where=position,
                found=repr(tag),
                expected=f"'B-{kind}'",
                fix="read it with the scheme iob1 if that is how it was tagged",
            )
        result.append(f"{'B' if begins else 'I'}-{kind}")
        previous = kind
    return tuple(result)


def read_conll(
    path: Path,
    *,
    word_column: int = 1,
    tag_column: int = -1,
    scheme: Scheme = "bio",
    delimiter: str | None = None,
    repair: Mapping[str, str] | None = None,
) -> tuple[TaggedExample, ...]:
    """The sentences of a CoNLL file: a word and its tag a line; a blank line ends a sentence.

    Columns count from 1, or from -1 at the end. `delimiter` None means a tab where the line has
    one, else white space; with `","` the cells are quoted as in CSV. A line whose word is empty
    ends a sentence too. A line whose word is `-DOCSTART-` begins a document; the sentences of a
    document share a `group`. Tags are turned into BIO (see `to_bio`), but left as they are with
    the scheme `raw`; `repair` says which tags are misprints, and of what.

    Raises `DataError` naming `file:line` for a missing column, an empty tag or a wrong one.
    """
    examples = []
    document = 0
    for all_rows in _sentences(path, delimiter, word_column):
        rows = all_rows
        if _cell(rows[0], word_column, path) == DOCUMENT_START:
            document += 1
            rows = rows[1:]
            if not rows:
                continue
        tags = [_tag(row, word_column, tag_column, path) for row in rows]
        tags = [(repair or {}).get(tag, tag) for tag in tags]
        examples.append(
            TaggedExample(
                id=f"{path.stem}:{rows[0][0]}",
                words=tuple(_cell(row, word_column, path) for row in rows),
                tags=tuple(tags)
                if scheme == "raw"
                else _to_bio(tags, scheme, [f"{path}:{line}" for line, _ in rows]),
                group=f"{path.stem}/{document}" if document else "",
            )
        )
    return _some(examples, path)


def read_conllu(path: Path) -> tuple[TaggedExample, ...]:
    """The sentences of a CoNLL-U file: syntactic words with their universal parts of speech.

    As the format's description says: ten columns between tabs, comments begin with `#`; lines
    of multiword ranges (`1-2`) and empty nodes (`8.1`) hold no syntactic word and are skipped.
    `sent_id` becomes the id, `newdoc id` the group.

    Raises `DataError` naming `file:line` for another number of columns, a word number out of
    order, or a part of speech that is not one of the 17.
    """
    examples = []
    words: list[str] = []
    tags: list[str] = []
    name, group = "", ""

    def end_of_sentence(number: int) -> None:
        nonlocal name
        if words:
            example_id = name or f"{path.stem}:{number - len(words)}"
            examples.append(
                TaggedExample(id=example_id, words=tuple(words), tags=tuple(tags), group=group)
            )
        words.clear()
        tags.clear()
        name = ""

    number = 0
    for number, line in numbered_lines(path):
        if not line.strip():
            end_of_sentence(number)
        elif line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip() == "sent_id":
                name = value.strip()
            elif key.strip() == "newdoc id":
                group = value.strip()
        else:
            word = _conllu_word(line.split("\t"), len(words) + 1, f"{path}:{number}")
            if word is not None:
                words.append(word[0])
                tags.append(word[1])
    end_of_sentence(number + 1)
    return _some(examples, path)


def _conllu_word(row: list[str], expected: int, where: str) -> tuple[str, str] | None:
    """Form and part of speech of a line, or None where it holds no syntactic word."""
    if len(row) != 10:
        raise DataError(
            "wrong number of columns", where=where, found=len(row), expected="10 between tabs"
        )
    if "-" in row[0] or "." in row[0]:
        return None
    if row[0] != str(expected):
        raise DataError(
            "word number out of order", where=where, found=repr(row[0]), expected=expected
        )
    if row[3] not in UPOS:
        raise DataError(
            "no universal part of speech", where=where, found=repr(row[3]), expected="one of 17"
        )
    if not row[1]:
        raise DataError("the word is empty", where=where)
    return row[1], row[3]


_Row = tuple[int, list[str]]


def _sentences(path: Path, delimiter: str | None, word_column: int) -> Iterator[list[_Row]]:
    """Yields the rows of each sentence with their line numbers."""
    rows: list[_Row] = []
    for number, line in numbered_lines(path):
        cells = _cells(line, delimiter, f"{path}:{number}")
        if cells and _cell((number, cells), word_column, path, may_be_empty=True):
            rows.append((number, cells))
        elif rows:
            yield rows
            rows = []
    if rows:
        yield rows


def _cells(line: str, delimiter: str | None, where: str) -> list[str]:
    if not line.strip():
        return []
    if delimiter != ",":
        return line.split(delimiter or ("\t" if "\t" in line else None))
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(
            "is not CSV", where=where, found=str(error), expected="quotes in pairs"
        ) from error


def _cell(row: _Row, column: int, path: Path, *, may_be_empty: bool = False) -> str:
    """The value of a column counted from 1, or from -1 at the end."""
    number, cells = row
    where = f"{path}:{number}"
    if column == 0 or abs(column) > len(cells):
        raise DataError(
            "no such column",
            where=where,
            found=f"{len(cells)} columns",
            expected=f"column {column}",
            fix="give the columns of word and tag, counted from 1 or from -1 at the end",
        )
    value = cells[column - 1 if column > 0 else column].strip()
    if not value and not may_be_empty:
        raise DataError("the tag is empty", where=where, fix="check the columns")
    return value


def _tag(row: _Row, word_column: int, tag_column: int, path: Path) -> str:
    """The tag of a line; refuses a line whose only column is the word."""
    number, cells = row
    word, tag = (at - 1 if at > 0 else at + len(cells) for at in (word_column, tag_column))
    if word == tag:
        raise DataError(
            "has no column for the tag",
            where=f"{path}:{number}",
            found=repr(cells[word]),
            expected="a word and its tag, with a tab or spaces between",
        )
    return _cell(row, tag_column, path)


def _some(examples: list[TaggedExample], path: Path) -> tuple[TaggedExample, ...]:
    if not examples:
        raise DataError("holds no sentences", where=path, expected="one word a line")
    return tuple(examples)
