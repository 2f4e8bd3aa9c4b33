"""The rows of results as CSV and Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeseq.errors import printable
from edgeseq.formats.storage import new_file, write_text
from edgeseq.installation import import_extra

Row = Mapping[str, Any]

_TEXTS = frozenset(("bundle", "runner", "task", "arch", "recipe", "lowering", "device", "metric"))


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

    Raises `OutputError`, and `InputError` without the extra `parquet`.
    """
    pa, pq = import_extra("pyarrow"), import_extra("pyarrow.parquet")
    columns = rows[0] if rows else ()
    schema = pa.schema([(name, _type_of(name)) for name in columns])
    with new_file(path) as draft:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), draft)


def _type_of(column: str) -> str:
    """Arrow's type of a column, by its name."""
    if column in _TEXTS:
        return "string"
    if column == "valid":
        return "bool"
    is_count = column.endswith("_bytes") or column.startswith("n_")
    return "int64" if is_count or column in ("threads", "parameters") else "float64"
