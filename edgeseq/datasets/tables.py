"""Tables with a text and its label, or any number of labels, a row: CSV, TSV and JSON lines.

Several labels of a text are a JSON list, or a cell in which `;` is between them (`late;damaged`);
an empty list or cell is a text without a label.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from edgeseq.datasets.lines import numbered_lines
from edgeseq.errors import DataError
from edgeseq.formats.codec import decode_json
from edgeseq.tasks.examples import MultilabelExample, TextExample
from edgeseq.tasks.multilabel_classification import LABEL_SEPARATOR

Column = str | int
"""A column's name, or its number counted from 1."""
_SECOND_NAMES = {"label": "labels"}
"""What a column may be called instead, where the file has none of the first name."""


class Columns(msgspec.Struct, frozen=True):
    """Which columns hold what; `source` and `group` may be left out (see `TextExample`). A file
    without a column `label` may have `labels` instead."""

    text: Column = "text"
    label: Column = "label"
    source: Column | None = None
    group: Column | None = None

    def named(self) -> list[tuple[str, Column]]:
        """The pairs of field and column that are set, text and label first."""
        fields: tuple[tuple[str, Column | None], ...] = (
            ("text", self.text),
            ("label", self.label),
            ("source", self.source),
            ("group", self.group),
        )
        return [(field, column) for field, column in fields if column is not None]


class Row(NamedTuple):
    """A line of a file: its number, and the text of each field; a label may be a list."""

    number: int
    values: dict[str, str | list[str]]


def read_table(
    path: Path, columns: Columns, *, delimiter: str, header: bool | None = None
) -> Iterator[Row]:
    """The rows of a CSV (`delimiter=","`) or TSV (`delimiter="\\t"`) file with examples.

    Whether the first line is a header follows from `columns` and is never guessed: when one is
    given by name it is a header, when all are numbers it is an example; `header` overrides the
    latter. CSV is quoted as RFC 4180 says (a quote in a quoted field is doubled, a field may go
    over several lines); in TSV a quote is an ordinary character, as its media type says. Blank
    lines between rows are skipped. A label in brackets is a JSON list.

    Raises `DataError` naming `file:line` for a missing column, a row with another number of columns
    than the first, and a quote that is never closed.
    """
    rows = _csv_rows(path) if delimiter == "," else _plain_rows(path, delimiter)
    has_names = any(isinstance(column, str) for _, column in columns.named())
    if has_names and header is False:
        raise DataError(
            "columns by name need a header",
            where=path,
            fix="give column numbers, counted from 1, or say that there is a header",
        )
    width = 0
    indices: list[tuple[str, int]] = []
    for number, row in rows:
        where = f"{path}:{number}"
        if not indices:
            width = len(row)
            names = [name.strip() for name in row] if has_names or header else None
            indices = [
                (field, _column_index(column, names, width, where))
                for field, column in columns.named()
            ]
            if names is not None:
                continue
        if len(row) != width:
            raise DataError(
                "wrong number of columns",
                where=where,
                found=len(row),
                expected=f"{width} as in the first row",
                fix="quote texts that hold the separator" if delimiter == "," else None,
            )
        values: dict[str, str | list[str]] = {field: row[index] for field, index in indices}
        values["label"] = _cell_labels(row[dict(indices)["label"]])
        yield Row(number, values)


def read_jsonl(path: Path, columns: Columns) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; columns are the objects' keys.

    Texts must be strings; a label may also be a whole number, which becomes its digits, or a list
    of either. Raises `DataError` naming `file:line`, as `read_table` does.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = decode_json(line, dict[str, Any])
        except msgspec.DecodeError as error:
            raise DataError(
                "is not a JSON object", where=where, found=str(error), expected="{...} on one line"
            ) from error
        values: dict[str, str | list[str]] = {}
        for field, column in columns.named():
            key = _present_name(column, record)
            if key not in record:
                raise _no_such_column(where, column, list(record))
            value = record[str(key)]
            if field == "label" and isinstance(value, list):
                values[field] = [_string(label, field, where) for label in value]
            else:
                values[field] = _string(value, field, where)
        yield Row(number, values)


def _cell_labels(cell: str) -> str | list[str]:
    """A cell's text, or the strings of the JSON list that it is."""
    if not (cell.strip().startswith("[") and cell.strip().endswith("]")):
        return cell
    try:
        return [str(label) for label in decode_json(cell.encode(), list[str | int])]
    except msgspec.DecodeError:
        return cell


def _present_name(column: Column, names: Container[object]) -> Column:
    second = _SECOND_NAMES.get(str(column))
    return second if second is not None and second in names and column not in names else column


