"""Scores of predicted classes: confusion matrix, accuracy, precision, recall, F1.

Classes are numbers 0..k-1 in the order of the data set's labels. Only numpy is used, so that a
device computes the very same numbers as a workstation.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class ClassScores(msgspec.Struct, frozen=True):
    """Scores of one class, fractions in 0..1; `support` is its number of gold examples."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


class Scores(msgspec.Struct, frozen=True):
    """Scores of one set of predictions, fractions in 0..1.

    `confusion[g][p]` counts examples of gold class g that were given class p; everything else
    follows from it and is kept for reading.
    """

    n: int
    accuracy: float
    macro_f1: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]


def confusion_matrix(
    gold: Sequence[int] | IntArray, predicted: Sequence[int] | IntArray, n_classes: int
) -> IntArray:
    """Counts of shape (n_classes, n_classes): rows are gold classes, columns predicted ones.

    Raises `DataError` when the two differ in length, are empty, or hold a number outside
    0..n_classes-1.
    """
    gold_array = np.asarray(gold, dtype=np.int64)
    predicted_array = np.asarray(predicted, dtype=np.int64)
    if gold_array.ndim != 1 or gold_array.shape != predicted_array.shape or not gold_array.size:
        raise DataError(
            "gold and predicted classes must be two lists of one length",
            found=f"shapes {gold_array.shape} and {predicted_array.shape}",
        )
    for name, values in (("gold", gold_array), ("predicted", predicted_array)):
        wrong = values[(values < 0) | (values >= n_classes)]
        if wrong.size:
            raise DataError(
                f"a {name} class is out of range",
                found=int(wrong[0]),
                expected=f"0 to {n_classes - 1}",
            )
    cells = np.bincount(gold_array * n_classes + predicted_array, minlength=n_classes**2)
    return cells.reshape(n_classes, n_classes).astype(np.int64)


def accuracy(confusion: npt.NDArray[np.generic]) -> FloatArray:
    """The share of examples on the diagonal; works on a batch of matrices (..., k, k) too."""
    counts = np.asarray(confusion, dtype=np.float64)
    right = np.trace(counts, axis1=-2, axis2=-1)
    return np.asarray(right / np.maximum(counts.sum(axis=(-2, -1)), 1), dtype=np.float64)


def f1_per_class(confusion: npt.NDArray[np.generic]) -> FloatArray:
    """F1 of each class: 2 tp / (2 tp + fp + fn), of shape (..., k).

    It is the harmonic mean of precision and recall (van Rijsbergen 1979, Information Retrieval,
    chapter 7), and 0 for a class that neither gold nor prediction holds.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    true_positives = np.diagonal(counts, axis1=-2, axis2=-1)
    # Predicted plus gold examples of the class: (tp + fp) + (tp + fn).
    both = counts.sum(axis=-2) + counts.sum(axis=-1)
    return _ratio(2 * true_positives, both)


def macro_f1(confusion: npt.NDArray[np.generic]) -> FloatArray:
    """The unweighted mean of the classes' F1, of shape (...).

    This is the "averaged F1" of Opitz & Burst 2019 (Macro F1 and Macro F1, arXiv:1911.03347),
    which is less kind to a class that is never predicted than the F1 of mean precision and recall.
    """
    return np.asarray(f1_per_class(confusion).mean(axis=-1), dtype=np.float64)


def score(
    gold: Sequence[int] | IntArray, predicted: Sequence[int] | IntArray, labels: Sequence[str]
) -> Scores:
    """All scores of predictions for examples with gold classes; classes number `labels`.

    Precision is tp / (tp + fp), recall tp / (tp + fn), each 0 where its denominator is. Raises
    `DataError` as `confusion_matrix` does.
    """
    confusion = confusion_matrix(gold, predicted, len(labels))
    true_positives = np.diagonal(confusion)
    precision = _ratio(true_positives, confusion.sum(axis=0))
    recall = _ratio(true_positives, confusion.sum(axis=1))
    f1 = f1_per_class(confusion)
    return Scores(
        n=int(confusion.sum()),
        accuracy=float(accuracy(confusion)),
        macro_f1=float(macro_f1(confusion)),
        per_class=tuple(
            ClassScores(
                label=label,
                precision=float(precision[number]),
                recall=float(recall[number]),
                f1=float(f1[number]),
                support=int(confusion[number].sum()),
            )
            for number, label in enumerate(labels)
        ),
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
    )


def _ratio(above: npt.NDArray[np.generic], below: npt.NDArray[np.generic]) -> FloatArray:
    """`above / below`, 0 where `below` is 0."""
    numerator = np.asarray(above, dtype=np.float64)
    denominator = np.asarray(below, dtype=np.float64)
    result = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result
