"""A data set as the numbers that are trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError
from edgeseq.tasks.examples import Dataset, SplitName, TextExample
from edgeseq_converters.training.batching import FloatArray


class Part(msgspec.Struct, frozen=True):
    """One part of a data set: token ids of each text, `labels` [texts] as class numbers, and
    `scores` [texts], standardized by the training part, or None where an example has none."""

    ids: list[list[int]]
    labels: npt.NDArray[np.int64]
    scores: FloatArray | None


def encode_texts(tokenizer_json: str, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids with the special tokens; a longer text is cut before its last special token.

    Raises `DataError` when a text gives no token at all.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    for text, ids in zip(texts, encoded, strict=True):
        if not ids:
            raise DataError("a text has no token", where="train", found=repr(text[:40]))
    return encoded


def encode_part(data: Dataset, part: SplitName, tokenizer_json: str, max_tokens: int) -> Part:
    """The part called `part` (see `encode_texts`)."""
    examples: Sequence[TextExample] = getattr(data, part)
    numbers = {label: number for number, label in enumerate(data.labels)}
    return Part(
        ids=encode_texts(tokenizer_json, [example.text for example in examples], max_tokens),
        labels=np.array([numbers[example.label] for example in examples], dtype=np.int64),
        scores=_standard_scores(data, examples),
    )


def soft_labels(data: Dataset, noise: float) -> FloatArray | None:
    """How likely each training text is of each class [texts, labels], given its score alone.

    The score is a mean of raters with the standard error `noise`; on another day it would have
    been another one, and the class with it. The chance of a class is that of a normal
    distribution around the score between the class's borders, which lie in the middle between
    the neighbouring classes' scores. None where that means nothing: without noise, without scores,
    or where classes are no ranges of scores.
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
    here = [example.score for example in examples if example.score is not None]
    if len(known) != len(data.train) or len(here) != len(examples) or np.std(known) == 0:
        return None
    scores: FloatArray = np.array(here, dtype=np.float32)
    return (scores - np.float32(np.mean(known))) / np.float32(np.std(known))


def one_hot(labels: npt.NDArray[np.int64], count: int) -> FloatArray:
    """Class numbers [texts] → [texts, count] with a 1 at each class."""
    return np.eye(count, dtype=np.float32)[labels]
