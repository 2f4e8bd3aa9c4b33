"""The training loop of every objective: steps, scores per epoch, early stopping, checkpoints."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import InputError
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.checkpoints import (
    CheckpointFile,
    Snapshot,
    identity_of,
)


class Objective:
    """What a training learns: its batches, its update and its score.

    `variables` are all that a step changes, states of random generators included; `weights` those
    of which the best epoch's values are kept, where epochs are scored.
    """

    epochs: float
    steps_per_epoch: int
    patience: int = 1
    variables: Sequence[Any] = ()
    weights: Sequence[Any] = ()

    def identity(self) -> tuple[dict[str, Any], Sequence[Any]]:
        """Plain facts and arrays that the training depends on besides its variables."""
        raise NotImplementedError

    def learning_rate(self, step: int, total: int) -> float:
        """The rate of step `step` (1 … `total`)."""
        raise NotImplementedError

    def begin_epoch(self) -> None:
        """Called before the first step of an epoch."""

    def run_step(
        self, position: tuple[int, int], learning_rate: float, step: int
    ) -> tuple[float, FloatArray | None]:
        """Updates on the batch at (epoch, index), the `step`th one (from 1) → its loss, and the
        logits [batch, labels] before the update where they are kept."""
        raise NotImplementedError

    def score_epoch(self) -> float | None:
        """The development score in 0..1 (higher is better); None where epochs have none."""
        return None

    def train_logits(self, epoch: int, logits: Sequence[FloatArray]) -> FloatArray:
        """The logits of an epoch's steps in the order of the texts."""
        raise NotImplementedError

    def format_loss(self, loss: float) -> str:
        """A mean loss as a short text."""
        return f"loss {loss:.3f}"


class PausedTraining(msgspec.Struct, frozen=True):
    """A training that has used its time: `step` of `total` is done, its state is in `path`."""

    step: int
    total: int
    path: str


def _no_logits() -> FloatArray:
    return np.empty((0, 0), dtype=np.float32)


@dataclass
class TrainingState:
    """How far a training is: steps and whole epochs done, seconds of work behind it.

    `best_weights` and `train_logits` are of the best epoch (1-based, 0 before the first score),
    `epoch_logits` of the steps of the current one.
    """

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: float = -1.0
    dev_scores: list[float] = field(default_factory=list)
    best_weights: list[FloatArray] = field(default_factory=list)
    train_logits: FloatArray = field(default_factory=_no_logits)
    epoch_logits: list[FloatArray] = field(default_factory=list)


_NUMBERS = ("step", "epoch", "seconds", "best_epoch", "best_score", "dev_scores")
_LISTS = ("best_weights", "epoch_logits")


