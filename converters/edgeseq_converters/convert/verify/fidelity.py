"""Compares a converted model with the float one on the data set's texts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import ConversionError, RefusedError
from edgeseq.formats.bundle_manifest import Fidelity, Golden, GoldenExample
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.examples import AnyDataset, gold_classes, labels_of
from edgeseq.tasks.label_thresholds import (
    ThresholdChoice,
    choose_thresholds,
    decide,
)
from edgeseq.tasks.metric import Metric
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.tasks.tagging import TagDecoder
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.samples import (
    N_COMPARED,
    N_DECIDING,
    TextInputs,
    TextSample,
    calibration_inputs,
    choose_sample,
)
from edgeseq_converters.models.arrays import (
    FloatArray,
    ModelInput,
    token_ids_of,
    vocabulary_size,
    word_rows_of,
)
from edgeseq_converters.models.reference import reference_answers

DoubleArray = npt.NDArray[np.float64]
MIN_SCORE_FRACTION = 0.99
"""Of the float model's score that must remain where no number of points is named: the rule of
MLPerf Inference's accuracy targets (99 % of the reference)."""


class Measured(msgspec.Struct, frozen=True):
    """The result of a comparison: the figures of the manifest, the golden examples, and thresholds
    by label where a text has any number of them."""

    fidelity: Fidelity
    golden: Golden
    thresholds: tuple[float, ...] = ()


class TextComparison:
    """Compares files converted from a text or token classifier with the float model.

    `thresholds` [labels] are those of a classifier with any number of labels per text, else empty;
    `calibration` are the token ids that ranges and rounding are chosen on, `token_ids` those that
    the file is run on.
    """

    def __init__(
        self,
        model: TrainedModel,
        dataset: AnyDataset,
        max_tokens: int,
        *,
        all_examples: bool,
        thresholds: ThresholdChoice | float = "per-label",
        is_untrained: bool = False,
    ) -> None:
        """`all_examples`: on the whole development split, for a score worth comparing;
        `thresholds`: how those of labels are chosen (`choose_thresholds`); `is_untrained`: outputs
        may differ by any share of the largest logit.

        Raises `CheckpointError` for a damaged tokenizer, and `DataError` when the development
        split is empty.
        """
        inputs = TextInputs(model, vocabulary_size(model), max_tokens)
        self._model, self._labels, self._is_untrained = model, dataset.labels, is_untrained
        self._task, self._threshold_choice = task_of(model.manifest.task), thresholds
        count = N_DECIDING if self._task.is_multilabel else N_COMPARED
        count = len(dataset.dev) if all_examples else count
        self._sample: TextSample = choose_sample(dataset, inputs, count=count)
        self.calibration: Sequence[ModelInput] = calibration_inputs(dataset, inputs)
        self.token_ids: Sequence[ModelInput] = self._sample.token_ids

    @cached_property
    def thresholds(self) -> tuple[float, ...]:
        """Chosen on the float model's logits."""
        if not self._task.is_multilabel:
            return ()
        examples, labels = self._sample.examples, self._labels
        gold = np.array([gold_classes(example, labels) for example in examples], bool)
        return choose_thresholds(self._logits(self._reference), gold, self._threshold_choice)

    @cached_property
    def _reference(self) -> list[FloatArray]:
        return reference_answers(self._model, self.token_ids)

    def measure(self, outputs: Sequence[FloatArray], recipe: Recipe, *, where: Path) -> Measured:
        """Compares the file's `outputs` for `token_ids` with the float model's.

        Raises `ConversionError` about `where` when they are further apart than the recipe allows.
        """
        reference, sample = self._reference, self._sample
        largest = max(*(float(np.abs(logits).max()) for logits in reference), 1e-6)
        fidelity = self._fidelity(reference, outputs, recipe)
        if not self._is_untrained:
            _check_bounds(fidelity, largest, recipe, where=where, unit=self._task.scored_unit)
        pairs = list(zip(reference, outputs, strict=True))[: sample.n_golden]
        error = max(float(np.abs(_double(a) - _double(b)).max()) for a, b in pairs)
        examples = tuple(
            self._golden_example(number, tuple(logits.ravel().tolist()))
            for number, (logits, _) in enumerate(pairs)
        )
        # Twice what this conversion shows there, and the recipe's slack for other kernels.
        tolerance = 2 * error + recipe.bound.slack * largest
        return Measured(fidelity, Golden(examples=examples, tolerance=tolerance), self.thresholds)

    def _golden_example(self, number: int, logits: tuple[float, ...]) -> GoldenExample:
        """The example `number` of the sample with the float model's `logits`."""
        example = self._sample.examples[number]
        return GoldenExample(
            text=example.text,
            words=() if isinstance(example.model_input, str) else example.model_input,
            token_ids=token_ids_of(self._sample.token_ids[number]),
            logits=logits,
            word_rows=word_rows_of(self._sample.token_ids[number]),
        )

    def _fidelity(
        self, reference: Sequence[FloatArray], outputs: Sequence[FloatArray], recipe: Recipe
    ) -> Fidelity:
        """Errors over the logits of all texts or words, agreement of labels as they are decoded,
        and both models' score on the same examples."""
        expected, converted = self._logits(reference), self._logits(outputs)
        norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(converted, axis=1)
        cosines = (expected * converted).sum(axis=1) / np.maximum(norms, 1e-12)
        predictions, float_predictions = self._decode(converted), self._decode(expected)
        metric = metric_of(self._model.manifest.task)
        score, float_score = (
            float(metric.value(metric.counts(decoded, self._labels).sum(axis=0)))
            for decoded in (predictions, float_predictions)
        )
        is_same_label = np.asarray(predictions.predicted) == np.asarray(float_predictions.predicted)
        return Fidelity(
            n_examples=len(self._sample.examples),
            max_abs_error=float(np.abs(expected - converted).max()),
            cosine=float(cosines.min()),
            label_agreement=float(is_same_label.mean()) if len(is_same_label) else None,
            bound=recipe.bound.relative_error,
            float_score=float_score,
            score=score,
            n_answers=len(predictions.gold) if predictions.counts and predictions.gold else None,
        )

    def _logits(self, outputs: Sequence[FloatArray]) -> DoubleArray:
        """[texts, labels] or [words, labels]; a word without a token is 0."""
        sample = self._sample
        if not sample.words:
            return _double(outputs)
        total = sum(len(labels_of(example)) for example in sample.examples)
        logits = np.zeros((total, len(self._labels)))
        for rows, positions, words in zip(outputs, sample.positions, sample.words, strict=True):
            logits[list(words)] = rows[list(positions)]
        return logits

    def _decode(self, logits: DoubleArray) -> Predictions:
        """The predictions as a device decodes them."""
        sample, labels = self._sample, self._labels
        gold = [gold_classes(example, labels) for example in sample.examples]
        has_counts = sample.words or self._task.is_multilabel
        counts = tuple(map(len, gold)) if has_counts else ()
        predicted = logits.argmax(axis=1)
        if self._task.is_multilabel:
            predicted = decide(logits, threshold_logits(self.thresholds)).ravel()
        if sample.words:
            span_labels = labels if self._task.bio_labels else ()
            decoder = TagDecoder(span_labels, self._model.manifest.transitions)
            sentences = np.split(logits, np.cumsum(counts)[:-1])
            predicted = np.concatenate([decoder.best_tags(sentence) for sentence in sentences])
        return Predictions(
            gold=tuple(number for classes in gold for number in classes),
            predicted=tuple(predicted.tolist()),
            sources=tuple(example.source for example in sample.examples),
            truncated=0,
            unknown_only=0,
            examples_sha256="",
            counts=counts,
        )


