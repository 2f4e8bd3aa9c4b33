"""What a search has done for it: a candidate is measured, and trained if it fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from edgeseq.model_search.candidates import Candidate, Costs

OnEpoch = Callable[[Sequence[float]], None]
"""Called with the development scores of all epochs so far; it ends the training by raising."""


class Trained(NamedTuple):
    """A finished training: the score of the converted model on the development split (a value of
    the task's metric), and the float model's score per epoch."""

    dev_score: float
    dev_scores: tuple[float, ...]


class Measurement(NamedTuple):
    """The costs of an untrained model; with a `disturbance`, a sentence about other programs, its
    times are upper bounds."""

    costs: Costs
    disturbance: str = ""


class Workbench(Protocol):
    """Measures and trains candidates; what was done once is not done again.

    As many threads as it has workers may use it at a time.
    """

    @property
    def num_workers(self) -> int:
        """How many candidates can be worked on at a time."""

    def measure(self, candidate: Candidate, *, again: bool = False) -> Measurement:
        """The costs of the untrained model; `again`: not those that were measured before."""

    def wait_for_idle_machine(self) -> bool:
        """Waits until a measurement is worth repeating; False where it is not."""

    def stop(self) -> None:
        """Ends what is worked on in other threads, by an error there."""

    def train(self, candidate: Candidate, on_epoch: OnEpoch) -> Trained:
        """Trains and converts the model.

        Raises `ConversionError` when the trained model cannot be converted well enough, and
        `InputError` when the training diverges.
        """
