"""The steps of a next-word model's training: which words come when, the rate, what is kept."""

from __future__ import annotations

import math
import time
from typing import Any, Protocol

import msgspec
import numpy as np
import tensorflow as tf

from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback, ProgressUpdate
from edgeseq_converters.training.checkpoints import Snapshot, TrainingFile
from edgeseq_converters.training.language_model.sampling import draw_candidates
from edgeseq_converters.training.language_model.settings import RunSettings

Chunk = tuple[Any, Any, Any]
"""Words in, words out, and 0 where a document begins: three arrays of one shape."""


class Learner(Protocol):
    """A model in training."""

    def restart(self) -> None: ...
    def step(self, chunk: Chunk, drawn: Any, tries: Any, rate: Any, number: Any) -> Any: ...
    def kept(self) -> dict[str, Any]: ...
    def restore(self, kept: dict[str, Any]) -> None: ...


class Chunks(Protocol):
    """A text in pieces, in another order each epoch."""

    @property
    def per_epoch(self) -> int: ...
    def chunk(self, epoch: int, place: int) -> Chunk: ...


class Paused(msgspec.Struct, frozen=True):
    """A training that was held: `step` of `total` is done, its state stands in `path`."""

    step: int
    total: int
    path: str


class Loop:
    """A training from its beginning, or from where its file says, to its end or the next hold."""

    def __init__(
        self,
        model: Learner,
        chunks: Chunks,
        settings: RunSettings,
        *,
        vocabulary: int,
        file: TrainingFile | None,
        identity: str,
        progress: ProgressCallback,
    ) -> None:
        """`vocabulary` is the number of words; raises `CheckpointError` for a damaged file."""
        self._model, self._chunks, self._settings = model, chunks, settings
        self._vocabulary = vocabulary
        self._file, self._identity, self._report = file, identity, progress
        self.total = max(1, round(settings.epochs * chunks.per_epoch))
        self.step, self._earlier_s, self._began = 0, 0.0, time.monotonic()
        kept = None if file is None else file.read(identity)
        if kept is not None:
            model.restore(kept.arrays)
            self.step, self._earlier_s = kept.position["step"], kept.position["seconds"]

    @property
    def seconds(self) -> float:
        """Wall-clock time of all holds together."""
        return self._earlier_s + time.monotonic() - self._began

    def run(self) -> bool:
        """Goes on to the end (True) or until the hold's time is over (False).

        Raises `InputError` when the loss is no number any more.
        """
        settings = self._settings
        losses: list[float] = []
        while self.step < self.total:
            epoch, place = divmod(self.step, self._chunks.per_epoch)
            if place == 0:
                self._model.restart()
            rng = np.random.default_rng((settings.seed, self.step))
            drawn, tries = draw_candidates(self._vocabulary, settings.candidates, rng)
            inputs, targets, keep = self._chunks.chunk(epoch, place)
            loss = self._model.step(
                (tf.constant(inputs), tf.constant(targets), tf.constant(keep)),
                tf.constant(drawn),
                tf.constant(tries, tf.float32),
                tf.constant(self._rate(self.step + 1)),
                tf.constant(float(self.step + 1)),
            )
            self.step += 1
            losses = [*losses[-49:], float(loss)]
            if not math.isfinite(losses[-1]):
                raise InputError(
                    "training diverged", found=f"step {self.step}", fix="lower learning_rate"
                )
            note = f"sampled perplexity {math.exp(sum(losses) / len(losses)):.0f}"
            self._report(ProgressUpdate("train", self.step, self.total, note))
            over = settings.hold_s is not None and time.monotonic() - self._began > settings.hold_s
            if self._file is not None and (over or self._file.due):
                position = {"step": self.step, "seconds": self.seconds}
                self._file.write(self._identity, Snapshot(position, self._model.kept()))
            if over and self.step < self.total:
                return False
        return True

    def paused(self) -> Paused:
        """Where a hold has left the training."""
        return Paused(self.step, self.total, str(self._file.path if self._file else ""))

    def _rate(self, step: int) -> float:
        """Up over the first steps, constant, then in a straight line down to 0."""
        settings = self._settings
        rising = min(1.0, step / settings.warmup)
        left = (self.total - step + 1) / max(1.0, (1 - settings.constant) * self.total)
        return settings.learning_rate * min(rising, 1.0, left)


def begin_of_epoch(epoch: int, words: int, seed: int) -> int:
    """Where an epoch's text is cut: elsewhere each time, so that chunks differ."""
    if epoch == 0:
        return 0
    return int(np.random.default_rng((seed, epoch)).integers(words))
