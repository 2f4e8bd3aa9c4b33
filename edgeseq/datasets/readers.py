"""Every file format that can be read, in one place: which function reads what.

| file | function | gives |
|---|---|---|
| `.csv`, `.tsv`, `.tab`, `.jsonl`, `.ndjson` | `read_labelled` | `TextExample`s |
| CoNLL, one word a line | `read_conll` | `TaggedExample`s with BIO tags |
| CoNLL-U (`.conllu`) | `read_conllu` | `TaggedExample`s with UPOS tags |
| plain text | `read_lines` | strings |

All are UTF-8. Errors are `DataError`s that name `file:line`, what was found and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeseq.datasets.conll import read_conll, read_conllu, to_bio
from edgeseq.datasets.lines import check_is_file, read_lines
from edgeseq.datasets.tables import Columns, read_jsonl, read_table
from edgeseq.errors import DataError
from edgeseq.tasks.examples import TextExample

__all__ = [
    "LABELLED_SUFFIXES",
    "Columns",
    "read_conll",
    "read_conllu",
    "read_jsonl",
    "read_labelled",
    "read_lines",
    "read_table",
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

    `columns` is by default `text` and `label`; `header` and `labels` are as in `read_table`.
    Raises `DataError` for a suffix that says nothing, and as the reader of the format does.
    """
    check_is_file(path)
    columns = columns or Columns()
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return read_table(path, columns, delimiter=",", header=header, labels=labels)
    if suffix in (".tsv", ".tab"):
        return read_table(path, columns, delimiter="\t", header=header, labels=labels)
    if suffix in (".jsonl", ".ndjson"):
        return read_jsonl(path, columns, labels=labels)
    raise DataError(
        "its name does not tell the format",
        where=path,
        found=repr(path.suffix),
        expected=" or ".join(LABELLED_SUFFIXES),
        fix="rename it to what it holds",
    )
