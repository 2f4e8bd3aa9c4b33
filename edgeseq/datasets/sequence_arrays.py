"""Numeric sequences in files of arrays.

| file | holds |
|---|---|
| `.npz` | `x` [N, steps, features], or rows [all steps, features] with `lengths` [N]; `y` |
| a folder | the same as `x.npy`, `y.npy` and perhaps `lengths.npy` |
| `.npy` | `x` alone: several sequences [N, steps, features], or one [steps, features] |
| `.csv` | one row per time step, its columns the features: one sequence |

`y` is [N] or [N, outputs]: floats are numbers to predict; whole numbers, words and one-hot rows are
classes, which an array `labels` may name (numbers to predict too).
The numbers are used as they are: a network that was trained on scaled numbers needs scaled ones.
Nothing in a file is run: pickled objects are refused.
"""

from __future__ import annotations

import csv
import io
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError
from edgeseq.formats.storage import read_bytes

FloatArray = npt.NDArray[np.float32]
ARRAY_SUFFIXES = (".npz", ".npy")
_ARRAYS = ("x", "y", "lengths", "labels")
LIMIT_BYTES = 4 << 30
"""Of a file of arrays, and of what it unpacks to."""


@dataclass(frozen=True)
class SequenceArrays:
    """Sequences one behind the other in `rows` [all steps, features], their `lengths`, and perhaps
    what is to be predicted of each: `targets` [N, outputs], numbers or classes, and the names of
    these."""

    rows: FloatArray
    lengths: tuple[int, ...]
    targets: npt.NDArray[Any] | None = None
    label_names: tuple[str, ...] = ()

    def sequences(self) -> list[FloatArray]:
        """Each sequence's numbers [steps, features]."""
        return np.split(self.rows, np.cumsum(self.lengths)[:-1])


def holds_arrays(path: Path) -> bool:
    """Whether there are numeric sequences at `path`, going by its kind alone."""
    return path.suffix.lower() in ARRAY_SUFFIXES or (path / "x.npy").is_file()


def read_arrays(path: Path) -> SequenceArrays:
    """The sequences at `path`, in any of the forms above.

    Raises `DataError` for a file that is missing, damaged or holds pickled objects, for numbers
    that are NaN or infinite, and for shapes that do not fit each other.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        rows = read_columns(path)[1]
        return _checked({"x": numbers_of_cells(rows, path)[None]}, path)
    if path.is_dir():
        names = [name for name in _ARRAYS if (path / f"{name}.npy").is_file()]
        return _checked({name: _read_npy(path / f"{name}.npy") for name in names}, path)
    if suffix == ".npz":
        return _checked(_read_npz(path), path)
    if suffix != ".npy":
        raise DataError(
            "is not a file of numeric sequences",
            where=path,
            expected=".npz with x and y, a folder with x.npy and y.npy, .npy or .csv",
        )
    values = _read_npy(path)
    return _checked({"x": values[None] if values.ndim == 2 else values}, path)


def arrays_of(sequences: Sequence[Any]) -> SequenceArrays:
    """Arrays [steps, features] in memory, one per sequence; raises `DataError` for others."""
    try:
        values = [np.asarray(sequence) for sequence in sequences]
    except ValueError as failure:
        raise DataError(
            "are not sequences of numbers",
            where="the arrays",
            found=failure,
            expected="arrays [steps, features]",
        ) from failure
    shapes = {array.shape[1:] for array in values}
    if not values or len(shapes) != 1 or any(array.ndim != 2 for array in values):
        raise DataError(
            "are not sequences of numbers",
            where="the arrays",
            found=", ".join(str(list(array.shape)) for array in values[:4]) or "none",
            expected="arrays [steps, features]",
        )
    lengths = np.asarray([len(array) for array in values])
    return _checked({"x": np.concatenate(values), "lengths": lengths}, Path("the arrays"))


def read_columns(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    """The names of a CSV file's columns (numbers from 1 without a header) and its rows.

    A first row that holds anything but numbers is the header. Raises `DataError` naming the line of
    a row with another number of columns, and for a file that is not UTF-8.
    """
    content = read_bytes(path, error=DataError, limit_bytes=LIMIT_BYTES)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        raise DataError(
            "is not UTF-8",
            where=path,
            found=f"byte {content[failure.start]:#04x} at offset {failure.start}",
            fix="save it as UTF-8",
        ) from failure
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if not row:
                continue
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    "wrong number of columns",
                    where=f"{path}:{reader.line_num}",
                    found=len(row),
                    expected=len(rows[0]),
                )
            rows.append([cell.strip() for cell in row])
    except csv.Error as failure:
        raise DataError("is not CSV", where=f"{path}:{reader.line_num}", found=failure) from failure
    if not rows:
        raise DataError("is empty", where=path, expected="one row per time step")
    if any(not is_number(cell) for cell in rows[0]) and len(rows) > 1:
        return tuple(rows[0]), rows[1:]
    return tuple(str(number) for number in range(1, len(rows[0]) + 1)), rows


def is_number(cell: str) -> bool:
    """Whether a cell of a table is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def numbers_of_cells(rows: list[list[str]], path: Path) -> FloatArray:
    """The cells of a table as numbers; raises `DataError` quoting one that is something else."""
    try:
        with np.errstate(over="ignore"):  # infinity, which is refused
            return np.asarray(rows, np.float32)
    except ValueError as failure:
        raise DataError(
            "has a cell that is not a number", where=path, found=failure, fix="remove the column"
        ) from failure


