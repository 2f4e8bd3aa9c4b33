"""A model of numeric sequences under measurement."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from edgeseq.formats.result import Settings
from edgeseq.tasks.examples import SequenceExample
from edgeseq.tasks.number_errors import error_sums
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.sequence_places import sequence_place
from edgeseq_benchmarks.bench.subject import Subject


class SequenceSubject(Subject):
    """A bundle that reads numeric sequences and gives a label, or numbers."""

    @property
    def _sequences(self) -> tuple[SequenceExample, ...]:
        return tuple(item for item in self.examples if isinstance(item, SequenceExample))

    def joined_texts(self, tokens: int, count: int) -> tuple[str, ...]:
        """`count` places of `tokens` rows each, from the beginning of test sequences on."""
        starts = [self._sequences[number].start for number in self.order]
        return tuple(sequence_place(starts[index % len(starts)], tokens) for index in range(count))

    def longest_examples(self, count: int) -> list[int]:
        """The indices of the `count` longest test sequences, the longest first."""
        sequences = self._sequences
        return sorted(self.order, key=lambda number: -sequences[number].steps)[:count]

    def sweep_lengths(self, settings: Settings) -> tuple[int, ...]:
        """The lengths in steps at which inference alone is timed; the one of a fixed length."""
        (entry,) = self.bundle.manifest.signature.inputs
        return super().sweep_lengths(settings) if entry.shape[1] == -1 else (entry.shape[1],)

    def predictions(self) -> Predictions | None:
        """The predictions, once every test sequence has one; of numbers, their errors."""
        predicted = self.predicted_classes()
        if self.bundle.head != "sequence-regression" or predicted is None:
            return super().predictions()
        sequences = self._sequences
        targets = [sequence.target for sequence in sequences]
        sums = error_sums([_numbers(bits) for bits in predicted], targets)
        return Predictions(
            gold=(),
            predicted=(),
            sources=tuple(sequence.source for sequence in sequences),
            truncated=0,
            unknown_only=0,
            examples_sha256=self.examples_sha256,
            counts=tuple(map(len, targets)),
            absolute_errors=sums.absolute,
            squared_errors=sums.squared,
        )


def _numbers(bits: Sequence[int]) -> tuple[float, ...]:
    """The numbers [outputs] from their bits, as `sequence_steps.RegressionSteps` sends them."""
    return struct.unpack(f"={len(bits)}f", struct.pack(f"={len(bits)}i", *bits))
