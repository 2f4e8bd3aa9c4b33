"""Data sets: those that can be named, and the user's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec

from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.datasets.registry import entries
from edgeseq.datasets.splits import SPLITS
from edgeseq.datasets.summary import Summary, summarize
from edgeseq.errors import InputError
from edgeseq.formats.storage import new_folder
from edgeseq.suite.data import load_section
from edgeseq.suite.schema import DataSection
from edgeseq.tasks.examples import AnyDataset, Dataset

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from edgeseq.datasets.local_source import DatasetEntry

DatasetSource = AnyDataset | str | Path
"""A data set, or the name or file that `load_dataset` takes."""


class DatasetOptions(TypedDict, total=False):
    """Options of `load_dataset`; those of files are ignored for a name."""

    task: str
    name: str
    dev: str | Path
    test: str | Path
    text_column: str | int
    label_column: str | int
    window: int | None
    target: str | None
    data_dir: str | Path | None
    progress: ProgressOption


def load_dataset(source: str | Path, **options: Unpack[DatasetOptions]) -> AnyDataset:
    """Load a data set: a name of `list_datasets`, a file, or `hf:NAME[:CONFIG]`.

    Args:
        source: A name, or a .csv, .tsv, .jsonl (text and label, or labels as `a;b` or a list),
            .conll or .conllu (words and tags) file; of numeric sequences an .npz with arrays `x`
            [N, steps, features] and `y`, a folder with x.npy and y.npy, or a .csv with a row per
            time step (see `window`).
        task: What the data set is for; by default what its name or its ending tells.
        name: What the user's own files are called in results.
        dev: The validation split's file; by default a tenth of `source`, chosen by hash.
        test: The test split's file; by default a tenth of `source`, chosen by hash.
        text_column: Column of the text, a name or a number from 1.
        label_column: Column of the label, a name or a number from 1.
        window: Rows of a .csv that are one sequence; there is one from each row on.
        target: The column to predict: its number in the row behind the window, or its word in the
            window's last row.
        data_dir: Folder of local copies, used before anything is downloaded.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        DataError: The data set is unknown or not what its format promises.
        FetchError: It cannot be downloaded.

    Examples:
        >>> data = es.load_dataset("reviews.csv", text_column="text", label_column="label")
    """
    check_options(options, DatasetOptions)
    progress = options.get("progress", "auto")
    data_dir = options.get("data_dir")
    is_file = Path(source).suffix != "" and not str(source).startswith("hf:")
    section = DataSection(
        name=options.get("name") if is_file else str(source),
        train=str(source) if is_file else None,
        text_column=options.get("text_column", "text"),
        label_column=options.get("label_column", "label"),
        window=options.get("window"),
        target=options.get("target"),
        dev=_text(options.get("dev")),
        test=_text(options.get("test")),
    )
    with progress_of(progress) as callback:
        return load_section(
            section,
            options.get("task"),
            data_dir=None if data_dir is None else Path(data_dir),
            progress=callback,
        )


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def resolve_dataset(source: DatasetSource, **options: Unpack[DatasetOptions]) -> AnyDataset:
    """The data set itself, or the one that `load_dataset` makes of a name or file."""
    return source if isinstance(source, Dataset) else load_dataset(source, **options)


def list_datasets(data_dir: str | Path | None = None) -> tuple[DatasetEntry, ...]:
    """List the data sets that have a name, with their licences, sizes and origins.

    Args:
        data_dir: Folder of local copies; an entry says whether it is available there.

    Examples:
        >>> [entry.name for entry in es.list_datasets()][0]
        'customer-feedback'
    """
    return entries(None if data_dir is None else Path(data_dir))


def save_dataset(data: DatasetSource, folder: str | Path) -> Path:
    """Write train.jsonl, dev.jsonl and test.jsonl to a new folder.

    Args:
        data: A data set, or what `load_dataset` takes.
        folder: The folder to write.

    Raises:
        OutputError: The folder exists or cannot be written.

    Examples:
        >>> es.save_dataset(data, "splits")
    """
    dataset = resolve_dataset(data)
    _check_texts(dataset)
    with new_folder(Path(folder)) as draft:
        for name in SPLITS:
            lines = msgspec.json.Encoder().encode_lines(getattr(dataset, name))
            (draft / f"{name}.jsonl").write_bytes(lines)
    return Path(folder)


def summarize_dataset(data: DatasetSource) -> Summary:
    """Count labels and lengths, and choose a few samples.

    Args:
        data: A data set, or what `load_dataset` takes.

    Returns:
        Class balance and lengths (words and characters) per split, test texts that are also in
        train, and samples.

    Raises:
        DataError: As for `load_dataset`.

    Examples:
        >>> es.summarize_dataset("reviews.csv").test_texts_in_train
        0
    """
    dataset = resolve_dataset(data)
    _check_texts(dataset)
    return summarize(dataset)


def _check_texts(dataset: AnyDataset) -> None:
    if dataset.rows is not None:
        raise InputError(
            "holds numeric sequences, not texts",
            where=dataset.name,
            found=f"{len(dataset.rows)} steps of {dataset.rows.shape[1]} features",
            fix="convert and measure with it; its arrays are in your file",
        )