def _read_npy(path: Path) -> npt.NDArray[Any]:
    content = read_bytes(path, error=DataError, limit_bytes=LIMIT_BYTES)
    return _load(io.BytesIO(content), path)


def _read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    content = read_bytes(path, error=DataError, limit_bytes=LIMIT_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            total_bytes = sum(entry.file_size for entry in archive.infolist())
            if total_bytes > LIMIT_BYTES:
                raise DataError("unpacks to more than any data set", where=path, found=total_bytes)
            names = {name.removesuffix(".npy"): name for name in archive.namelist()}
            array_names = [name for name in _ARRAYS if name in names]
            if "x" not in array_names:
                raise DataError(
                    "has no array x",
                    where=path,
                    found=", ".join(sorted(names))[:200] or "none",
                    fix="save it with numpy.savez(path, x=x, y=y)",
                )
            contents = {name: archive.read(names[name]) for name in array_names}
    except (
        *(OSError, EOFError, ValueError, RuntimeError),  # RuntimeError: it is encrypted
        *(zipfile.BadZipFile, NotImplementedError, zlib.error),
    ) as failure:
        raise DataError("is not an .npz file", where=path, found=failure) from failure
    return {
        name: _load(io.BytesIO(content), f"{path}: {name}") for name, content in contents.items()
    }


def _load(file: io.BytesIO, where: object) -> npt.NDArray[Any]:
    try:
        values = np.lib.format.read_array(file, allow_pickle=False)
    except (
        *(ValueError, EOFError, OSError, TypeError, OverflowError, MemoryError),
        *(SyntaxError, tokenize.TokenError),  # of the header, which is a Python literal
    ) as failure:
        raise DataError(
            "is not an array of numbers",
            where=str(where),
            found=failure,
            fix="save it with numpy.save, as float32",
        ) from failure
    return np.asarray(values)


def _checked(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> SequenceArrays:
    if "x" not in arrays:
        raise DataError("has no x.npy", where=path, fix="save it with numpy.save(path, x)")
    values, lengths = arrays["x"], arrays.get("lengths")
    if values.dtype.kind not in "fiu" or values.dtype.itemsize > 8:
        raise DataError("x does not hold numbers", where=path, found=values.dtype)
    expected = 3 if lengths is None else 2
    if values.ndim != expected or 0 in values.shape:
        raise DataError(
            "x does not have the shape of sequences",
            where=path,
            found=list(values.shape),
            expected="[N, steps, features], or rows [all steps, features] with lengths [N]",
            fix="reshape it; a single feature is an axis of 1",
        )
    counts = [values.shape[1]] * values.shape[0]
    if lengths is not None:
        is_whole = lengths.ndim == 1 and lengths.dtype.kind in "iu"
        is_whole = is_whole and bool(((lengths > 0) & (lengths <= len(values))).all())
        if not is_whole or lengths.sum() != len(values):
            raise DataError(
                "lengths do not add up to the rows of x",
                where=path,
                found=int(lengths.sum()) if is_whole else f"{lengths.dtype} {lengths[:4]}",
                expected=len(values),
            )
        counts = lengths.tolist()
    rows = np.ascontiguousarray(values.reshape(-1, values.shape[-1]), np.float32)
    if not np.isfinite(rows).all():
        raise DataError(
            "x holds NaN or infinity",
            where=path,
            found=f"in {int((~np.isfinite(rows)).any(axis=1).sum())} steps",
            fix="fill gaps as the network was trained",
        )
    targets = arrays.get("y")
    if targets is not None:
        targets = _targets(targets, len(counts), path)
    labels = arrays.get("labels", np.zeros(0, "U1"))
    if labels.dtype.kind != "U" or labels.ndim != 1:
        raise DataError("labels are not words", where=path, found=labels.dtype)
    return SequenceArrays(rows, tuple(counts), targets, tuple(labels.tolist()))


def _targets(targets: npt.NDArray[Any], count: int, path: Path) -> npt.NDArray[Any]:
    """What is to be predicted, [N, outputs]."""
    has_kind = targets.dtype.kind in "fiubU"
    has_shape = targets.ndim in (1, 2) and len(targets) == count and 0 not in targets.shape
    if not (has_kind and has_shape):
        raise DataError(
            "y does not go with x",
            where=path,
            found=f"{targets.dtype} {list(targets.shape)}",
            expected=f"[{count}] or [{count}, outputs]: one row per sequence",
        )
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise DataError("y holds NaN or infinity", where=path)
    return targets.reshape(count, -1)
