"""What a data set is once it has been read."""

from __future__ import annotations

from typing import Literal

import msgspec

PartName = Literal["train", "dev", "test"]


class TextExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One text with its label.

    `id` is unique within the data set; `source` names the part of the collection it came from
    (scores are told apart by it); `group` is the unit that is never split between train, dev
    and test (a review, a filing); `score` is the raters' mean where the set has one.
    """

    id: str
    text: str
    label: str
    source: str = ""
    group: str = ""
    score: float | None = None


class TaggedExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sentence of words with one tag a word (`len(words) == len(tags)`)."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str = ""
    group: str = ""


class Dataset(msgspec.Struct, frozen=True):
    """A data set in its three parts, with the labels in the order of their class numbers.

    `sha256` is the hash of the examples' canonical form: two data sets with the same hash hold
    the same examples in the same parts.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    train: tuple[TextExample, ...]
    dev: tuple[TextExample, ...]
    test: tuple[TextExample, ...]
    licence: str
    origin: str
    sha256: str
