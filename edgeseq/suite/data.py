"""The data set that a suite's `[data]` section names."""

from __future__ import annotations

from pathlib import Path

from edgeseq.datasets.readers import Columns
from edgeseq.datasets.registry import load_dataset
from edgeseq.datasets.user_files import load_files, task_of_file
from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.suite.quick import take_subset
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset


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
