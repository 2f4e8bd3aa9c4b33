"""Every file format that can be read, in one place: which function reads what.

| file | function | gives |
|---|---|---|
| `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson` | `read_labelled` | `TextExample`s |
| the same with any number of labels a row | `read_multilabel` | `MultilabelExample`s |
| CoNLL, one word a line | `read_conll` | `TaggedExample`s with BIO tags |
| CoNLL-U (`.conllu`) | `read_conllu` | `TaggedExample`s with UPOS tags |
| plain text | `read_lines` | strings |

All are UTF-8. Errors are `DataError`s that name `file:line`, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseq.datasets.conll import read_conll, read_conllu, to_bio
from edgeseq.datasets.lines import check_is_file, read_lines
from edgeseq.datasets.tables import (
    Columns,
    Row,
    multilabel_example,
    read_jsonl,
    read_table,
    text_example,
)
from edgeseq.errors import DataError
from edgeseq.tasks.examples import MultilabelExample, TextExample

__all__ = [
    "LABELLED_SUFFIXES",
    "Columns",
    "read_conll",
    "read_conllu",
    "read_labelled",
    "read_lines",
    "read_multilabel",
    "read_rows",
    "to_bio",
]

LABELLED_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson")


def read_labelled(
    path: Path,
    columns: Columns | None = None,
    *,
    header: bool | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[TextExample, ...]:
    """The examples of a file with a text and a label a row; its suffix tells the format.

    `columns` is by default `text` and `label`; `header` is as in `read_table`. Raises `DataError`
    for a suffix that says nothing, for a label that is not in `labels`, for a file without
    examples, and as the reader of the format does.
    """
    rows = read_rows(path, columns, header=header)
    return tuple(text_example(row, path, labels) for row in rows)


def read_multilabel(
    path: Path,
    columns: Columns | None = None,
    *,
    header: bool | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[MultilabelExample, ...]:
    """As `read_labelled`, of a file with any number of labels a row (`edgeseq.datasets.tables`)."""
    rows = read_rows(path, columns, header=header)
    return tuple(multilabel_example(row, path, labels) for row in rows)


def read_rows(
    path: Path, columns: Columns | None = None, *, header: bool | None = None
) -> tuple[Row, ...]:
    """The rows of a file with examples, at least one; raises `DataError` as `read_labelled`."""
    check_is_file(path)
    rows = tuple(_iterate_rows(path, columns or Columns(), header))
    if not rows:
        raise DataError("holds no examples", where=path, expected="one a line")
    return rows


def _iterate_rows(path: Path, columns: Columns, header: bool | None) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_table(path, columns, delimiter=",", header=header)
    if suffix in (".tsv", ".tab"):
        return read_table(path, columns, delimiter="\t", header=header)
    if suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path, columns)
    raise DataError(
        "its name does not tell the format",
        where=path,
        found=repr(path.suffix),
        expected=" or ".join(LABELLED_SUFFIXES),
        fix="rename it to what it holds",
    )
