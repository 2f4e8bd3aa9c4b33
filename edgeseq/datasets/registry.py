"""Which data sets there are by name, and the one function that loads any of them.

| name | what |
|---|---|
| `customer-feedback` | the default: fetched from the package index |
| `sst3` | Stanford Sentiment Treebank in three classes |
| `gap` | pronouns and the names that they may mean |
| `ud-ewt`, `e-ner`, `sec-fin`, `wnut17` | words with tags (`tagged_sources`) |
| `wikitext2` | running text, word by word |
| `PATH.csv`, `.tsv`, `.jsonl` | the user's own file, divided by hash |
| `hf:NAME[:CONFIG]` | a data set of the Hugging Face hub |
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from edgeseq.datasets import customer_feedback, gap, hub, sst3, tagged_sources, wikitext
from edgeseq.datasets.local_source import DatasetEntry, LocalSource
from edgeseq.datasets.readers import Columns
from edgeseq.datasets.user_files import load_files, suffixes_of, task_of_file
from edgeseq.errors import DataError, InputError
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset
from edgeseq.tasks.head import TEXT_HEADS
from edgeseq.tasks.registry import task_of

DEFAULT = customer_feedback.NAME


LOCAL_SOURCES = (sst3.SOURCE, gap.SOURCE, *tagged_sources.SOURCES, wikitext.SOURCE)
BUILT_IN = {source.entry.name: source for source in LOCAL_SOURCES}
"""Those whose files `edgeseq data get` fetches from where they are published."""


def find_source(name: str) -> LocalSource | None:
    """The built-in data set `name`; None for any other, and for the one from the package index."""
    return BUILT_IN.get(name)


def entries(data_dir: Path | None = None) -> tuple[DatasetEntry, ...]:
    """All data sets that can be named; `data_dir` is the folder of the user's local copies."""
    return (
        customer_feedback.entry(data_dir),
        *(source.describe(data_dir) for source in LOCAL_SOURCES),
        DatasetEntry(
            name="FILE",
            task="text-classification",
            title="your own .csv, .tsv or .jsonl with a text and a label a row",
            sizes=None,
            licence="yours",
            origin="a path in place of a name",
            citation="",
            is_local=True,
        ),
        DatasetEntry(
            name="FILE",
            task="multilabel-classification",
            title="the same with any number of labels a row: a;b, or a list",
            sizes=None,
            licence="yours",
            origin="a path in place of a name",
            citation="",
            is_local=True,
        ),
        DatasetEntry(
            name="FILE",
            task="token-classification, pos or ner",
            title="your own .conll, .conllu or .jsonl of words with a tag each",
            sizes=None,
            licence="yours",
            origin="a path in place of a name",
            citation="",
            is_local=True,
        ),
        DatasetEntry(
            name="hf:NAME[:CONFIG]",
            task="text-classification",
            title="a data set of the Hugging Face hub",
            sizes=None,
            licence="see its card on the hub",
            origin="Hugging Face hub, through the extra `datasets`",
            citation="",
            is_local=importlib.util.find_spec("datasets") is not None,
        ),
    )


def default_name(task: str) -> str:
    """The first data set of `task`; raises `InputError` for a task of the user's own data."""
    for entry in entries():
        if entry.task == task and entry.sizes:
            return entry.name
    raise InputError(f"{task} has no built-in data set", fix="name one with --data")


def load_dataset(
    name: str,
    *,
    task: str | None = None,
    data_dir: Path | None = None,
    columns: Columns | None = None,
    progress: ProgressCallback = no_progress,
) -> AnyDataset:
    """The data set called `name` (see the table above).

    The default one and those of the hub are fetched first where that is needed.

    `task` is what a user's file is for (default: `task_of_file`); a registered data set has its own
    task, and another one is refused.
    `data_dir` is a folder with local copies, looked at before any network; `columns` is for files
    and the hub. Raises `DataError` for an unknown name or a set that is not what its format
    promises, and `FetchError` when it cannot be downloaded.
    """
    if data_dir is not None and not data_dir.is_dir():
        raise DataError(
            "is not a folder of local data sets",
            where=data_dir,
            fix="check --data-dir and EDGESEQ_DATA",
        )
    if name == customer_feedback.NAME:
        return _for_task(customer_feedback.load(data_dir, progress=progress), task)
    if (source := find_source(name)) is not None:
        return _for_task(source.load(data_dir), task)
    if name.startswith(hub.PREFIX):
        is_of_texts = task is not None and task_of(task).head in TEXT_HEADS
        of_task = task if is_of_texts else None
        dataset = hub.load_hub(name, task=of_task, columns=columns, progress=progress)
        return _for_task(dataset, task)
    task = task or task_of_file(name, columns)
    if Path(name).suffix.lower() in suffixes_of(task):
        return load_files(task, train=Path(name), columns=columns)
    names = ", ".join((customer_feedback.NAME, *BUILT_IN))
    raise DataError(
        "unknown data set",
        found=repr(name),
        expected=", ".join((f"{names}, hf:NAME", *suffixes_of(task))),
        fix="run `edgeseq data list`",
    )


def _for_task(dataset: AnyDataset, task: str | None) -> AnyDataset:
    """Refuses a data set of another task, before anything is made of it."""
    if task is not None and dataset.task != task:
        raise DataError(
            "is for another task",
            where=dataset.name,
            found=dataset.task,
            expected=task,
            fix="run `edgeseq data list`",
        )
    return dataset
