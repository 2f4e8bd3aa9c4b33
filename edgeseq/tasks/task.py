"""What a task is: everything that the rest of the toolkit asks about one."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from edgeseq.tasks.examples import AnyExample, TextExample
from edgeseq.tasks.head import Head, is_per_text, scored_unit

if TYPE_CHECKING:
    from edgeseq.tasks.metric import Metric


class LengthChart(NamedTuple):
    """The words of the chart of latency over length."""

    title: str
    x_axis: str
    y_axis: str
    description: str
    unit: str = "tokens"


TEXT_LENGTHS = LengthChart(
    "What a longer sentence costs",
    "tokens in the sentence",
    "inference, ms",
    "Inference time over sentence length",
)


class Task(msgspec.Struct, frozen=True):
    """A task of the toolkit; a new one is a module with a `Task` and a line in `registry.TASKS`.

    - `title` heads its report; None: the data set's name does.
    - `head` is what a model predicts: a label per text or per word, any number of labels per text,
      or the next word.
    - `example` is the type of its examples.
    - `metric` is `MODULE:NAME` of its main score, a `Metric`. It is imported when it is first
      needed, because metrics need numpy and a process that starts measured ones loads none.
    - `bio_labels`: the labels are BIO tags, decoded under their rules (`edgeseq.tasks.tagging`).
    - `length_chart` and `bert_title` (what an encoder is called) are its report's words.
    """

    name: str
    title: str | None
    head: Head = "text-classification"
    example: type[AnyExample] = TextExample
    metric: str = "edgeseq.tasks.scoring:ACCURACY"
    bio_labels: bool = False
    length_chart: LengthChart = TEXT_LENGTHS
    bert_title: str = "BERT"

    @property
    def is_streaming(self) -> bool:
        """Whether a model reads running text word by word and predicts the next one."""
        return self.head == "language-modeling"

    @property
    def is_per_text(self) -> bool:
        """Whether a model gives one row of logits for a text."""
        return is_per_text(self.head)

    @property
    def is_multilabel(self) -> bool:
        """Whether a text has any number of labels, each of which is decided by itself."""
        return self.head == "multilabel-classification"

    @property
    def scored_unit(self) -> str:
        """What is scored, in the plural: texts, words, or label decisions."""
        return scored_unit(self.head)

    def class_names(self, labels: Sequence[str]) -> tuple[str, ...]:
        """The names of the class numbers in predictions: the labels, or of a label decision `no`
        and `yes`."""
        return ("no", "yes") if self.is_multilabel else tuple(labels)

    def load_metric(self) -> Metric:
        """The metric that `metric` names."""
        module, _, name = self.metric.partition(":")
        loaded: Metric = getattr(importlib.import_module(module), name)
        return loaded
