"""A user's numeric sequences as a data set (`sequence_arrays` has the forms of the files).

Splits without a file are cut from the end of train, a tenth each: later sequences are predicted
from earlier ones, and windows that overlap mostly stay in one split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.datasets.sequence_arrays import (
    ARRAY_SUFFIXES,
    FloatArray,
    SequenceArrays,
    holds_arrays,
    is_number,
    numbers_of_cells,
    read_arrays,
    read_columns,
)
from edgeseq.datasets.splits import SPLITS, canonical_sha256
from edgeseq.errors import DataError, InputError
from edgeseq.tasks.examples import Dataset, SequenceExample, SplitName
from edgeseq.tasks.head import is_numeric
from edgeseq.tasks.registry import get_task

LICENCE = "the user's own"
MAX_CLASSES = 100_000
"""Far more than any model tells apart: larger whole numbers are no classes."""


class Windows(NamedTuple):
    """How a table of one row per time step becomes sequences: every `steps` rows that follow each
    other, one row apart. A `target` of numbers is predicted as it is in the row behind a window,
    and is a feature itself; one of words is the class of a window's last row, and is none."""

    steps: int
    target: str


def is_sequence_file(path: Path, windows: Windows | None) -> bool:
    """Whether the file holds numeric sequences; a table does where `windows` are cut from it."""
    return holds_arrays(path) or windows is not None


def load_sequences(
    paths: Mapping[SplitName, Path],
    *,
    task: str | None = None,
    name: str | None = None,
    windows: Windows | None = None,
) -> Dataset[SequenceExample]:
    """The data set of the files of its splits, of which `train` is needed.

    Args:
        paths: A file or folder by split.
        task: `sequence` or `sequence-classification`; None: what the targets are.
        name: Its name in results; by default that of the train file.
        windows: How sequences are cut from tables; None: files are arrays.

    Raises:
        InputError: The task is one of texts.
        DataError: A file is not what its format promises, the splits do not fit each other, or
            there are too few sequences for three splits.
    """
    if task is not None and not is_numeric(get_task(task).head):
        raise InputError(
            "holds numeric sequences, not what the task needs",
            where=paths["train"],
            found=f"the task {task}",
            expected="sequence or sequence-classification",
        )
    parts = {split: _read(path, windows) for split, path in paths.items()}
    train = paths["train"]
    _check_alike(parts, paths)
    targets = np.concatenate(_targets_alike(parts, paths, task))
    names = parts["train"].target_names
    answers = _answers(targets, names, task, where=train)
    rows: list[FloatArray] = []
    examples: dict[SplitName, list[SequenceExample]] = {}
    row_count = example_count = 0
    for split, part in parts.items():
        examples[split] = [
            SequenceExample(
                id=f"{split}/{index}",
                start=row_count + start,
                steps=steps,
                label=answers.label(example_count + index),
                target=answers.target(example_count + index),
            )
            for index, (start, steps) in enumerate(part.row_ranges)
        ]
        rows.append(part.rows)
        row_count, example_count = row_count + len(part.rows), example_count + len(part.row_ranges)
    all_rows, splits = np.concatenate(rows), _fill_splits(examples, where=train)
    return Dataset(
        name=name or train.stem,
        task=answers.task,
        labels=answers.labels,
        train=splits["train"],
        dev=splits["dev"],
        test=splits["test"],
        licence=LICENCE,
        origin=", ".join(path.name for path in paths.values()),
        sha256=_sha256(answers, splits, all_rows),
        rows=all_rows,
    )


def numbers_of(dataset: Dataset[SequenceExample], example: SequenceExample) -> FloatArray:
    """The numbers [steps, features] of a sequence."""
    rows: FloatArray = dataset.rows[example.start : example.start + example.steps]
    return rows


class _Part(NamedTuple):
    """What one file holds: rows, the place of each sequence in them, and the targets."""

    rows: FloatArray
    row_ranges: list[tuple[int, int]]
    targets: npt.NDArray[Any] | None
    target_names: tuple[str, ...]


