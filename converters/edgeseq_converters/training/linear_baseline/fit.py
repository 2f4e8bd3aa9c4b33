"""What a linear model reaches on a data set."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from edgeseq.formats.linear_baseline import LinearBaseline
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.examples import (
    AnyDataset,
    AnyExample,
    Dataset,
    StreamExample,
    TaggedExample,
    gold_classes,
)
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.training.linear_baseline import next_words, tags, texts

_PACKAGES = ("scikit-learn", "python-crfsuite")
_STAGE = "fit the linear baseline"


class _Fitted(msgspec.Struct, frozen=True):
    """A fitted model's predictions for the development and the test split."""

    method: str
    dev: Predictions
    test: Predictions
    settings: dict[str, float]
    parameters: int


def fit_linear_baseline(
    dataset: AnyDataset, *, progress: ProgressCallback = no_progress
) -> LinearBaseline:
    """Fits a linear model to the training split; settings are chosen on the development split.

    Texts with labels get logistic regression over TF-IDF, words with tags a CRF, and running text
    a bigram model.
    """
    began = time.monotonic()
    head = task_of(dataset.task).head
    progress(ProgressUpdate(_STAGE, 0))
    if head == "language-modeling":
        tried = [_fit_next_words(dataset)]
    elif head == "token-classification":
        tried = [_fit_tags(dataset)]
    else:
        tried = [_fit_texts(dataset, candidate) for candidate in texts.candidates(dataset)]
    progress(ProgressUpdate(_STAGE, 1, 1))
    metric = metric_of(dataset.task)

    def dev_score(fitted: _Fitted) -> float:
        return float(metric.value(metric.counts(fitted.dev, dataset.labels).sum(axis=0)))

    best = max(tried, key=lambda fitted: metric.rank(dev_score(fitted)))
    return LinearBaseline(
        method=best.method,
        task=dataset.task,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        labels=dataset.labels,
        predictions=best.test,
        dev_score=dev_score(best),
        settings=best.settings,
        parameters=best.parameters,
        seconds=time.monotonic() - began,
        tool_versions={name: importlib.metadata.version(name) for name in _PACKAGES},
    )


def _fit_texts(dataset: AnyDataset, candidate: texts.TextCandidate) -> _Fitted:
    def predictions(examples: Sequence[AnyExample], predicted: list[int]) -> Predictions:
        gold = [gold_classes(example, dataset.labels) for example in examples]
        counts = list(map(len, gold)) if task_of(dataset.task).is_multilabel else ()
        return _predictions(examples, [n for classes in gold for n in classes], predicted, counts)

    return _Fitted(
        texts.METHOD,
        predictions(dataset.dev, candidate.dev),
        predictions(dataset.test, candidate.test),
        candidate.settings,
        candidate.parameters,
    )


def _fit_tags(dataset: Dataset[TaggedExample]) -> _Fitted:
    model = tags.fit_tags(dataset.train)
    numbers = {label: number for number, label in enumerate(dataset.labels)}

    def predictions(sentences: Sequence[TaggedExample]) -> Predictions:
        gold = [numbers[tag] for sentence in sentences for tag in sentence.tags]
        tagged = (model.tags(sentence.words) for sentence in sentences)
        predicted = [numbers[tag] for sentence_tags in tagged for tag in sentence_tags]
        counts = [len(sentence.words) for sentence in sentences]
        return _predictions(sentences, gold, predicted, counts)

    return _Fitted(
        tags.METHOD,
        predictions(dataset.dev),
        predictions(dataset.test),
        {**tags.PENALTIES, "iterations": tags.ITERATIONS},
        model.parameters,
    )


def _fit_next_words(dataset: Dataset[StreamExample]) -> _Fitted:
    model = next_words.BigramModel(dataset.train)

    def predictions(documents: Sequence[StreamExample]) -> Predictions:
        counts = [len(document.words) for document in documents]
        sums = tuple(model.log_probability(document.words) for document in documents)
        empty = _predictions(documents, [], [], counts)
        return msgspec.structs.replace(empty, log_probabilities=sums)

    return _Fitted(
        next_words.METHOD,
        predictions(dataset.dev),
        predictions(dataset.test),
        {},
        model.parameters,
    )


def _predictions(
    examples: Sequence[AnyExample],
    gold: Sequence[int],
    predicted: Sequence[int],
    counts: Sequence[int] = (),
) -> Predictions:
    return Predictions(
        gold=tuple(gold),
        predicted=tuple(np.asarray(predicted, dtype=np.int64).tolist()),
        sources=tuple(example.source for example in examples),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=tuple(counts),
    )