def labels_of_cell(label: str | list[str]) -> tuple[str, ...]:
    """The labels of a text, each once: of a list, or of a text with `;` between them."""
    parts = label.split(LABEL_SEPARATOR) if isinstance(label, str) else label
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def holds_several_labels(rows: Iterable[Row]) -> bool:
    """Whether the labels of the rows are lists, or texts with `;` between labels.

    A `;` may also belong to a single label (`R&amp;D`), so one of the labels between them has to be
    that of another text as well.
    """
    cells = [row.values["label"] for row in rows]
    if any(isinstance(cell, list) for cell in cells):
        return True
    distinct = {labels_of_cell(cell) for cell in cells}
    uses = Counter(label for labels in distinct for label in labels)
    return any(len(labels) > 1 and max(map(uses.__getitem__, labels)) > 1 for labels in distinct)


def _string(value: object, field: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if field != "text" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    expected = "a string" if field == "text" else "a string or a whole number"
    raise DataError(
        f"the {field} is not a string", where=where, found=type(value).__name__, expected=expected
    )


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields each row with the line it starts on."""
    last = 0

    def lines() -> Iterator[str]:
        nonlocal last
        for last, line in numbered_lines(path):  # noqa: B007 - read by the loop below
            yield line + "\n"

    reader = csv.reader(lines(), strict=True)
    while True:
        first = last + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            # `csv` says "unexpected end of data" at the end of the file, and refuses a field
            # above 128 KiB: both mean that a quote was opened and never closed.
            open_quote = "end of data" in str(error) or "field limit" in str(error)
            raise DataError(
                "a quote is never closed" if open_quote else "is not CSV",
                where=f"{path}:{first}",
                found=f"{error} at line {last}",
                expected="quotes in pairs, and doubled within a quoted text",
                fix="close the quote, or double it if it belongs to the text",
            ) from error
        if row is None:
            return
        if row:
            yield first, row


def _plain_rows(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered_lines(path):
        if line.strip():
            yield number, line.split(delimiter)


def _column_index(column: Column, names: list[str] | None, width: int, where: str) -> int:
    """The index of a column in a row."""
    if isinstance(column, int):
        if not 1 <= column <= width:
            raise DataError(
                "no such column", where=where, found=f"column {column}", expected=f"1 to {width}"
            )
        return column - 1
    column = _present_name(column, names or ())
    if names is None or column not in names:
        raise _no_such_column(where, column, names or [])
    if names.count(column) > 1:
        raise DataError(
            "a column's name appears twice in the header",
            where=where,
            found=repr(column),
            fix="rename one, or give column numbers",
        )
    return names.index(column)


def _no_such_column(where: str, column: Column, names: list[str]) -> DataError:
    listed = ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
    return DataError(
        f"no column {column!r}",
        where=where,
        found=listed or "none",
        fix="name the columns of the text and the label, or give their numbers from 1",
    )


def text_example(row: Row, path: Path, labels: Sequence[str] | None) -> TextExample:
    """The row as a text with its label; the id is the file's name without suffix and the line.

    White space around texts and labels is dropped. Raises `DataError` naming `file:line` for an
    empty text or label, a list of labels, and a label that is not in `labels`.
    """
    where, label = f"{path}:{row.number}", row.values["label"]
    if not isinstance(label, str):
        raise DataError(
            "the label is a list", where=where, expected="one label per text", fix=_NAME_TASK
        )
    label = label.strip()
    if not label:
        raise DataError(
            "the label is empty",
            where=where,
            fix=f"fill it or remove the row; if a text may have no label, {_NAME_TASK}",
        )
    _check_known((label,), labels, where)
    other = _other_fields(row, path)
    return TextExample(other.id, other.text, label, other.source, other.group)


def multilabel_example(row: Row, path: Path, labels: Sequence[str] | None) -> MultilabelExample:
    """The row as a text with any number of labels; otherwise as `text_example`."""
    found = labels_of_cell(row.values["label"])
    _check_known(found, labels, f"{path}:{row.number}")
    other = _other_fields(row, path)
    return MultilabelExample(other.id, other.text, found, other.source, other.group)


_NAME_TASK = "name the task multilabel-classification"


def _check_known(found: Sequence[str], labels: Sequence[str] | None, where: str) -> None:
    if labels is not None and (unknown := [label for label in found if label not in labels]):
        raise DataError(
            "unknown label",
            where=where,
            found=repr(unknown[0]),
            expected=" or ".join(map(repr, labels)),
        )


class _OtherFields(NamedTuple):
    """The fields of an example besides its labels."""

    id: str
    text: str
    source: str
    group: str


def _other_fields(row: Row, path: Path) -> _OtherFields:
    text, source, group = (
        str(row.values.get(name, "")).strip() for name in ("text", "source", "group")
    )
    if not text:
        where = f"{path}:{row.number}"
        raise DataError("the text is empty", where=where, fix="fill it or remove the row")
    return _OtherFields(f"{path.stem}:{row.number}", text, source, group)
