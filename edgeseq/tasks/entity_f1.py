"""F1 of entities: found when type, first and last word agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.tasks.metric import ClassCounts, FloatArray, Metric
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import by_example
from edgeseq.tasks.tagging import entity_counts, entity_types


def per_type_counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    """Entities found exactly, present and predicted, by example and type: [examples, types, 3];
    types are in the order of `tagging.entity_types`."""
    types = entity_types(labels)
    rows = [
        entity_counts(
            [labels[tag] for tag in predictions.gold[words]],
            [labels[tag] for tag in predictions.predicted[words]],
            types,
        )
        for words in by_example(predictions)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(types), 3)


def _counts(predictions: Predictions, labels: Sequence[str]) -> FloatArray:
    return np.asarray(per_type_counts(predictions, labels).sum(axis=1))


def _class_counts(predictions: Predictions, labels: Sequence[str]) -> ClassCounts:
    sums = per_type_counts(predictions, labels).sum(axis=0)
    return ClassCounts(entity_types(labels), sums.astype(np.int64))


def _f1(sums: FloatArray) -> FloatArray:
    """F1 from found, present, predicted: 2·found / (present + predicted) (van Rijsbergen 1979);
    0 of nothing."""
    return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))


ENTITY_F1 = Metric(
    name="entity-f1",
    title="entity F1",
    counts=_counts,
    value=_f1,
    class_counts=_class_counts,
    class_title="type of entity",
)
