"""The data set that a suite's `[data]` section names."""

from __future__ import annotations

from pathlib import Path

from edgeseq.datasets.readers import Columns
from edgeseq.datasets.registry import load_dataset
from edgeseq.datasets.sequence_data import Windows, is_sequence_file, load_sequences
from edgeseq.datasets.user_files import load_files, task_of_file
from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.suite.quick import take_subset
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset, SplitName


def load_section(
    section: DataSection,
    task: str | None,
    *,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> AnyDataset:
    """Loads the data set; paths in `section` are relative to the working directory.

    Args:
        section: Names a registered data set or files, and how many examples to take of each.
        task: What the data set is for; None: what its name or its files tell.
        data_dir: Folder of local copies.
        progress: Called while something is downloaded.

    Raises:
        DataError: The data set is unknown, not what its format promises, or for another task.
        FetchError: It cannot be downloaded.
    """
    return take_subset(
        _load_full(section, task, data_dir, progress),
        max_train=section.max_train,
        max_dev=section.max_dev,
        max_test=section.max_test,
    )


def _load_full(
    section: DataSection, task: str | None, data_dir: Path | None, progress: ProgressCallback
) -> AnyDataset:
    columns = Columns(text=section.text_column, label=section.label_column)
    windows = _windows(section)
    source = section.train or section.name
    if source is not None and is_sequence_file(Path(source), windows):
        files: dict[SplitName, str | None]
        files = {"train": source, "dev": section.dev, "test": section.test}
        paths = {split: Path(path) for split, path in files.items() if path is not None}
        name = section.name if section.train else None
        return load_sequences(paths, task=task, name=name, windows=windows)
    if section.train is None:
        if section.name is None:  # the suite's schema excludes this
            raise InputError("[data] needs either a name or a train file")
        return load_dataset(
            section.name, task=task, data_dir=data_dir, columns=columns, progress=progress
        )
    task = task or task_of_file(section.train, columns)
    train = Path(section.train)
    dev, test = (None if path is None else Path(path) for path in (section.dev, section.test))
    return load_files(task, train=train, dev=dev, test=test, columns=columns, name=section.name)


def _windows(section: DataSection) -> Windows | None:
    if (section.window is None) != (section.target is None):
        raise InputError(
            "window and target go together",
            found="window" if section.target is None else "target",
            fix="name both: the rows of a sequence, and the column to predict",
        )
    if section.window is None or section.target is None:
        return None
    if section.window < 1:
        raise InputError(
            "is not a number of rows", where="window", found=section.window, expected="1 or more"
        )
    return Windows(section.window, section.target)