class Loop:
    """A training from its beginning, or from its checkpoint, to its end.

    Made before the first step: the initial values of the variables are part of the identity by
    which a checkpoint is recognized. Raises `CheckpointError` for a damaged one.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        stage: str,
        data_sha256: str = "",
        file: CheckpointFile | None = None,
        max_seconds: float | None = None,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self._objective, self._file, self._max_seconds = objective, file, max_seconds
        self._stage, self._progress = stage, progress
        self._began = time.monotonic()
        self.state = TrainingState()
        self.total = max(1, round(objective.epochs * objective.steps_per_epoch))
        if file is not None:
            facts, arrays = objective.identity()
            tools = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
            values = (variable.numpy() for variable in objective.variables)
            facts |= {"data": data_sha256, "tools": tools}
            self._identity = identity_of(facts, [*values, *arrays])
            self._restore(file)

    def run(self) -> TrainingState | PausedTraining:
        """Runs the steps, and leaves the best epoch's weights where epochs are scored.

        Training ends early after `patience` epochs without a better score, and pauses after
        `max_seconds` with its state in the checkpoint. Raises `InputError` when the loss is not
        finite.
        """
        objective, state, earlier = self._objective, self.state, self.state.seconds
        losses: deque[float] = deque(maxlen=50)
        while state.step < self.total and not self._is_over():
            position = divmod(state.step, objective.steps_per_epoch)
            if position[1] == 0:
                objective.begin_epoch()
            state.step += 1
            rate = objective.learning_rate(state.step, self.total)
            loss, logits = objective.run_step(position, rate, state.step)
            if not np.isfinite(loss):
                self._fail(rate, loss)
            losses.append(loss)
            if logits is not None:
                state.epoch_logits.append(logits)
            if state.step < self.total:
                note = self._note(objective.format_loss(float(np.mean(losses))))
                self._progress(ProgressUpdate(self._stage, state.step, self.total, note=note))
            if position[1] + 1 == objective.steps_per_epoch:
                self._end_epoch()
            elapsed = time.monotonic() - self._began
            state.seconds = earlier + elapsed
            is_paused = (
                self._max_seconds is not None
                and elapsed > self._max_seconds
                and state.step < self.total
            )
            if self._file is not None and (is_paused or self._file.due):
                self._write(self._file)
            if is_paused:
                return PausedTraining(
                    state.step, self.total, str(self._file.path if self._file else "")
                )
        for variable, value in zip(objective.weights, state.best_weights, strict=False):
            variable.assign(value)
        note = f"dev {state.best_score:.1%}" if state.dev_scores else ""
        self._progress(ProgressUpdate(self._stage, self.total, self.total, note=note))
        return state

    def _end_epoch(self) -> None:
        objective, state = self._objective, self.state
        state.epoch += 1
        score = objective.score_epoch()
        if score is not None:
            state.dev_scores.append(score)
            if score > state.best_score:
                state.best_score, state.best_epoch = score, state.epoch
                state.best_weights = [variable.numpy() for variable in objective.weights]
                if state.epoch_logits:
                    state.train_logits = objective.train_logits(state.epoch - 1, state.epoch_logits)
        state.epoch_logits = []
        self._report_scores(f"epoch {state.epoch}")

    def _report_scores(self, note: str) -> None:
        state = self.state
        scores = tuple(state.dev_scores)
        if state.step < self.total:
            update = ProgressUpdate(self._stage, state.step, self.total, note, dev_scores=scores)
            self._progress(update)

    def _is_over(self) -> bool:
        state = self.state
        return state.best_epoch > 0 and state.epoch - state.best_epoch >= self._objective.patience

    def _note(self, loss: str) -> str:
        scores = self.state.dev_scores
        return f"dev {scores[-1]:.1%}, {loss}" if scores else loss

    def _fail(self, rate: float, loss: float) -> None:
        if self._file is not None:
            self._file.remove()
        raise InputError(
            "training diverged",
            where=f"step {self.state.step}",
            found=f"a loss of {loss}",
            expected="a finite number",
            fix=f"lower learning_rate (here {rate:g})",
        )

    def _write(self, file: CheckpointFile) -> None:
        state = self.state
        arrays: dict[str, Any] = {"train_logits": state.train_logits}
        lists = {name: getattr(state, name) for name in _LISTS}
        lists["variable"] = [variable.numpy() for variable in self._objective.variables]
        for name, values in lists.items():
            arrays |= {f"{name}.{number}": value for number, value in enumerate(values)}
        position = {name: getattr(state, name) for name in _NUMBERS}
        file.write(self._identity, Snapshot(position, arrays))

    def _restore(self, file: CheckpointFile) -> None:
        snapshot = file.read(self._identity)
        if snapshot is None:
            return

        def values_of(name: str) -> list[FloatArray]:
            count = sum(key.startswith(f"{name}.") for key in snapshot.arrays)
            return [snapshot.arrays[f"{name}.{number}"] for number in range(count)]

        for variable, value in zip(self._objective.variables, values_of("variable"), strict=True):
            variable.assign(value)
        values: dict[str, Any] = {name: snapshot.position[name] for name in _NUMBERS}
        values |= {name: values_of(name) for name in _LISTS}
        self.state = TrainingState(**values, train_logits=snapshot.arrays["train_logits"])
        self._report_scores(f"resuming at step {self.state.step + 1:,}")
