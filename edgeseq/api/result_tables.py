"""The rows of results as CSV and Parquet."""

from __future__ import annotations

import csv
import io
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseq.errors import printable
from edgeseq.formats.storage import new_file, write_text
from edgeseq.reporting.rows import ReportRow

Row = Mapping[str, Any]

_PARQUET_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}


def csv_text(rows: Sequence[Row]) -> str:
    """The rows under a line of names, as RFC 4180 but with plain line ends.

    What was not measured is an empty cell, truth is `true` or `false`; control characters of
    names are escaped.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else printable(str(value))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes `csv_text`; raises `OutputError`."""
    write_text(path, csv_text(rows))


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Writes the rows; a column's type does not depend on whether it was measured.

    Raises `OutputError`, and `ModuleNotFoundError` without the extra `parquet`.
    """
    # 150 MB, of the extra `parquet`.
    import pyarrow as pa  # noqa: PLC0415 - see above
    import pyarrow.parquet as pq  # noqa: PLC0415 - see above

    columns = rows[0] if rows else ()
    schema = pa.schema([(name, _PARQUET_TYPES[_type_of(name)]) for name in columns])
    with new_file(path) as draft:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), draft)


def _type_of(column: str) -> type:
    """What a column holds: the type of its field in `ReportRow`, or of a field's end."""
    hint = typing.get_type_hints(ReportRow).get(column)
    if hint is None:  # an end of an interval
        return int if column.endswith("_bytes") else float
    kinds = {hint, *typing.get_args(hint)} & {int, float, bool}
    return kinds.pop() if kinds else str
