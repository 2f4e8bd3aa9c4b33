"""A data set with a label, or any number of labels, per text as token ids and targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edgeseq.errors import DataError
from edgeseq.tasks.examples import (
    Dataset,
    MultilabelExample,
    SplitName,
    TextExample,
    gold_classes,
)
from edgeseq.tasks.label_thresholds import best_decisions
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import metric_of
from edgeseq_converters.models.arrays import FloatArray


class EncodedSplit(msgspec.Struct, frozen=True):
    """A split of a data set: token ids of each text, `labels` [texts] as class numbers, or
    [texts, labels] as 0 and 1 where a text has any number of them, and `scores` [texts],
    standardized by the train split, or None where an example has none."""

    ids: list[list[int]]
    labels: npt.NDArray[np.int64]
    scores: FloatArray | None


def encode_texts(tokenizer_json: str, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids with the special tokens; a longer text is truncated before its last special token.

    Raises `DataError` when a text gives no token.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    for text, ids in zip(texts, encoded, strict=True):
        if not ids:
            raise DataError("a text has no token", where="train", found=repr(text[:40]))
    return encoded


def encode_split(
    data: Dataset, part: SplitName, tokenizer_json: str, max_tokens: int
) -> EncodedSplit:
    """The split called `part` (see `encode_texts`)."""
    examples: Sequence[TextExample | MultilabelExample] = getattr(data, part)
    classes = [gold_classes(example, data.labels) for example in examples]
    labels = np.array(classes, dtype=np.int64)
    of_one_label = [example for example in examples if isinstance(example, TextExample)]
    return EncodedSplit(
        ids=encode_texts(tokenizer_json, [example.text for example in examples], max_tokens),
        labels=labels[:, 0] if of_one_label else labels,
        scores=_standard_scores(data, of_one_label) if of_one_label else None,
    )


def soft_labels(data: Dataset, noise: float) -> FloatArray | None:
    """The probability of each class for each training text [texts, labels], given its score alone.

    The score is a mean of raters with the standard error `noise`. The probability of a class is
    that of a normal distribution around the score between the class's borders, which lie in the
    middle between the neighbouring classes' scores. None without noise or scores, or where classes
    are not ranges of scores.
    """
    by_label: dict[str, list[float]] = {label: [] for label in data.labels}
    for example in data.train:
        if example.score is not None:
            by_label[example.label].append(example.score)
    if not noise or sum(map(len, by_label.values())) != len(data.train):
        return None
    order = sorted(data.labels, key=lambda label: min(by_label[label]))
    borders = [-math.inf]
    for lower, higher in pairwise(order):
        low, high = max(by_label[lower]), min(by_label[higher])
        if low > high:
            return None
        borders.append((low + high) / 2)
    borders.append(math.inf)
    scores = np.array([example.score for example in data.train], dtype=np.float64)
    below = np.stack([_normal((border - scores) / noise) for border in borders], axis=1)
    shares = np.diff(below, axis=1)
    return shares[:, [order.index(label) for label in data.labels]].astype(np.float32)


def _normal(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The normal distribution's cumulative probability."""
    return np.array([(1 + math.erf(value / math.sqrt(2))) / 2 for value in values])


def _standard_scores(data: Dataset, examples: Sequence[TextExample]) -> FloatArray | None:
    known = [example.score for example in data.train if example.score is not None]
    values = [example.score for example in examples if example.score is not None]
    if len(known) != len(data.train) or len(values) != len(examples) or np.std(known) == 0:
        return None
    scores: FloatArray = np.array(values, dtype=np.float32)
    return (scores - np.float32(np.mean(known))) / np.float32(np.std(known))


def one_hot(labels: npt.NDArray[np.int64], count: int) -> FloatArray:
    """Class numbers [texts] → [texts, count] with a 1 at each class."""
    return np.eye(count, dtype=np.float32)[labels]


def label_targets(split: EncodedSplit, count: int) -> FloatArray:
    """The labels of a split as targets [texts, count]."""
    if split.labels.ndim == 1:
        return one_hot(split.labels, count)
    targets: FloatArray = split.labels.astype(np.float32)
    return targets


def split_score(task: str, labels: Sequence[str], split: EncodedSplit, logits: FloatArray) -> float:
    """The task's metric of logits [texts, labels]; of any number of labels per text at the
    thresholds that are best for this split."""
    if split.labels.ndim == 1:
        return dev_score(task, labels, split.labels, logits.argmax(axis=1))
    decisions = best_decisions(logits, split.labels > 0)
    counts = (len(labels),) * len(logits)
    return dev_score(task, labels, split.labels.ravel(), decisions.ravel(), counts)


def dev_score(
    task: str,
    labels: Sequence[str],
    gold: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.int64],
    counts: tuple[int, ...] = (),
) -> float:
    """The task's metric of class numbers, per text, or with `counts` of them per example (its
    words, or decisions about each label)."""
    predictions = Predictions(
        gold=tuple(gold.tolist()),
        predicted=tuple(predicted.tolist()),
        sources=("",) * (len(counts) or len(gold)),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=counts,
    )
    metric = metric_of(task)
    return float(metric.value(metric.counts(predictions, labels).sum(axis=0)))
