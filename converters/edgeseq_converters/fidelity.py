"""The conversion's comparison with the float model, and what a recipe allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgeseq.bundle import Fidelity
from edgeseq.errors import ConversionError
from edgeseq.progress import Progress, Report, silent
from edgeseq_converters.answering import Answering
from edgeseq_converters.arrays import FloatArray
from edgeseq_converters.recipes import Recipe


class Sample(msgspec.Struct, frozen=True):
    """The texts to compare on, as token ids."""

    token_ids: tuple[tuple[int, ...], ...]


class Comparison(msgspec.Struct, frozen=True):
    """Logits of the float model and of the converted one, both [texts, labels]."""

    reference: tuple[tuple[float, ...], ...]
    converted: tuple[tuple[float, ...], ...]


def converted_logits(
    path: Path, texts: Sequence[Sequence[int]], *, stage: str = "ask", report: Report = silent
) -> FloatArray:
    """Logits [texts, labels] of a .tflite file, one text at a time at its real length.

    The first text is asked again at the end, after texts of other lengths: a different answer
    means that the model keeps state. Raises `ConversionError` then, and when the runtime refuses
    the model.
    """
    model = Answering(path)
    answers = []
    for number, token_ids in enumerate([*texts, texts[0]]):
        answers.append(model.answer(token_ids))
        if number % 16 == 0:
            report(Progress(stage, number, len(texts)))
    report(Progress(stage, len(texts), len(texts)))
    if not np.array_equal(answers[0], answers.pop()):
        raise ConversionError(
            "answers the same text differently after other texts: it keeps state", where=path
        )
    return np.stack(answers)


def measure(comparison: Comparison, labels: Sequence[int], recipe: Recipe) -> Fidelity:
    """Errors over logits, agreement of labels, and both models' accuracy on the same texts."""
    reference = np.asarray(comparison.reference)
    converted = np.asarray(comparison.converted)
    norms = np.linalg.norm(reference, axis=1) * np.linalg.norm(converted, axis=1)
    cosines = (reference * converted).sum(axis=1) / np.maximum(norms, 1e-12)
    answers, float_answers = converted.argmax(axis=1), reference.argmax(axis=1)
    gold = np.asarray(labels)
    return Fidelity(
        n_examples=len(reference),
        max_abs_error=float(np.abs(reference - converted).max()),
        cosine=float(cosines.min()),
        label_agreement=float((answers == float_answers).mean()),
        bound=recipe.bound.relative_error,
        float_score=float((float_answers == gold).mean()),
        score=float((answers == gold).mean()),
    )


def check(fidelity: Fidelity, comparison: Comparison, recipe: Recipe, *, where: Path) -> None:
    """Raises `ConversionError` when the model is further from the float one than the recipe says.

    One text in a small sample may always change its label: a tie is no fault of the conversion.
    """
    largest = _largest_logit(comparison)
    relative = fidelity.max_abs_error / largest
    changed = round((1 - fidelity.label_agreement) * fidelity.n_examples)
    allowed = max(1, round((1 - recipe.bound.label_agreement) * fidelity.n_examples))
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
            f"gives {changed} of {fidelity.n_examples} texts another label than the float model",
            where=where,
            expected=f"<= {allowed} with {recipe.name} ({bound.reason})",
            fix="choose a finer recipe",
        )


def golden_tolerance(comparison: Comparison, n_golden: int, recipe: Recipe) -> float:
    """The largest |difference of a logit| from the float model on the golden examples with which
    a device's answers count as this model's: twice what this conversion shows there, and the
    recipe's slack for other kernels over the largest logit."""
    reference = np.asarray(comparison.reference)[:n_golden]
    converted = np.asarray(comparison.converted)[:n_golden]
    error = float(np.abs(reference - converted).max())
    return 2 * error + recipe.bound.slack * _largest_logit(comparison)


def _largest_logit(comparison: Comparison) -> float:
    return max(float(np.abs(np.asarray(comparison.reference)).max()), 1e-6)
