"""Tables with a text and a label a row: CSV, TSV and JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.datasets.lines import numbered_lines
from edgeseq.errors import DataError
from edgeseq.formats.codec import decode_json
from edgeseq.tasks.examples import TextExample

Column = str | int
"""A column's name, or its number counted from 1."""


class Columns(msgspec.Struct, frozen=True):
    """Which columns hold what; `source` and `group` may be left out (see `TextExample`)."""

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


def read_table(
    path: Path,
    columns: Columns,
    *,
    delimiter: str,
    header: bool | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[TextExample, ...]:
    """The examples of a CSV (`delimiter=","`) or TSV (`delimiter="\\t"`) file, one a row.

    Whether the first line is a header follows from `columns` and is never guessed: when one is
    given by name it is a header, when all are numbers it is an example; `header` overrides the
    latter. CSV is quoted as RFC 4180 says (a quote in a quoted field is doubled, a field may go
    over several lines); in TSV a quote is an ordinary character, as its media type says. Blank
    lines between rows are skipped. White space around texts and labels is dropped.

    The examples' ids are the file's name without suffix and the row's line. Raises `DataError`
    naming `file:line` for a missing column, a row with another number of columns than the first,
    an empty text or label, a label that is not in `labels`, and a quote that is never closed.
    """
    rows = _csv_rows(path) if delimiter == "," else _plain_rows(path, delimiter)
    has_names = any(isinstance(column, str) for _, column in columns.named())
    if has_names and header is False:
        raise DataError(
            "columns by name need a header",
            where=path,
            fix="give column numbers, counted from 1, or say that there is a header",
        )
    examples = []
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
        values = {field: row[index] for field, index in indices}
        examples.append(_example(values, path, number, labels))
    if not examples:
        raise DataError("holds no examples", where=path, expected="one a row")
    return tuple(examples)


def read_jsonl(
    path: Path, columns: Columns, *, labels: Sequence[str] | None = None
) -> tuple[TextExample, ...]:
    """The examples of a file with one JSON object a line; columns are the objects' keys.

    Texts must be strings; a label may also be a whole number, which becomes its digits. Raises
    `DataError` naming `file:line`, as `read_table` does.
    """
    examples = []
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
        values = {}
        for field, key in columns.named():
            if key not in record:
                raise _no_such_column(where, key, list(record))
            values[field] = _string(record[str(key)], field, where)
        examples.append(_example(values, path, number, labels))
    if not examples:
        raise DataError("holds no examples", where=path, expected="one JSON object a line")
    return tuple(examples)


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


def _example(
    values: dict[str, str], path: Path, number: int, labels: Sequence[str] | None
) -> TextExample:
    where = f"{path}:{number}"
    values = {field: value.strip() for field, value in values.items()}
    for field in ("text", "label"):
        if not values[field]:
            raise DataError(f"the {field} is empty", where=where, fix="fill it or remove the row")
    if labels is not None and values["label"] not in labels:
        raise DataError(
            "unknown label",
            where=where,
            found=repr(values["label"]),
            expected=" or ".join(map(repr, labels)),
        )
    return TextExample(
        id=f"{path.stem}:{number}",
        text=values["text"],
        label=values["label"],
        source=values.get("source", ""),
        group=values.get("group", ""),
    )
