"""The tasks: what is asked of a text, and which number says how well it was answered."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeseq.errors import InputError

Head = Literal["text-classification", "token-classification", "language-modeling"]
MetricName = Literal["accuracy", "entity-f1", "gap-f1", "perplexity"]


class Task(msgspec.Struct, frozen=True):
    """A task of the toolkit.

    `head` is the shape of the answer: one label a text, one a word, or the word that comes next.
    `metric` names its main score (`edgeseq.tasks.scoring.METRICS`), `labels` the classes when the
    task
    fixes them, else None: then the data set's own labels are used. `spans`: the labels are BIO
    tags, so an answer is decoded under their rules (`edgeseq.tasks.tagging`).
    """

    name: str
    title: str
    head: Head
    metric: MetricName
    labels: tuple[str, ...] | None = None
    spans: bool = False


TASKS: dict[str, Task] = {
    "sentiment": Task(
        name="sentiment",
        title="sentiment of short customer feedback",
        head="text-classification",
        metric="accuracy",
    ),
    "pos": Task(
        name="pos",
        title="part-of-speech tagging",
        head="token-classification",
        metric="accuracy",
    ),
    "ner": Task(
        name="ner",
        title="named entities",
        head="token-classification",
        metric="entity-f1",
        spans=True,
    ),
    "coref": Task(
        name="coref",
        title="which name a pronoun means",
        head="text-classification",
        metric="gap-f1",
    ),
    "lm": Task(
        name="lm",
        title="the next word",
        head="language-modeling",
        metric="perplexity",
    ),
}


def get_task(name: str) -> Task:
    """The task called `name`; raises `InputError` listing the known ones."""
    if name not in TASKS:
        raise InputError(
            "unknown task", found=repr(name), expected=" or ".join(TASKS), fix="name one of these"
        )
    return TASKS[name]


def head_of(name: str) -> Head:
    """The head of the task called `name`; a task of a newer version counts as one label a text."""
    return TASKS[name].head if name in TASKS else "text-classification"
