"""Macro and micro F1 of texts with any number of labels.

Each label of each text is a decision. With the true positives, false positives and false negatives
of a label

    F1 = 2·tp / (2·tp + fp + fn), 0 where nothing was there and nothing was predicted

Macro F1 is the mean of the labels' F1, so that a rare label counts as much as a frequent one; micro
F1 is the F1 of all decisions together (Manning, Raghavan & Schütze 2008, "Introduction to
Information Retrieval", section 13.6). Both are scikit-learn's `f1_score` with these averages. Only
numpy is used, so that a device computes the very same numbers as a workstation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgeseq.errors import DataError
from edgeseq.tasks.gap_f1 import f1_of_counts
from edgeseq.tasks.metric import ClassCounts, FloatArray, Metric
from edgeseq.tasks.predictions import Predictions


def decision_counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    """True positives, false positives and false negatives of each example and label:
    [examples, labels, 3].

    Raises `DataError` unless every example has a 0 or 1 for each label.
    """
    gold, predicted = (
        np.asarray(column, dtype=np.int64) for column in (predictions.gold, predictions.predicted)
    )
    n_examples, n_labels = len(predictions.counts), len(labels)
    is_complete = gold.shape == predicted.shape == (n_examples * n_labels,)
    if not is_complete or set(predictions.counts) - {n_labels}:
        raise DataError(
            "must have a decision for each label of each text",
            found=f"{len(gold)} and {len(predicted)}",
            expected=f"{n_examples} times {n_labels}",
        )
    if ((gold | predicted) & ~1).any():
        raise DataError("a label decision is neither 0 nor 1")
    gold, predicted = gold.astype(bool), predicted.astype(bool)
    counts = np.stack([gold & predicted, ~gold & predicted, gold & ~predicted], axis=1)
    return counts.reshape(n_examples, n_labels, 3).astype(np.float64)


def _counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    counts = decision_counts(predictions, labels)
    return counts.reshape(len(counts), -1)


def _by_label(sums: FloatArray) -> FloatArray:
    return sums.reshape(*sums.shape[:-1], -1, 3)


def _macro_f1(sums: FloatArray) -> FloatArray:
    return np.asarray(f1_of_counts(_by_label(sums)).mean(axis=-1))


def _micro_f1(sums: FloatArray) -> FloatArray:
    return f1_of_counts(_by_label(sums).sum(axis=-2))


def _class_counts(predictions: Predictions, labels: Sequence[str]) -> ClassCounts:
    right, wrong, missed = np.moveaxis(decision_counts(predictions, labels).sum(axis=0), -1, 0)
    columns = (right, right + missed, right + wrong)
    return ClassCounts(tuple(labels), np.stack(columns, axis=1).astype(np.int64))


MICRO_F1 = Metric(
    name="micro-f1",
    title="micro F1",
    counts=_counts,
    value=_micro_f1,
    class_counts=_class_counts,
    class_title="label",
)
MACRO_F1 = dataclasses.replace(
    MICRO_F1, name="macro-f1", title="macro F1", value=_macro_f1, others=(MICRO_F1,)
)
