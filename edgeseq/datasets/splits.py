"""Train, dev and test: which group of examples goes where, and what a data set hashes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from edgeseq.errors import DataError
from edgeseq.tasks.examples import (
    AnyExample,
    Dataset,
    ExampleT,
    MultilabelExample,
    SequenceExample,
    SplitName,
    TaggedExample,
    TextExample,
    labels_of,
)

SPLITS: tuple[SplitName, ...] = ("train", "dev", "test")


def bucket(group: str) -> int:
    """A number in 0..99 for a group: the first 8 bytes of its SHA-256, big-endian, modulo 100.

    It depends on the group's name alone, so the split is the same on every machine and stays the
    same for the old groups when new ones are added.
    """
    return int.from_bytes(hashlib.sha256(group.encode("utf-8")).digest()[:8], "big") % 100


def split_of_group(group: str) -> SplitName:
    """The split a group belongs to: buckets 0..79 train, 80..89 dev, 90..99 test."""
    number = bucket(group)
    if number < 80:
        return "train"
    return "dev" if number < 90 else "test"


def fill_splits(
    splits: Mapping[SplitName, Sequence[ExampleT]],
) -> dict[SplitName, tuple[ExampleT, ...]]:
    """The three splits; missing ones are cut from train, 10 of 100 buckets each.

    What is hashed is an example's group, or its text without one, so that equal texts and the
    members of a group are never divided (see `bucket`). Raises `DataError` without train.
    """
    if "train" not in splits:
        raise DataError("has no train split", expected="train, with or without dev and test")
    cut: dict[SplitName, list[ExampleT]] = {split: [] for split in SPLITS}
    for example in splits["train"]:
        split = split_of_group(example.group or example.text)
        cut["train" if split in splits else split].append(example)
    return {
        split: tuple(cut[split] if split == "train" else splits.get(split, cut[split]))
        for split in SPLITS
    }


def canonical_sha256(
    task: str, labels: Sequence[str], splits: Iterable[tuple[SplitName, Sequence[AnyExample]]]
) -> str:
    """SHA-256 of the examples' canonical form, in hexadecimal.

    The form is JSON without spaces, a line for `[task, labels]` and then one per example,
    `[split, id, text, label, source, group, score]`, `[split, id, text, labels, source, group]`,
    `[split, id, words, tags, source, group]` or `[split, id, words, source, group]`, in the order
    of the splits, in UTF-8.
    """
    encoder = msgspec.json.Encoder()
    digest = hashlib.sha256(encoder.encode([task, list(labels)]) + b"\n")
    for split, examples in splits:
        for example in examples:
            digest.update(encoder.encode([split, *_fields(example)]) + b"\n")
    return digest.hexdigest()


def _fields(example: AnyExample) -> list[Any]:
    if isinstance(example, TextExample):
        return [
            example.id,
            example.text,
            example.label,
            example.source,
            example.group,
            example.score,
        ]
    if isinstance(example, MultilabelExample):
        return [example.id, example.text, example.labels, example.source, example.group]
    if isinstance(example, TaggedExample):
        return [example.id, example.words, example.tags, example.source, example.group]
    if isinstance(example, SequenceExample):
        place = (example.start, example.steps)
        return [example.id, *place, example.label, example.target, example.source, example.group]
    return [example.id, example.words, example.source, example.group]


def make_dataset(
    name: str,
    task: str,
    labels: Sequence[str],
    splits: Mapping[SplitName, Sequence[ExampleT]],
    *,
    licence: str,
    origin: str,
) -> Dataset[ExampleT]:
    """A `Dataset` with its hash, after checking that it can be trained and scored on.

    Raises `DataError` when there are fewer than two labels, a split is empty, an id appears twice,
    an example's label is not in `labels`, it does not have one tag per word, or a label has no
    example in train. Tags `I-X` may be missing there: entities of one word are learned without.
    """
    in_order = [(split, splits[split]) for split in SPLITS]
    if len(labels) < 2:
        raise DataError(
            "a data set needs two labels or more",
            where=name,
            found=", ".join(map(repr, labels)) or "none",
            fix="check that the label column was named and not, say, an id",
        )
    ids: set[str] = set()
    for split, examples in in_order:
        if not examples:
            raise DataError(
                f"the {split} split is empty", where=name, fix="give more examples or a file for it"
            )
        for example in examples:
            _check_example(example, split, name, labels)
            if example.id in ids:
                raise DataError("an id appears twice", where=name, found=repr(example.id))
            ids.add(example.id)
    known = {label for example in splits["train"] for label in labels_of(example)}
    missing = [label for label in labels if label not in known and not label.startswith("I-")]
    if missing:
        raise DataError(
            "a label has no example to learn from",
            where=name,
            found=f"no {missing[0]!r} in train",
            fix="add examples of it to train or remove the label",
        )
    return Dataset(
        name=name,
        task=task,
        labels=tuple(labels),
        train=tuple(splits["train"]),
        dev=tuple(splits["dev"]),
        test=tuple(splits["test"]),
        licence=licence,
        origin=origin,
        sha256=canonical_sha256(task, labels, in_order),
    )


def _check_example(example: AnyExample, split: SplitName, name: str, labels: Sequence[str]) -> None:
    for label in labels_of(example):
        if label not in labels:
            raise DataError(
                f"example {example.id!r} of {split} has an unknown label",
                where=name,
                found=repr(label),
                expected=" or ".join(map(repr, labels)),
            )
    if isinstance(example, TaggedExample) and len(example.words) != len(example.tags):
        raise DataError(
            f"example {example.id!r} of {split} does not have one tag per word",
            where=name,
            found=f"{len(example.tags)} tags",
            expected=f"{len(example.words)}",
        )
