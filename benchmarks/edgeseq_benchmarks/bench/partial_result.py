"""Checkpoints of a benchmark: unfinished results, saved because a board may be lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edgeseq.formats.result import Finding, ResultRecord
from edgeseq.progress import ProgressUpdate
from edgeseq_benchmarks.bench.subject import Subject

# Writing one takes a moment, and pushes the files of the next slice out of the page cache.
CHECKPOINT_INTERVAL_S = 60.0


class Checkpoints(NamedTuple):
    """How to save an unfinished result: between two slices, at most every `interval_s`."""

    save: Callable[[ResultRecord], None]
    interval_s: float = CHECKPOINT_INTERVAL_S


class CheckpointWriter:
    """Saves what a running benchmark has measured so far, once a model has been loaded.

    `make_result` makes a result of the measurements so far and the findings that it is given.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        make_result: Callable[[Sequence[Finding]], ResultRecord],
        subjects: Sequence[Subject],
    ) -> None:
        self._save, self._interval_s = checkpoints
        self._make_result, self._subjects = make_result, subjects
        self._saved_s = time.monotonic()

    def save_if_due(self, update: ProgressUpdate) -> None:
        """Saves a checkpoint when the last one is old enough; `update` is how far the run is."""
        if time.monotonic() - self._saved_s < self._interval_s:
            return
        if any(subject.loaded is not None for subject in self._subjects):
            progress = f"{update.done:g} of {update.total:g}" if update.total else "begun"
            message = f"the run did not finish: measured up to {update.stage} ({progress})"
            self._save(self._make_result((Finding("unfinished", "invalid", message),)))
            self._saved_s = time.monotonic()
