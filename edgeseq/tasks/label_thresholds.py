"""Which labels a text has: those whose logit reaches the label's threshold.

Thresholds are chosen on development texts, each where its label's F1 is highest ("SCut", Yang 2001,
"A Study of Thresholding Strategies for Text Categorization"). A label with few texts would get one
that fits these alone (Fan & Lin 2007, "A Study on Threshold Selection for Multi-label
Classification", section 3); it takes the one at which micro F1 of all labels is highest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt

from edgeseq.errors import InputError
from edgeseq.tasks.multilabel_classification import threshold_logits

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]
ThresholdChoice = Literal["per-label", "shared"]

MIN_TEXTS = 5
"""Of a label among the development texts; with fewer it takes the shared threshold."""
_LARGEST_LOGIT = 30.0
"""Beyond it a probability in float64 has few digits left, and at 37 it is 1."""


def threshold_choice(value: str | float) -> ThresholdChoice | float:
    """How thresholds are chosen, from what a user names: `per-label`, `shared`, or a probability
    for all labels. Raises `InputError` for anything else."""
    for choice in get_args(ThresholdChoice):
        if value == choice:
            return cast(ThresholdChoice, choice)
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if 0 < share < 1:
        return share
    raise InputError(
        "does not say how thresholds are chosen",
        where="--thresholds",
        found=repr(value),
        expected="per-label, shared, or a probability above 0 and below 1",
    )


def decide(logits: FloatArray, thresholds: Sequence[float]) -> npt.NDArray[np.int64]:
    """1 where a label's logit [..., labels] reaches its threshold, which is a logit too
    (`edgeseq.tasks.multilabel_classification.threshold_logits`), else 0."""
    return (logits >= np.asarray(thresholds, np.float32)).astype(np.int64)


def sigmoid(logits: FloatArray) -> npt.NDArray[np.float64]:
    """Probabilities of logits of any shape, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64))))


def choose_thresholds(
    logits: FloatArray, gold: BoolArray, choice: ThresholdChoice | float = "per-label"
) -> tuple[float, ...]:
    """The thresholds [labels] for development texts with logits [texts, labels].

    Args:
        logits: Those of the float model.
        gold: Whether each text has each label, [texts, labels].
        choice: `per-label`, `shared` (one for all), or a threshold for all.
    """
    n_labels = int(logits.shape[1])
    if isinstance(choice, float):
        return (choice,) * n_labels
    shared = _best_logit(logits.ravel(), gold.ravel())
    chosen = [shared] * n_labels
    if choice == "per-label":
        for label in np.flatnonzero(gold.sum(axis=0) >= MIN_TEXTS):
            chosen[label] = _best_logit(logits[:, label], gold[:, label])
    shares: list[float] = sigmoid(np.clip(chosen, -_LARGEST_LOGIT, _LARGEST_LOGIT)).tolist()
    return tuple(shares)


def best_decisions(logits: FloatArray, gold: BoolArray) -> npt.NDArray[np.int64]:
    """The decisions [texts, labels] at the thresholds that are best for these texts."""
    return decide(logits, threshold_logits(choose_thresholds(logits, gold)))


def _best_logit(logits: FloatArray, gold: BoolArray) -> float:
    """The threshold of the highest F1 of decisions [n], between two neighbouring logits; of
    equally good ones the one nearest to 0, and 0 without a positive."""
    order = np.argsort(-logits, kind="stable")
    ordered = logits[order].astype(np.float64)
    n_predicted = np.arange(1, len(ordered) + 1)
    f1 = 2 * np.cumsum(gold[order]) / (n_predicted + gold.sum())
    # No threshold lies between equal logits.
    is_last = np.append(ordered[1:] < ordered[:-1], True)
    between = (ordered + np.append(ordered[1:], ordered[-1] - 1)) / 2
    if not gold.any():
        return 0.0
    best = np.flatnonzero(is_last & (f1 >= f1[is_last].max()))
    return float(between[best[np.abs(between[best]).argmin()]])
