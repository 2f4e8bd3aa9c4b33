"""How long work reports its progress without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class ProgressUpdate(msgspec.Struct, frozen=True):
    """One report: `done` of `total` units of the work called `stage`; `note` is a short text.

    `total` is None when it is not known. A stage ends with a report in which done == total.
    `dev_scores` are those of a training's finished epochs, in the report that follows each epoch.
    """

    stage: str
    done: float = 0
    total: float | None = None
    note: str = ""
    dev_scores: tuple[float, ...] = ()


ProgressCallback = Callable[[ProgressUpdate], None]
"""What long-running functions take as `progress`; it must be cheap and must not raise."""


def no_progress(update: ProgressUpdate, /) -> None:
    """Ignores every update: the default of `progress`."""
