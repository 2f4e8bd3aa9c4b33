"""Results read run by run: a report of many models need not hold all their samples at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import ResultError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.result import (
    SCHEMA_VERSION,
    ResultRecord,
    Run,
    Runner,
    check_run,
    check_runners,
)
from edgeseq.formats.result_checks import check_head
from edgeseq.formats.storage import read_json

# A result whose runs are still text: they are views into the file's content, not copies.
_UndecodedResult: Any = msgspec.defstruct(
    "_UndecodedResult",
    [
        (field.name, tuple[msgspec.Raw, ...] if field.name == "runs" else field.type)
        if field.required
        # A file that does not tell its version is of the first.
        else (field.name, field.type, 1 if field.name == "schema_version" else field.default)
        for field in msgspec.structs.fields(ResultRecord)
    ],
    frozen=True,
)


def _read_undecoded(path: Path) -> Any:
    """The result without its runs' content; reads a file of the current version only once."""
    with contextlib.suppress(ResultError):
        undecoded = read_json(path, _UndecodedResult, error=ResultError)
        if undecoded.schema_version == SCHEMA_VERSION:
            return undecoded
    # The version, which is the first to be named where it differs, is looked at before the rest.
    return read_json(path, _UndecodedResult, error=ResultError, schema_version=SCHEMA_VERSION)


class ResultStream:
    """A result file whose runs are decoded and checked one at a time, once.

    `head` is the record without its runs. Opening raises `ResultError` as
    `edgeseq.formats.result.read_result` does, and so does iterating.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        undecoded = _read_undecoded(path)
        names = [name for name in ResultRecord.__struct_fields__ if name != "runs"]
        self.head = ResultRecord(runs=(), **{name: getattr(undecoded, name) for name in names})
        check_head(path, self.head)
        self._undecoded: list[msgspec.Raw] = list(undecoded.runs)

    def __iter__(self) -> Iterator[Run]:
        measured: list[tuple[str, Runner]] = []
        columns = _SharedColumns()
        pending, self._undecoded = self._undecoded, []
        pending.reverse()
        while pending:
            place = f"$.runs[{len(measured)}]"
            try:
                run = decode_json(pending.pop(), Run)
            except msgspec.DecodeError as failure:
                found = str(failure).replace("`$", f"`{place}")
                found = found if place in found else f"{found} - at `{place}`"
                raise ResultError(
                    "is not what was expected", where=self.path, found=found
                ) from failure
            check_run(self.path, run)
            measured.append((run.bundle.name, run.runner))
            yield columns.in_run(run)
        check_runners(self.path, measured)


class _SharedColumns:
    """Equal columns of the predictions of several runs, held once."""

    def __init__(self) -> None:
        self._columns: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def in_run(self, run: Run) -> Run:
        """The run with the columns of an earlier one where they are equal."""
        if run.predictions is None:
            return run
        columns = {
            name: self._columns.setdefault(column, column)
            for name in ("gold", "sources", "counts")
            if (column := getattr(run.predictions, name))
        }
        predictions = msgspec.structs.replace(run.predictions, **columns)
        return msgspec.structs.replace(run, predictions=predictions)
