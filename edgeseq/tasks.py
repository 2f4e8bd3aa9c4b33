"""The tasks: what is asked of a text, and which number says how well it was answered."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeseq.errors import InputError

Head = Literal["label-per-text"]


class Task(msgspec.Struct, frozen=True):
    """A task of the toolkit.

    `head` is the shape of the answer, `metric` the name of its main score (a fraction in 0..1,
    higher is better), `labels` the classes when the task fixes them, else None: then the data
    set's own labels are used.
    """

    name: str
    title: str
    head: Head
    metric: str
    labels: tuple[str, ...] | None = None


TASKS: dict[str, Task] = {
    "sentiment": Task(
        name="sentiment",
        title="sentiment of short customer feedback",
        head="label-per-text",
        metric="accuracy",
    ),
}


def get_task(name: str) -> Task:
    """The task called `name`; raises `InputError` listing the known ones."""
    if name not in TASKS:
        raise InputError(
            "unknown task", found=repr(name), expected=" or ".join(TASKS), fix="name one of these"
        )
    return TASKS[name]
