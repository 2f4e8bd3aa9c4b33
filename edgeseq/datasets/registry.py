"""Which data sets there are by name, and the one function that loads any of them.

| name | what |
|---|---|
| `customer-feedback` | the default: fetched from the package index |
| `sst3` | Stanford Sentiment Treebank in three classes, from a local folder |
| `gap` | pronouns and the names that they may mean, from a local folder |
| `ud-ewt`, `e-ner`, `sec-fin`, `wnut17` | words with tags (`edgeseq.datasets.tagged`), local
folder |
| `wikitext2` | running text, word by word, from a local folder |
| `PATH.csv`, `.tsv`, `.jsonl` | the user's own file, divided by hash |
| `hf:NAME[:CONFIG]` | a data set of the Hugging Face hub |
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from edgeseq.datasets import customer_feedback, gap, hub, tagged, wikitext
from edgeseq.datasets.entry import Entry
from edgeseq.datasets.lines import numbered_lines
from edgeseq.datasets.own_files import load_files
from edgeseq.datasets.own_tagged import TAGGED_SUFFIXES, WORD_SUFFIXES, load_tagged_files
from edgeseq.datasets.packages import is_at_hand
from edgeseq.datasets.readers import LABELLED_SUFFIXES, Columns, read_table
from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.errors import DataError, InputError
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import AnyDataset, Dataset, SplitName, TextExample
from edgeseq.tasks.registry import task_of

DEFAULT = customer_feedback.NAME


def entries(data_dir: Path | None = None) -> tuple[Entry, ...]:
    """All data sets that can be named; `data_dir` is the folder of the user's local copies."""
    return (
        Entry(
            name=customer_feedback.NAME,
            task="sentiment",
            title="short customer feedback, three classes",
            sizes=(18_801, 2_358, 2_270),
            licence=customer_feedback.LICENCE,
            origin=customer_feedback.ORIGIN,
            citation=customer_feedback.CITATION,
            is_local=is_at_hand(customer_feedback.PACKAGE, local_dir=data_dir),
        ),
        Entry(
            name="sst3",
            task="sentiment",
            title="Stanford Sentiment Treebank, sentences, three classes",
            sizes=(8_544, 1_101, 2_210),
            licence=_SST3_LICENCE,
            origin=_SST3_ORIGIN,
            citation=(
                "Socher, R. et al. (2013). Recursive Deep Models for Semantic Compositionality "
                "Over a Sentiment Treebank. EMNLP."
            ),
            is_local=data_dir is not None and _sst3_files(data_dir) is not None,
        ),
        Entry(
            name=gap.NAME,
            task=gap.TASK,
            title="GAP: does the pronoun mean A, B or neither",
            sizes=gap.SIZES,
            licence=gap.LICENCE,
            origin=gap.ORIGIN,
            citation=gap.CITATION,
            is_local=data_dir is not None and gap.find_files(data_dir) is not None,
        ),
        *(
            msgspec.structs.replace(source.entry, is_local=source.find(data_dir) is not None)
            for source in tagged.sources()
        ),
        wikitext.entry(data_dir),
        Entry(
            name="FILE",
            task="text-classification",
            title="your own .csv, .tsv or .jsonl with a text and a label a row",
            sizes=None,
            licence="yours",
            origin="a path in place of a name",
            citation="",
            is_local=True,
        ),
        Entry(
            name="FILE",
            task="token-classification, pos or ner",
            title="your own .conll, .conllu or .jsonl of words with a tag each",
            sizes=None,
            licence="yours",
            origin="a path in place of a name",
            citation="",
            is_local=True,
        ),
        Entry(
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
    """The data set called `name` (see the table above), fetched first where that is needed.

    `task` says what a user's file is for (default: what its suffix tells, else
    `text-classification`); a registered data set has its own task, and another one is refused.
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
    named: dict[str, Callable[[], AnyDataset]] = {
        customer_feedback.NAME: lambda: customer_feedback.load(data_dir, progress=progress),
        "sst3": lambda: load_sst3(data_dir),
        gap.NAME: lambda: gap.load(data_dir),
        wikitext.NAME: lambda: wikitext.load(data_dir),
        **{source.entry.name: partial(source.load, data_dir) for source in tagged.sources()},
    }
    if name in named:
        return _for_task(named[name](), task)
    if name.startswith(hub.PREFIX):
        is_of_texts = task is not None and task_of(task).head == "text-classification"
        of_task = task if task and is_of_texts else "text-classification"
        dataset = hub.load_hub(name, task=of_task, columns=columns, progress=progress)
        return _for_task(dataset, task)
    task = task or task_of_file(name)
    by_word = task_of(task).head == "token-classification"
    if by_word and Path(name).suffix.lower() in TAGGED_SUFFIXES:
        return load_tagged_files(task, train=Path(name))
    if not by_word and Path(name).suffix.lower() in LABELLED_SUFFIXES:
        return load_files(task, train=Path(name), columns=columns)
    suffixes = TAGGED_SUFFIXES if by_word else LABELLED_SUFFIXES
    raise DataError(
        "unknown data set",
        found=repr(name),
        expected=f"{', '.join(named)}, hf:NAME, or a file {', '.join(suffixes)}",
        fix="run `edgeseq data list`",
    )


def task_of_file(name: str) -> str:
    """The task that the user's file `name` is for by its ending, where none is named."""
    return WORD_SUFFIXES.get(Path(name).suffix.lower(), "text-classification")


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


_SST3_LICENCE = "none stated by its authors; use for research"
_SST3_ORIGIN = (
    "a local folder: sst5/derived_sst3/{train,dev,test}.tsv or stsa.fine.{train,dev,test}"
)


def load_sst3(data_dir: Path | None) -> Dataset:
    """Stanford Sentiment Treebank, whole sentences, official splits, in three classes.

    In `data_dir` (or its folder `sst5`) is either `derived_sst3/{train,dev,test}.tsv`, label
    and text between a tab, or `stsa.fine.{train,dev,test}`, lines of a number 0..4, a space and
    the text: 0 and 1 become negative, 2 neutral, 3 and 4 positive.

    Raises `DataError` when neither is there or a line is not so.
    """
    files = None if data_dir is None else _sst3_files(data_dir)
    if files is None:
        raise DataError(
            "sst3 is not on this machine",
            where=data_dir,
            expected=_SST3_ORIGIN,
            fix="put one into a folder and name that with --data-dir or EDGESEQ_DATA",
        )
    splits = {split: _read_sst3(path, split) for split, path in files.items()}
    return make_dataset(
        "sst3",
        "sentiment",
        customer_feedback.LABELS,
        **splits,
        licence=_SST3_LICENCE,
        origin=_SST3_ORIGIN,
    )


def _sst3_files(data_dir: Path) -> dict[SplitName, Path] | None:
    for folder in (data_dir / "sst5", data_dir):
        for pattern in ("derived_sst3/{}.tsv", "stsa.fine.{}"):
            files = {split: folder / pattern.format(split) for split in SPLITS}
            if all(path.is_file() for path in files.values()):
                return files
    return None


def _read_sst3(path: Path, split: SplitName) -> tuple[TextExample, ...]:
    labels = customer_feedback.LABELS
    if path.suffix == ".tsv":
        rows = read_table(path, Columns(text=2, label=1), delimiter="\t", labels=labels)
        return tuple(
            msgspec.structs.replace(example, id=f"{split}/{number}")
            for number, example in enumerate(rows, start=1)
        )
    examples = []
    for number, line in numbered_lines(path):
        digit, _, text = line.partition(" ")
        if digit not in ("0", "1", "2", "3", "4") or not text.strip():
            raise DataError(
                "is not a rated sentence",
                where=f"{path}:{number}",
                found=repr(line[:20]),
                expected="0..4, a space and a text",
            )
        label = labels[(0, 0, 1, 2, 2)[int(digit)]]
        examples.append(TextExample(id=f"{split}/{number}", text=text.strip(), label=label))
    return tuple(examples)
