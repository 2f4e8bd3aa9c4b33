"""A data set in numbers: class balance, lengths, copies, a few samples."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Sequence

import msgspec

from edgeseq.datasets.splits import SPLITS
from edgeseq.tasks.examples import AnyDataset, AnyExample, MultilabelExample, labels_of


class Balance(msgspec.Struct, frozen=True):
    """Examples (or words, where there is a label for each) by label in one split; `source` is empty
    for all sources together. An example with several labels counts for each of them, and once in
    `total`."""

    split: str
    source: str
    total: int
    by_label: dict[str, int]


class Lengths(msgspec.Struct, frozen=True):
    """Lengths in one split, in words (between white space) and characters.

    Percentiles are nearest-rank: the smallest length that at least so many texts do not exceed.
    """

    split: str
    words_p50: int
    words_p95: int
    words_max: int
    characters_p50: int
    characters_p95: int
    characters_max: int


class Summary(msgspec.Struct, frozen=True):
    """What `edgeseq data show` prints.

    `test_texts_in_train` counts texts of test that are in train too, letter for letter:
    more than a few make the test score too good.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    licence: str
    origin: str
    sha256: str
    balance: tuple[Balance, ...]
    lengths: tuple[Lengths, ...]
    test_texts_in_train: int
    samples: tuple[AnyExample, ...]


def summarize(dataset: AnyDataset, *, samples_per_label: int = 3) -> Summary:
    """The summary of a data set; the samples are the same at every call."""
    by_split = {"train": dataset.train, "dev": dataset.dev, "test": dataset.test}
    sources = list(dict.fromkeys(example.source for example in dataset.train if example.source))
    balance = [
        _balance(split, source, by_split[split], dataset.labels)
        for split in SPLITS
        for source in ("", *(sources if len(sources) > 1 else ()))
    ]
    train_texts = {example.text for example in dataset.train}
    return Summary(
        name=dataset.name,
        task=dataset.task,
        labels=dataset.labels,
        licence=dataset.licence,
        origin=dataset.origin,
        sha256=dataset.sha256,
        balance=tuple(balance),
        lengths=tuple(_lengths(split, by_split[split]) for split in SPLITS),
        test_texts_in_train=sum(example.text in train_texts for example in dataset.test),
        samples=sample(dataset, samples_per_label),
    )


def sample(dataset: AnyDataset, per_label: int) -> tuple[AnyExample, ...]:
    """`per_label` examples of train for each label, those whose ids have the smallest hashes; of
    data without labels so many in all."""
    ranked = sorted(
        dataset.train, key=lambda example: hashlib.sha256(example.id.encode("utf-8")).digest()
    )
    if not dataset.labels:
        return tuple(ranked[:per_label])
    ranks_of: dict[str, list[int]] = {label: [] for label in dataset.labels}
    for rank, example in enumerate(ranked):
        for label in dict.fromkeys(labels_of(example)):
            ranks_of[label].append(rank)
    # A sentence with several tags is shown for the first of them.
    chosen: dict[int, AnyExample] = {}
    for ranks in ranks_of.values():
        unused = (rank for rank in ranks if rank not in chosen)
        for rank in list(itertools.islice(unused, per_label)):
            chosen[rank] = ranked[rank]
    return tuple(chosen.values())


def _balance(
    split: str, source: str, examples: Sequence[AnyExample], labels: Sequence[str]
) -> Balance:
    chosen = [example for example in examples if source in ("", example.source)]
    counts = Counter(label for example in chosen for label in labels_of(example))
    return Balance(
        split=split,
        source=source,
        total=sum(
            1 if isinstance(example, MultilabelExample) else len(labels_of(example))
            for example in chosen
        ),
        by_label={label: counts[label] for label in labels},
    )


def _lengths(split: str, examples: Sequence[AnyExample]) -> Lengths:
    words = sorted(len(example.text.split()) for example in examples)
    characters = sorted(len(example.text) for example in examples)
    return Lengths(
        split=split,
        words_p50=_percentile(words, 50),
        words_p95=_percentile(words, 95),
        words_max=words[-1],
        characters_p50=_percentile(characters, 50),
        characters_p95=_percentile(characters, 95),
        characters_max=characters[-1],
    )


def _percentile(ordered: Sequence[int], percent: int) -> int:
    return ordered[-(-percent * len(ordered) // 100) - 1]
