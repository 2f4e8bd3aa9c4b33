"""GAP's scores: F1 over all pronouns, over feminine and masculine ones, and their ratio.

Webster et al. 2018 ("Mind the GAP", section 4): each example asks two questions, whether the
pronoun means A and whether it means B. Answers of all examples are counted together; a "yes" is
what precision and recall are of. "Bias" is the F1 of feminine pronouns over that of masculine ones.

    F1 = 2·tp / (2·tp + fp + fn), 0 where nothing was asked for and nothing answered with yes

An answer is one class an example: 0 means A, 1 means B, 2 neither. Only numpy is used, so that a
device computes the very same numbers as a workstation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError
from edgeseq.tasks.metric import FloatArray, Metric
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import label_counts

GENDERS = ("feminine", "masculine")
N_NAMES = 2
N_CLASSES = 3

IntArray = npt.NDArray[np.int64]


def decisions(gold: Sequence[int] | IntArray, predicted: Sequence[int] | IntArray) -> IntArray:
    """Counts [examples, 3] of true positives, false positives and false negatives.

    Raises `DataError` when the two differ in length, are empty, or hold a number besides 0
    (A), 1 (B) and 2 (neither).
    """
    gold_array = np.asarray(gold, dtype=np.int64)
    predicted_array = np.asarray(predicted, dtype=np.int64)
    if gold_array.ndim != 1 or gold_array.shape != predicted_array.shape or not gold_array.size:
        raise DataError(
            "gold and predicted answers must be two lists of one length",
            found=f"shapes {gold_array.shape} and {predicted_array.shape}",
        )
    for name, values in (("gold", gold_array), ("predicted", predicted_array)):
        if (wrong := values[(values < 0) | (values >= N_CLASSES)]).size:
            raise DataError(
                f"a {name} answer is not a class", found=int(wrong[0]), expected="0, 1 or 2"
            )
    is_name, names_one = gold_array < N_NAMES, predicted_array < N_NAMES
    right = is_name & (gold_array == predicted_array)
    return np.stack([right, names_one & ~right, is_name & ~right], axis=1).astype(np.int64)


def f1_of_counts(counts: npt.NDArray[np.generic]) -> FloatArray:
    """F1 of true positives, false positives and false negatives [..., 3]: shape (...)."""
    numbers = np.asarray(counts, dtype=np.float64)
    doubled = 2 * numbers[..., 0]
    below = doubled + numbers[..., 1] + numbers[..., 2]
    result = np.zeros(below.shape)
    np.divide(doubled, below, out=result, where=below > 0)
    return result


def gap_f1(gold: Sequence[int] | IntArray, predicted: Sequence[int] | IntArray) -> float:
    """The overall F1, in 0..1; raises `DataError` as `decisions` does."""
    return float(f1_of_counts(decisions(gold, predicted).sum(axis=0)))


def bias_of(f1_by_gender: Mapping[str, float]) -> float | None:
    """F1 of feminine pronouns over that of masculine ones; None unless it has both genders and no
    others, or where the masculine F1 is 0."""
    if set(f1_by_gender) != set(GENDERS) or not f1_by_gender["masculine"]:
        return None
    return f1_by_gender["feminine"] / f1_by_gender["masculine"]


def _counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    if len(labels) != N_CLASSES:
        raise DataError("GAP's scores need the classes A, B and neither", found=", ".join(labels))
    return np.asarray(decisions(predictions.gold, predictions.predicted), np.float64)


GAP_F1 = Metric(
    name="gap-f1",
    title="F1 of pronouns",
    counts=_counts,
    value=f1_of_counts,
    class_counts=label_counts,
)