def _double(values: object) -> DoubleArray:
    return np.asarray(values, np.float64)


def check_relative_error(relative: float, recipe: Recipe, *, where: str | Path) -> None:
    """Raises `ConversionError` when the outputs are further from the float model's than the recipe
    allows; `relative` is to the largest |logit|."""
    bound = recipe.bound
    if not relative <= bound.relative_error:
        raise ConversionError(
            f"outputs differ from the float model's by {relative:.2g} of the largest logit",
            where=where,
            expected=f"<= {bound.relative_error:g} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )


def _check_bounds(
    fidelity: Fidelity, largest: float, recipe: Recipe, *, where: Path, unit: str
) -> None:
    """Raises `ConversionError` when the model is further from the float one than the recipe allows;
    `unit` is what labels are of.

    One text in a small sample may always change its label, because of a tie.
    """
    check_relative_error(fidelity.max_abs_error / largest, recipe, where=where)
    if fidelity.label_agreement is None:
        return
    bound = recipe.bound
    total = fidelity.n_answers or fidelity.n_examples
    changed = round((1 - fidelity.label_agreement) * total)
    allowed = max(1, round((1 - bound.label_agreement) * total))
    if changed > allowed:
        raise ConversionError(
            f"changes the label of {changed} of {total} {unit}",
            where=where,
            expected=f"<= {allowed} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )


def check_drop(fidelity: Fidelity, max_drop: float | None, *, where: str) -> None:
    """Raises `RefusedError` when the model scores too far below the float one.

    `max_drop` is in points of the task's metric (percent), on the same development texts; without
    it the model must keep `MIN_SCORE_FRACTION` of the float model's score.
    """
    if fidelity.score is None or fidelity.float_score is None:
        return
    drop = 100 * (fidelity.float_score - fidelity.score)
    allowed = max_drop
    if allowed is None:
        allowed = 100 * (1 - MIN_SCORE_FRACTION) * fidelity.float_score
    if drop > allowed:
        raise _too_much_lost(
            f"loses {drop:.2f} points of {100 * fidelity.float_score:.2f} on "
            f"{fidelity.n_examples} development texts",
            allowed,
            where=where,
        )


def check_rise(fidelity: Fidelity, max_drop: float | None, metric: Metric, *, where: str) -> None:
    """Raises `RefusedError` when a score of which less is better, such as a perplexity or an error,
    is too far above the float model's.

    A point is a hundredth of its logarithm, about a percent; without `max_drop` one is allowed, as
    `MIN_SCORE_FRACTION` allows a percent of other scores.
    """
    if fidelity.score is None or fidelity.float_score is None:
        return
    drop = metric.points(fidelity.float_score, fidelity.score)
    allowed = 100 * (1 - MIN_SCORE_FRACTION) if max_drop is None else max_drop
    if drop > allowed:
        raise _too_much_lost(
            f"loses {drop:.2f} points of {metric.title}, {metric.show(fidelity.score)} against "
            f"{metric.show(fidelity.float_score)} on {fidelity.n_examples} development examples",
            allowed,
            where=where,
        )


def _too_much_lost(what: str, allowed: float, *, where: str) -> RefusedError:
    return RefusedError(
        what,
        where=where,
        expected=f"at most {allowed:.2f}",
        fix="choose a finer --recipe, or allow more with --max-drop",
    )