def _read(path: Path, windows: Windows | None) -> _Part:
    if windows is not None and not holds_arrays(path):
        return _cut_windows(path, windows)
    if not holds_arrays(path):
        raise DataError(
            "is not a file of numeric sequences",
            where=path,
            expected=f"{' or '.join(ARRAY_SUFFIXES)}, a folder with x.npy and y.npy, or a table",
            fix="name the rows of a sequence of a table with --window, and its --target",
        )
    arrays: SequenceArrays = read_arrays(path)
    ends = np.cumsum(arrays.lengths).tolist()
    row_ranges = [(end - steps, steps) for end, steps in zip(ends, arrays.lengths, strict=True)]
    return _Part(arrays.rows, row_ranges, arrays.targets, arrays.label_names)


def _cut_windows(path: Path, windows: Windows) -> _Part:
    names, cells = read_columns(path)
    if names.count(windows.target) != 1:
        raise DataError(
            "has several such columns" if windows.target in names else "has no such column",
            where=path,
            found=windows.target,
            expected=", ".join(names)[:200],
            fix="correct --target, and name each column once",
        )
    column = names.index(windows.target)
    targets = [row[column] for row in cells]
    has_numbers = _are_numbers(targets, path)
    if not has_numbers:
        cells = [[cell for at, cell in enumerate(row) if at != column] for row in cells]
    rows = numbers_of_cells(cells, path)
    target = rows[:, column] if has_numbers else np.asarray(targets)
    behind = 1 if has_numbers else 0
    count = len(rows) - windows.steps + 1 - behind
    if count < 1 or not rows.shape[1] or not np.isfinite(rows).all():
        raise DataError(
            "does not hold a window of numbers",
            where=path,
            found=f"{len(rows)} rows of {rows.shape[1]} features",
            expected=f"more than {windows.steps} rows, each cell a number",
        )
    ends = target[windows.steps - 1 + behind : windows.steps - 1 + behind + count]
    row_ranges = [(start, windows.steps) for start in range(count)]
    return _Part(rows, row_ranges, ends.reshape(-1, 1), (windows.target,) if has_numbers else ())


def _are_numbers(targets: Sequence[str], path: Path) -> bool:
    """Whether the target's cells are numbers; raises `DataError` for fractions among which there is
    something else, which would make each number a class."""
    numbers = [float(cell) for cell in targets if is_number(cell)]
    if len(numbers) < len(targets) and not all(map(float.is_integer, numbers)):
        raise DataError(
            "the target has numbers and a cell that is not a number",
            where=path,
            found=repr(next(cell for cell in targets if not is_number(cell))),
            fix="fill it or remove the row",
        )
    return len(numbers) == len(targets)


def _check_alike(parts: Mapping[SplitName, _Part], paths: Mapping[SplitName, Path]) -> None:
    features = parts["train"].rows.shape[1]
    for split, part in parts.items():
        if part.rows.shape[1] != features:
            raise DataError(
                "has another number of features than train",
                where=paths[split],
                found=part.rows.shape[1],
                expected=features,
            )


def _targets_alike(
    parts: Mapping[SplitName, _Part], paths: Mapping[SplitName, Path], task: str | None
) -> list[npt.NDArray[Any]]:
    """The targets of each split: with as many outputs as those of train, and of the same kind,
    which tells the task where none is named."""

    def kind(targets: npt.NDArray[Any]) -> str:
        numbers = "numbers" if task else "floats" if targets.dtype.kind == "f" else "whole numbers"
        return f"{'words' if targets.dtype.kind == 'U' else numbers} [N, {targets.shape[1]}]"

    targets = {split: _with_targets(part, paths[split]) for split, part in parts.items()}
    for split, array in targets.items():
        if kind(array) != kind(targets["train"]):
            raise DataError(
                "has other targets than train",
                where=paths[split],
                found=kind(array),
                expected=kind(targets["train"]),
                fix="save y of all splits alike",
            )
    return list(targets.values())


def _with_targets(part: _Part, path: Path) -> npt.NDArray[Any]:
    if part.targets is None:
        raise DataError(
            "has no targets to compare with",
            where=path,
            expected="an array y with a row per sequence",
            fix="save it with numpy.savez(path, x=x, y=y)",
        )
    return part.targets


class _Answers(NamedTuple):
    """What is predicted of each sequence: its class number [N], or numbers [N, outputs], of which
    `labels` are the names."""

    task: str
    labels: tuple[str, ...]
    values: npt.NDArray[Any]

    def label(self, index: int) -> str:
        """The class of a sequence; "" of numbers."""
        return "" if self.values.ndim > 1 else self.labels[int(self.values[index])]

    def target(self, index: int) -> tuple[float, ...]:
        """The numbers of a sequence; () of a class."""
        return tuple(self.values[index].tolist()) if self.values.ndim > 1 else ()


