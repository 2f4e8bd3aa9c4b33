"""The score of a float model on development texts, to choose what its file does not say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.errors import DataError
from edgeseq.formats.trained_model import TrainedModel
from edgeseq.tasks.examples import AnyDataset, MultilabelExample, TextExample, gold_classes
from edgeseq.tasks.label_thresholds import best_decisions
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.convert.verify.samples import N_COMPARED, TextInputs, spread
from edgeseq_converters.models.arrays import vocabulary_size
from edgeseq_converters.models.reference import reference_logits

PER_TEXT = (TextExample, MultilabelExample)


def development_texts(dataset: AnyDataset) -> list[TextExample | MultilabelExample]:
    """At most `N_COMPARED` development texts, evenly spread over the split.

    Raises `DataError` without one.
    """
    examples = [example for example in dataset.dev if isinstance(example, PER_TEXT)]
    examples = [examples[index] for index in spread(len(examples), N_COMPARED)]
    if not examples:
        raise DataError(
            "has no development texts with labels for the whole to compare on",
            where=dataset.name,
            found=f"{len(dataset.dev)} development examples of the task {dataset.task}",
        )
    return examples


def development_score(
    model: TrainedModel,
    examples: Sequence[TextExample | MultilabelExample],
    dataset: AnyDataset,
) -> float:
    """The task's metric of the float model on the examples, with the model's own padding."""
    inputs = TextInputs(model, vocabulary_size(model))
    logits = reference_logits(model, [inputs.encode(example.text) for example in examples])
    labels = dataset.labels
    gold = np.array([gold_classes(example, labels) for example in examples])
    is_multilabel = task_of(dataset.task).is_multilabel
    predicted = best_decisions(logits, gold > 0) if is_multilabel else logits.argmax(axis=1)
    predictions = Predictions(
        gold=tuple(gold.ravel().tolist()),
        predicted=tuple(predicted.ravel().tolist()),
        sources=tuple(example.source for example in examples),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=(len(labels),) * len(gold) if is_multilabel else (),
    )
    metric = metric_of(dataset.task)
    return float(metric.value(metric.counts(predictions, labels).sum(axis=0)))
