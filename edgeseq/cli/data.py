"""`edgeseq data`: lists data sets, downloads one, and shows its content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

import edgeseq as es
from edgeseq.cli.console import (
    JsonOption,
    out,
    print_json,
    print_line,
    print_note,
    progress_bars,
)
from edgeseq.datasets.summary import Summary
from edgeseq.tasks.examples import AnyDataset, labels_of
from edgeseq.tasks.registry import get_task

if TYPE_CHECKING:
    from edgeseq.api.data import DatasetOptions
    from edgeseq.datasets.local_source import DatasetEntry

MANY_LABELS = 6
_SHOWN_SAMPLES = 150
_SHOWN_CHARACTERS = 600

app = typer.Typer(
    name="data",
    help="Data sets: origin, licence and content.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
)

NameArgument = Annotated[
    str,
    typer.Argument(
        help="Name from `edgeseq data list`, a .csv/.tsv/.jsonl file, or hf:NAME[:CONFIG]."
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="EDGESEQ_DATA",
        help="Folder with local copies of data sets and weights.",
    ),
]
TextColumnOption = Annotated[
    str | None,
    typer.Option("--text-column", help="Column of the text: a name, or a number from 1."),
]
LabelColumnOption = Annotated[
    str | None,
    typer.Option("--label-column", help="Column of the label: a name, or a number from 1."),
]

TaskOption = Annotated[
    str | None,
    typer.Option("--task", help="What a file is for; default: what its content tells."),
]


@app.command("list")
def list_data(data_dir: DataDirOption = None, json: JsonOption = False) -> None:
    """List the built-in data sets with origin and licence.

    Example: edgeseq data list
    """
    known = es.list_datasets(data_dir)
    if json:
        print_json(known)
        return
    table = Table()
    table.add_column("name", no_wrap=True)
    table.add_column("what")
    table.add_column("train / dev / test", no_wrap=True)
    table.add_column("here")
    for entry in known:
        sizes = " / ".join(f"{size:,}" for size in entry.sizes) if entry.sizes else "-"
        cells = (entry.name, entry.title, sizes, "yes" if entry.is_local else "no")
        table.add_row(*map(escape, cells))
    out.print(table)
    for entry in known:
        _line(f"{entry.name}: from {entry.origin}; licence: {entry.licence}")
        if entry.citation:
            _line(f"  cite: {entry.citation}")


@app.command()
def get(
    name: NameArgument,
    *,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Also write train.jsonl, dev.jsonl and test.jsonl to this new folder."
        ),
    ] = None,
    data_dir: DataDirOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    task: TaskOption = None,
    json: JsonOption = False,
) -> None:
    """Download a data set, check it, and cache it for later runs.

    Files come from where they are published, pinned by version and SHA-256. An interrupted download
    is resumed.

    Example: edgeseq data get ud-ewt
    """
    entry = next(
        (known for known in es.list_datasets() if known.name == name and known.sizes), None
    )
    if entry is not None:
        _print_terms(entry)
        with progress_bars() as progress:
            es.fetch_dataset(name, data_dir=data_dir, progress=progress)
    dataset = _load(name, data_dir, text_column, label_column, task)
    if out_dir is not None:
        es.save_dataset(dataset, out_dir)
    sizes = {"train": len(dataset.train), "dev": len(dataset.dev), "test": len(dataset.test)}
    if json:
        print_json({"name": dataset.name, "sizes": sizes, "sha256": dataset.sha256})
        return
    counted = ", ".join(f"{size:,} {split}" for split, size in sizes.items())
    _line(f"{dataset.name}: {counted}; sha256 {dataset.sha256}")
    if out_dir is not None:
        _line(f"written to {out_dir}")


@app.command()
def show(
    name: NameArgument,
    *,
    data_dir: DataDirOption = None,
    text_column: TextColumnOption = None,
    label_column: LabelColumnOption = None,
    task: TaskOption = None,
    json: JsonOption = False,
) -> None:
    """Show class balance, lengths and a few samples of a data set.

    Example: edgeseq data show reviews.csv --text-column body --label-column stars
    """
    summary = es.summarize_dataset(_load(name, data_dir, text_column, label_column, task))
    if json:
        print_json(summary)
    else:
        _print_summary(summary)


def _load(
    name: str,
    data_dir: Path | None,
    text_column: str | None,
    label_column: str | None,
    task: str | None,
) -> AnyDataset:
    named: DatasetOptions = {
        "data_dir": data_dir,
        "text_column": _column(text_column or "text"),
        "label_column": _column(label_column or "label"),
    }
    if task is not None:
        named["task"] = get_task(task).name
    with progress_bars() as progress:
        named["progress"] = progress
        return es.load_dataset(name, **named)


def _print_terms(entry: DatasetEntry) -> None:
    """On stderr, so that `--json` prints nothing else to stdout."""
    print_note(f"{entry.name}: {entry.origin}")
    print_note(f"licence: {entry.licence}")
    print_note(f"cite: {entry.citation}")


def _beginning(text: str) -> str:
    """The begin of a text: a document may have thousands of words."""
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} …"


def _line(text: str) -> None:
    print_line(text)


def _column(name: str) -> str | int:
    return int(name) if name.isascii() and name.isdigit() else name


def _print_summary(summary: Summary) -> None:

    _line(f"{summary.name}: {summary.task}")
    _line(f"from {summary.origin}")
    _line(f"licence: {summary.licence}; sha256 {summary.sha256}")

    out.print(_many_labels(summary) if len(summary.labels) > MANY_LABELS else _balance(summary))

    lengths = Table(title="lengths", title_justify="left")
    lengths.add_column("split")
    lengths.add_column("words: median / 95 % up to / longest", justify="right")
    lengths.add_column("characters: the same", justify="right")
    for row in summary.lengths:
        words = (row.words_p50, row.words_p95, row.words_max)
        characters = (row.characters_p50, row.characters_p95, row.characters_max)
        cells = (" / ".join(f"{number:,}" for number in numbers) for numbers in (words, characters))
        lengths.add_row(row.split, *cells)
    out.print(lengths)
    _line(f"test texts that are also in train: {summary.test_texts_in_train}")

    shown = summary.samples[:_SHOWN_SAMPLES]
    title = "samples of train"
    if len(shown) < len(summary.samples):
        title += f" ({len(shown)} of {len(summary.samples):,})"
    samples = Table(title=title, title_justify="left")
    for column in ("label", "id", "text"):
        samples.add_column(column, overflow="fold")
    for example in shown:
        label = " ".join(dict.fromkeys(labels_of(example)))
        samples.add_row(escape(label), escape(example.id), escape(_beginning(example.text)))
    out.print(samples)


def _balance(summary: Summary) -> Table:
    """One row per split and source, one column per label."""
    balance = Table(title="class balance", title_justify="left")
    for column in ("split", "source", "examples", *summary.labels):
        balance.add_column(
            escape(column), justify="left" if column in ("split", "source") else "right"
        )
    for row in summary.balance:
        shares = [f"{count:,} ({count / max(row.total, 1):.0%})" for count in row.by_label.values()]
        source = row.source or "all"
        balance.add_row(row.split, escape(source), f"{row.total:,}", *shares)
    return balance


def _many_labels(summary: Summary) -> Table:
    """One row per label, one column per split: labels of words are many."""
    splits = [row for row in summary.balance if not row.source]
    table = Table(title="class balance", title_justify="left")
    table.add_column("label")
    totals = [max(sum(row.by_label.values()), 1) for row in splits]
    for row in splits:
        table.add_column(row.split, justify="right")
    for label in summary.labels:
        counts = [row.by_label[label] for row in splits]
        shares = [count / total for count, total in zip(counts, totals, strict=True)]
        cells = (f"{count:,} ({share:.1%})" for count, share in zip(counts, shares, strict=True))
        table.add_row(escape(label), *cells)
    return table
