"""Compares a converted model of numeric sequences with the float one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edgeseq.datasets.sequence_data import numbers_of
from edgeseq.errors import ConversionError, DataError
from edgeseq.formats.bundle_manifest import GoldenExample
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.examples import Dataset, SequenceExample
from edgeseq.tasks.number_errors import error_sums
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq_converters.convert.numeric_inputs import check_sequences
from edgeseq_converters.convert.verify.fidelity import DoubleArray, TextComparison
from edgeseq_converters.convert.verify.samples import (
    N_COMPARED,
    N_GOLDEN,
    TextSample,
    spread,
)
from edgeseq_converters.models.arrays import FloatArray

N_CALIBRATED = 1024
"""Training sequences that are calibrated on: the last layer is fitted to them, which needs more of
them than ranges do."""
MAX_EXPECTED_RISE = 0.005
"""By how much of itself the error of predicted numbers may rise before products are computed in
float32: half of the percent that a file may lose, as the rise on other sequences differs."""
RANGE_MARGIN = 0.1
"""How far beyond its calibrated range a number may lie, as a fraction of that range."""


class BundleRows(NamedTuple):
    """The rows of a bundle, its test examples with their places in them, and the places of the
    golden examples."""

    rows: FloatArray
    test: tuple[SequenceExample, ...]
    golden: tuple[str, ...]


class SequenceComparison(TextComparison):
    """As `TextComparison`; `token_ids` and `calibration` are numbers, and `bundle_rows` the rows
    that a bundle holds."""

    def __init__(
        self,
        model: TrainedModel,
        dataset: Dataset[SequenceExample],
        features: int,
        steps: int | None,
        *,
        all_examples: bool,
    ) -> None:
        """`steps` is the length of a model of a fixed one.

        Raises `DataError` when the development split is empty, or the data has sequences of other
        features or lengths than the model takes.
        """
        if not dataset.dev:
            raise DataError(
                "has no development sequences to compare a conversion on", where=dataset.name
            )
        lengths = {x.steps for part in (dataset.train, dataset.dev, dataset.test) for x in part}
        check_sequences(dataset.rows.shape[1], lengths, features, steps, where=dataset.name)
        self._model, self._labels, self._is_untrained = model, dataset.labels, False
        self._task = task_of(model.manifest.task)
        count = len(dataset.dev) if all_examples else N_COMPARED
        examples = tuple(dataset.dev[index] for index in spread(len(dataset.dev), count))
        golden = examples[:N_GOLDEN]
        self._sample = TextSample(examples, (), len(golden))
        self._sequences = examples
        self.token_ids = [numbers_of(dataset, example) for example in examples]
        train = dataset.train or dataset.dev
        chosen = spread(len(train), N_CALIBRATED)
        self.calibration = [numbers_of(dataset, train[index]) for index in chosen]
        self.bundle_rows = _bundle_rows(dataset, golden)

    def expected_rise(self, outputs: Sequence[FloatArray]) -> float:
        """By how much of itself the mean absolute error of predicted numbers rises when what
        `outputs` differ from the float model's is independent of its error: the mean over every
        pair of an error and a difference, with either sign.

        The error that was measured rises and falls by chance, by about a percent on 500 sequences.
        """
        targets = np.asarray([example.target for example in self._sequences])
        reference = np.asarray(self._reference, np.float64)
        differences = np.asarray(outputs, np.float64) - reference
        errors = np.abs(reference - targets)
        # |e + d| and |e − d| average to the larger of both magnitudes.
        pairs = zip(errors.T, np.abs(differences).T, strict=True)
        risen = [np.maximum.outer(error, difference).mean() for error, difference in pairs]
        return float(np.mean(risen) / max(float(errors.mean()), 1e-30) - 1)

    def check_ranges(self, *, where: Path) -> None:
        """Raises `ConversionError` when over a hundredth of the test sequences hold numbers far
        beyond those that static ranges are calibrated on: they would be clipped."""
        calibrated = np.concatenate(self.calibration)
        low, high = calibrated.min(axis=0), calibrated.max(axis=0)
        margin = RANGE_MARGIN * (high - low)
        rows, test, _ = self.bundle_rows
        parts = [rows[example.start : example.start + example.steps] for example in test]
        lowest = np.stack([part.min(axis=0) for part in parts])
        highest = np.stack([part.max(axis=0) for part in parts])
        beyond = (lowest < low - margin) | (highest > high + margin)
        count = int(beyond.any(axis=1).sum())
        if count <= len(test) / 100:
            return
        feature = int(beyond.sum(axis=0).argmax())
        raise ConversionError(
            f"{count} of {len(test)} test sequences lie beyond the numbers that a static recipe is "
            "calibrated on, and would be clipped",
            where=where,
            found=f"feature {feature} from {lowest[:, feature].min():.3g} to "
            f"{highest[:, feature].max():.3g}",
            expected=f"{low[feature]:.3g} to {high[feature]:.3g}, as in train",
            fix="choose a dynamic recipe, or give a train split that covers them",
        )

    def _golden_example(self, number: int, logits: tuple[float, ...]) -> GoldenExample:
        row_range = self.bundle_rows.golden[number]
        return GoldenExample(text=row_range, token_ids=(), logits=logits)

    def _decode(self, logits: DoubleArray) -> Predictions:
        """Predicted numbers as they are; of a classifier as a device decodes them."""
        if not self._sequences[0].target:
            return super()._decode(logits)
        targets = [example.target for example in self._sequences]
        sums = error_sums(logits.tolist(), targets)
        return Predictions(
            gold=(),
            predicted=(),
            sources=tuple(example.source for example in self._sequences),
            truncated=0,
            unknown_only=0,
            examples_sha256="",
            counts=tuple(map(len, targets)),
            absolute_errors=sums.absolute,
            squared_errors=sums.squared,
        )


def _bundle_rows(
    dataset: Dataset[SequenceExample], golden: Sequence[SequenceExample]
) -> BundleRows:
    begin = min(example.start for example in dataset.test)
    end = max(example.start + example.steps for example in dataset.test)
    rows = [dataset.rows[begin:end]]
    moved = tuple(
        msgspec.structs.replace(example, start=example.start - begin) for example in dataset.test
    )
    count, row_ranges = end - begin, []
    for example in golden:
        rows.append(numbers_of(dataset, example))
        row_ranges.append(msgspec.structs.replace(example, start=count).model_input)
        count += example.steps
    return BundleRows(np.concatenate(rows), moved, tuple(row_ranges))
