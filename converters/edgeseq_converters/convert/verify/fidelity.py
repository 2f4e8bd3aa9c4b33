"""The conversion's comparison with the float model, and what a recipe allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import BundleError, ConversionError
from edgeseq.formats.bundle import Fidelity
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.runtime.interpreter import TfliteModel
from edgeseq.tasks.examples import labels_of
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.tasks.tagging import best_tags, bio_rules
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.verify.samples import Compared
from edgeseq_converters.models.arrays import FloatArray


class Sample(msgspec.Struct, frozen=True):
    """The texts to compare on, as token ids."""

    token_ids: tuple[tuple[int, ...], ...]


class Comparison(msgspec.Struct, frozen=True):
    """Logits of the float model and of the converted one for each input: [labels], or
    [tokens, labels] in a row."""

    reference: tuple[tuple[float, ...], ...]
    converted: tuple[tuple[float, ...], ...]


@contextmanager
def runtime_errors(path: Path) -> Iterator[None]:
    """Raises `ConversionError` where the runtime refuses the converted file at `path`."""
    try:
        yield
    except BundleError as failure:
        raise ConversionError(
            "the runtime does not run the model", where=path, found=failure.found or failure.what
        ) from failure


def converted_logits(
    path: Path,
    texts: Sequence[Sequence[int]],
    *,
    stage: str = "ask",
    progress: ProgressCallback = no_progress,
) -> list[FloatArray]:
    """Logits [labels], or [tokens, labels], of a .tflite file for each text, one at a time at its
    real length.

    The first text is asked again at the end, after texts of other lengths: a different answer
    means that the model keeps state. Raises `ConversionError` then, and when the runtime refuses
    the model.
    """
    answers = []
    with runtime_errors(path):
        model = TfliteModel(path)
        for number, token_ids in enumerate([*texts, texts[0]]):
            answers.append(model.infer(token_ids))
            if number % 16 == 0:
                progress(ProgressUpdate(stage, number, len(texts)))
    progress(ProgressUpdate(stage, len(texts), len(texts)))
    if not np.array_equal(answers[0], answers.pop()):
        raise ConversionError(
            "answers the same text differently after other texts: it keeps state", where=path
        )
    return answers


def measure(
    comparison: Comparison, compared: Compared, recipe: Recipe, *, task: str, labels: Sequence[str]
) -> Fidelity:
    """Errors over the logits of all answers (texts, or words), agreement of labels as they are
    decoded, and both models' score on the same examples."""
    reference = _answers(comparison.reference, compared, len(labels))
    converted = _answers(comparison.converted, compared, len(labels))
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(converted, axis=1)
    cosines = (reference * converted).sum(axis=1) / np.maximum(norms, 1e-12)
    found, metric = _found(converted, compared, task, labels), metric_of(task)
    float_found = _found(reference, compared, task, labels)
    same = np.asarray(found.predicted) == np.asarray(float_found.predicted)
    score, float_score = (
        float(metric.value(metric.counts(one, labels).sum(axis=0))) for one in (found, float_found)
    )
    return Fidelity(
        n_examples=len(compared.examples),
        max_abs_error=float(np.abs(reference - converted).max()),
        cosine=float(cosines.min()),
        label_agreement=float(same.mean()),
        bound=recipe.bound.relative_error,
        float_score=float_score,
        score=score,
        n_answers=len(found.gold) if found.counts else None,
    )


def _answers(
    inputs: Sequence[Sequence[float]], compared: Compared, labels: int
) -> npt.NDArray[np.float64]:
    """Logits of each answer: [texts, labels] or [words, labels]; a word without a token is 0."""
    if not compared.words:
        return np.asarray(inputs)
    total = sum(len(labels_of(example)) for example in compared.examples)
    answers = np.zeros((total, labels))
    for row, places, words in zip(inputs, compared.places, compared.words, strict=True):
        answers[list(words)] = np.asarray(row).reshape(-1, labels)[list(places)]
    return answers


def _found(
    logits: npt.NDArray[np.float64], compared: Compared, task: str, labels: Sequence[str]
) -> Predictions:
    """The answers as a device decodes them."""
    number = {label: place for place, label in enumerate(labels)}
    gold = [labels_of(example) for example in compared.examples]
    counts = tuple(map(len, gold)) if compared.words else ()
    predicted = logits.argmax(axis=1)
    if compared.words and task_of(task).bio_labels:
        rules = bio_rules(labels)
        parts = np.split(logits, np.cumsum(counts)[:-1])
        predicted = np.concatenate([best_tags(part, rules) for part in parts])
    return Predictions(
        gold=tuple(number[label] for own in gold for label in own),
        predicted=tuple(predicted.tolist()),
        sources=tuple(example.source for example in compared.examples),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=counts,
    )


def check(fidelity: Fidelity, comparison: Comparison, recipe: Recipe, *, where: Path) -> None:
    """Raises `ConversionError` when the model is further from the float one than the recipe says.

    One text in a small sample may always change its label: a tie is no fault of the conversion.
    """
    largest = _largest_logit(comparison)
    relative = fidelity.max_abs_error / largest
    answers = fidelity.n_answers or fidelity.n_examples
    changed = round((1 - fidelity.label_agreement) * answers)
    allowed = max(1, round((1 - recipe.bound.label_agreement) * answers))
    bound = recipe.bound
    if not np.isfinite(relative) or relative > bound.relative_error:
        raise ConversionError(
            f"answers differ from the float model's by {relative:.2g} of the largest logit",
            where=where,
            expected=f"<= {bound.relative_error:g} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )
    if changed > allowed:
        raise ConversionError(
            f"gives {changed} of {answers} {'words' if fidelity.n_answers else 'texts'} another "
            "label than the float model",
            where=where,
            expected=f"<= {allowed} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )


def golden_tolerance(comparison: Comparison, n_golden: int, recipe: Recipe) -> float:
    """The largest |difference of a logit| from the float model on the golden examples with which
    a device's answers count as this model's: twice what this conversion shows there, and the
    recipe's slack for other kernels over the largest logit."""
    pairs = zip(comparison.reference[:n_golden], comparison.converted[:n_golden], strict=True)
    error = max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)
    return 2 * error + recipe.bound.slack * _largest_logit(comparison)


def _largest_logit(comparison: Comparison) -> float:
    return max(*(float(np.abs(np.asarray(one)).max()) for one in comparison.reference), 1e-6)
