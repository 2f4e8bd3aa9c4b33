"""The content of a data set: examples in three splits."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal

import msgspec

from edgeseq.html import html_table
from edgeseq.tasks.sequence_places import sequence_place

SplitName = Literal["train", "dev", "test"]


class TextExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One text with its label.

    `id` is unique within the data set; `source` names the part of the collection it came from
    (scores are also reported per source); `group` is the unit that is never divided between
    splits (a review, a filing); `score` is the raters' mean where the set has one.
    """

    id: str
    text: str
    label: str
    source: str = ""
    group: str = ""
    score: float | None = None

    @property
    def model_input(self) -> str:
        """What a model is asked about."""
        return self.text


class MultilabelExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One text with any number of labels, or none; the other fields are those of `TextExample`."""

    id: str
    text: str
    labels: tuple[str, ...]
    source: str = ""
    group: str = ""

    @property
    def model_input(self) -> str:
        """What a model is asked about."""
        return self.text


class TaggedExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sentence with one tag per word (`len(words) == len(tags)`)."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
    source: str = ""
    group: str = ""

    @property
    def text(self) -> str:
        """The words with a space between them."""
        return " ".join(self.words)

    @property
    def model_input(self) -> tuple[str, ...]:
        """What a model is asked about."""
        return self.words


EOS = "<eos>"
"""The word at the end of a line of running text, and before the first word of all."""
UNKNOWN = "<unk>"
"""Stands in running text for a word outside of its vocabulary."""


class StreamExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """Running text as words, each of which is predicted from those before it."""

    id: str
    words: tuple[str, ...]
    source: str = ""
    group: str = ""

    @property
    def text(self) -> str:
        """The words with a space between them."""
        return " ".join(self.words)

    @property
    def model_input(self) -> tuple[str, ...]:
        """What a model is asked about."""
        return self.words


class SequenceExample(msgspec.Struct, frozen=True, omit_defaults=True):
    """A numeric sequence: the rows `start` to `start + steps` of its data set, with its `label`, or
    the numbers to predict as `target`."""

    id: str
    start: int
    steps: int
    label: str = ""
    target: tuple[float, ...] = ()
    source: str = ""
    group: str = ""

    @property
    def text(self) -> str:
        """The place of its rows, which is its name."""
        return sequence_place(self.start, self.steps)

    @property
    def model_input(self) -> str:
        """What a model is asked about."""
        return self.text


AnyExample = TextExample | MultilabelExample | TaggedExample | StreamExample | SequenceExample


def sample_positions(total: int, count: int | None) -> tuple[int, ...]:
    """Which of `total` test examples a run asks that is to ask `count` (None: all): their places,
    rising, drawn with a fixed seed, so that they are the same on every machine."""
    if count is None or count >= total:
        return tuple(range(total))
    return tuple(sorted(random.Random(0).sample(range(total), count)))  # noqa: S311


def labels_of(example: AnyExample) -> tuple[str, ...]:
    """The labels of one example: its one label, all of its labels, its words' tags, or none."""
    if isinstance(example, SequenceExample):
        return (example.label,) if example.label else ()
    if isinstance(example, TextExample):
        return (example.label,)
    if isinstance(example, MultilabelExample):
        return example.labels
    return example.tags if isinstance(example, TaggedExample) else ()


def gold_classes(example: AnyExample, labels: Sequence[str]) -> tuple[int, ...]:
    """The class numbers that are right for an example: of its text, or of each of its words; of a
    text with several labels 1 or 0 for each of `labels`, whether it has that one."""
    if isinstance(example, MultilabelExample):
        return tuple(int(label in example.labels) for label in labels)
    number_of = {label: number for number, label in enumerate(labels)}
    return tuple(number_of[label] for label in labels_of(example))


if TYPE_CHECKING:
    from typing_extensions import TypeVar

    ExampleT = TypeVar("ExampleT", bound=AnyExample, default=TextExample)
else:
    # PEP 696's default is for type checkers alone: `Dataset` is one of texts with a label.
    from typing import TypeVar

    ExampleT = TypeVar("ExampleT")


class Dataset(msgspec.Struct, Generic[ExampleT], frozen=True):
    """A data set in three splits, with the labels in the order of their class numbers.

    `sha256` is the hash of the examples' canonical form: two data sets with the same hash hold
    the same examples in the same splits. All examples are of the type that the task names.
    `rows` are the numbers float32 [all steps, features] of numeric sequences, None of texts; the
    labels of numbers to predict are their names.
    """

    name: str
    task: str
    labels: tuple[str, ...]
    train: tuple[ExampleT, ...]
    dev: tuple[ExampleT, ...]
    test: tuple[ExampleT, ...]
    licence: str
    origin: str
    sha256: str
    rows: Any = None

    def __repr__(self) -> str:
        """Name, task and sizes: a data set has thousands of examples."""
        sizes = " / ".join(f"{len(part):,}" for part in (self.train, self.dev, self.test))
        return f"Dataset({self.name!r}, {self.task}, train / dev / test: {sizes})"

    def _repr_html_(self) -> str:
        rows = {
            "task": self.task,
            "labels": ", ".join(self.labels),
            "train": f"{len(self.train):,}",
            "validation": f"{len(self.dev):,}",
            "test": f"{len(self.test):,}",
            "licence": self.licence,
        }
        return html_table((self.name, ""), rows.items())


AnyDataset = Dataset[Any]
