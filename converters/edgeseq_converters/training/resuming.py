"""What the training loop keeps of itself, and how it takes that up again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import msgspec
import numpy as np

from edgeseq_converters.training.batching import FloatArray
from edgeseq_converters.training.checkpoints import Snapshot, TrainingFile, identity_of


def _nothing() -> FloatArray:
    return np.empty((0, 0), dtype=np.float32)


@dataclass
class LoopState:
    """Where a training stands.

    `done` steps and `epoch` whole epochs lie behind it; `answers` are the logits of the steps of
    the epoch that is under way; `kept` are the best epoch's weights and `train_logits` what was
    said in it; `seconds` of work lie behind it.
    """

    done: int = 0
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0
    dev_scores: list[float] = field(default_factory=list)
    kept: list[FloatArray] = field(default_factory=list)
    train_logits: FloatArray = field(default_factory=_nothing)
    answers: list[FloatArray] = field(default_factory=list)


_NUMBERS = ("done", "epoch", "best", "best_epoch", "seconds", "dev_scores")


class TrainingKeeper:
    """Writes and restores a `LoopState` with all variables that the next step depends on.

    Made before the first step: what the training starts from is its identity. `state` are the
    TensorFlow variables that steps change; random generators are taken from `model` (those of its
    variables that are no floats).
    """

    def __init__(
        self,
        file: TrainingFile,
        model: Any,
        *,
        state: Sequence[Any],
        plan: Any,
        lengths: Any,
        targets: FloatArray,
    ) -> None:
        self._file = file
        self._variables = [*state, *_generators(model)]
        self._identity = identity_of(
            {
                "plan": msgspec.to_builtins(plan),
                "tools": {name: version(name) for name in ("tensorflow", "keras", "numpy")},
            },
            [*(variable.numpy() for variable in self._variables), lengths, targets],
        )

    @property
    def due(self) -> bool:
        """Whether it is time to write again."""
        return self._file.due

    def keep(self, state: LoopState, seconds: float) -> None:
        """Writes `state`, with `seconds` of work behind it."""
        arrays: dict[str, Any] = {"train_logits": state.train_logits}
        arrays |= {f"variable.{n}": value.numpy() for n, value in enumerate(self._variables)}
        arrays |= {f"kept.{n}": value for n, value in enumerate(state.kept)}
        arrays |= {f"answers.{n}": value for n, value in enumerate(state.answers)}
        position = {name: getattr(state, name) for name in _NUMBERS} | {"seconds": seconds}
        self._file.write(self._identity, Snapshot(position, arrays))

    def restore(self) -> LoopState | None:
        """The state that was kept, its variables back in place; None where there is none."""
        snapshot = self._file.read(self._identity)
        if snapshot is None:
            return None
        for number, variable in enumerate(self._variables):
            variable.assign(snapshot.arrays[f"variable.{number}"])
        return LoopState(
            **{name: snapshot.position[name] for name in _NUMBERS},
            kept=_listed(snapshot, "kept"),
            train_logits=snapshot.arrays["train_logits"],
            answers=_listed(snapshot, "answers"),
        )

    def remove(self) -> None:
        """Takes the file away."""
        self._file.remove()


def _listed(snapshot: Snapshot, name: str) -> list[FloatArray]:
    count = sum(key.startswith(f"{name}.") for key in snapshot.arrays)
    return [snapshot.arrays[f"{name}.{number}"] for number in range(count)]


def _generators(model: Any) -> list[Any]:
    """The states of the random generators in `model`, as TensorFlow variables."""
    return [
        variable.value
        for variable in model.variables
        if not np.issubdtype(np.dtype(variable.dtype), np.floating)
    ]