def _answers(
    targets: npt.NDArray[Any], names: tuple[str, ...], task: str | None, *, where: Path
) -> _Answers:
    """`targets` [N, outputs] as what `task` predicts, by default what they are."""
    is_one_hot = targets.shape[1] > 1 and targets.dtype.kind in "fiub"
    if is_one_hot:
        numbers = targets.astype(np.float64)
        is_one_hot = bool(((numbers == 0) | (numbers == 1)).all() and (numbers.sum(1) == 1).all())
    is_class = task != "sequence" and (
        is_one_hot or (targets.dtype.kind in "iubU" and targets.shape[1] == 1)
    )
    if task == "sequence-classification" and not is_class:
        raise DataError(
            "y does not hold classes",
            where=where,
            found=f"{targets.dtype} {list(targets.shape)}",
            expected="whole numbers or words [N], or one-hot rows [N, classes]",
        )
    if not is_class:
        if targets.dtype.kind == "U":
            raise DataError("y does not hold numbers", where=where, found=targets.dtype)
        width = targets.shape[1]
        default = ("y",) if width == 1 else tuple(f"y.{index}" for index in range(width))
        labels = names if len(names) == width else default
        return _Answers("sequence", labels, targets.astype(np.float64))
    if targets.dtype.kind == "U":
        labels = tuple(sorted(set(targets[:, 0].tolist())))
        return _labelled(labels, np.searchsorted(np.asarray(labels), targets[:, 0]), where)
    classes = targets.argmax(axis=1) if is_one_hot else targets[:, 0].astype(np.int64)
    if classes.min() < 0:
        raise DataError("y has a class below 0", where=where, found=int(classes.min()))
    count = max(int(classes.max()) + 1, targets.shape[1], len(names))
    if count > MAX_CLASSES:
        raise DataError(
            "y has whole numbers that are too large for classes",
            where=where,
            found=int(classes.max()),
            expected=f"below {MAX_CLASSES}",
            fix="save y as floats to predict numbers, or count classes from 0",
        )
    if 0 < len(names) < count:
        raise DataError(
            "labels do not name every class", where=where, found=len(names), expected=count
        )
    return _labelled(names or tuple(map(str, range(count))), classes, where)


def _labelled(labels: tuple[str, ...], classes: npt.NDArray[Any], where: Path) -> _Answers:
    if len(labels) < 2 or len(set(labels)) < len(labels) or "" in labels:
        raise DataError(
            "has no set of classes",
            where=where,
            found=", ".join(map(repr, labels))[:200],
            expected="at least 2, all different",
        )
    return _Answers("sequence-classification", labels, classes)


def _fill_splits(
    examples: Mapping[SplitName, Sequence[SequenceExample]], *, where: Path
) -> dict[SplitName, tuple[SequenceExample, ...]]:
    rest = list(examples["train"])
    filled: dict[SplitName, tuple[SequenceExample, ...]] = {}
    for split in SPLITS[:0:-1]:
        if split in examples:
            filled[split] = tuple(examples[split])
            continue
        count = max(1, len(examples["train"]) // 10)
        filled[split] = tuple(rest[len(rest) - count :])
        rest = rest[: len(rest) - count]
    filled["train"] = tuple(rest)
    if not all(filled.values()):
        raise DataError(
            "has too few sequences for a train, dev and test split",
            where=where,
            found=len(examples["train"]),
            expected="3 or more, 10 of them for a tenth each",
        )
    return {split: filled[split] for split in SPLITS}


def _sha256(
    answers: _Answers, splits: Mapping[SplitName, Sequence[SequenceExample]], rows: FloatArray
) -> str:
    """Of the examples, as those of texts (`canonical_sha256`), and the bytes of the rows."""
    in_order = [(split, splits[split]) for split in SPLITS]
    digest = hashlib.sha256(canonical_sha256(answers.task, answers.labels, in_order).encode())
    digest.update(str(list(rows.shape)).encode())
    digest.update(np.ascontiguousarray(rows, "<f4").tobytes())
    return digest.hexdigest()
