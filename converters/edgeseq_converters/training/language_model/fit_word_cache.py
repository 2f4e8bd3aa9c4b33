"""Chooses how much a word cache counts: on development text, after a language model is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.language_model.corpus import IdArray

SHARPNESSES = tuple(0.25 * 2 ** (step / 2) for step in range(13))
"""0.25 to 16 in factors of √2, over the standard deviation of the products of states."""
SHARES = tuple(step / 50 for step in range(26))
"""0 to 0.5."""
_BLOCK = 128
"""Words whose products with the states before them are computed at once."""


@dataclass(frozen=True)
class ReadWords:
    """Text in parallel columns, and what a model made of it, each [words, columns, …]: `states`
    that its last layer multiplies, `nats` ln p of the `targets`, `carry` 0 at the first word of a
    document."""

    states: FloatArray
    nats: FloatArray
    targets: IdArray
    carry: FloatArray


class FittedCache(NamedTuple):
    """A cache and the perplexity per word that it brings on the text that it was fitted to."""

    cache: WordCache
    perplexity: float


class _Products(NamedTuple):
    """Of a block of words [n] with the pairs before them [n, pairs]: products of states, whether a
    pair is seen, whether its word is the one to be predicted; and ln p of that without a cache."""

    products: FloatArray
    seen: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    hits: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    nats: FloatArray


def fit_word_cache(size: int, text: ReadWords) -> FittedCache:
    """The cache of `size` pairs with the lowest perplexity, among `SHARPNESSES` and `SHARES`.

    Both are chosen together, as Grave et al. 2017 (section 4) choose theirs on development text.
    """
    scale = _deviation(size, text)
    shares = np.asarray(SHARES)
    totals = np.zeros((len(SHARPNESSES), len(shares)))
    for block in _blocks(size, text):
        present = np.exp(block.nats.astype(np.float64))
        begun = block.seen.any(axis=1)
        for row, sharpness in enumerate(SHARPNESSES):
            cached = _share_of_hits(block, sharpness / scale)
            mixed = present[:, None] + shares * np.where(begun, cached - present, 0)[:, None]
            totals[row] += np.log(np.maximum(mixed, np.finfo(np.float64).tiny)).sum(axis=0)
    row, column = divmod(int(totals.argmax()), len(shares))
    cache = WordCache(size, SHARPNESSES[row] / scale, SHARES[column])
    return FittedCache(cache, math.exp(-totals[row, column] / text.nats.size))


def _share_of_hits(block: _Products, sharpness: float) -> FloatArray:
    """The probability [n] that the cache gives the words to be predicted; 0 without a pair."""
    scores = np.where(block.seen, np.float32(sharpness) * block.products, np.float32(-np.inf))
    largest = scores.max(axis=1, keepdims=True)
    powers = np.exp(scores - np.where(np.isfinite(largest), largest, 0))
    hits = np.where(block.hits, powers, 0).sum(axis=1, dtype=np.float64)
    return np.asarray(hits / np.maximum(powers.sum(axis=1, dtype=np.float64), 1e-30))


def _deviation(size: int, text: ReadWords) -> float:
    """The standard deviation of the products of the first blocks, or 1 where there is none."""
    products = [
        block.products[block.seen] for block, _ in zip(_blocks(size, text), range(20), strict=False)
    ]
    joined = np.concatenate(products) if products else np.zeros(0)
    deviation = float(joined.std()) if joined.size else 0.0
    return deviation if deviation > 0 else 1.0


def _blocks(size: int, text: ReadWords) -> Iterator[_Products]:
    words, columns = text.nats.shape
    document = np.cumsum(text.carry == 0, axis=0)
    for column in range(columns):
        for begin in range(0, words, _BLOCK):
            queries = slice(begin, min(begin + _BLOCK, words))
            pairs = slice(max(0, begin - size), queries.stop)
            distance = np.arange(queries.start, queries.stop)[:, None] - np.arange(
                pairs.start, pairs.stop
            )
            same = document[queries, column][:, None] == document[pairs, column]
            seen = (distance > 0) & (distance <= size) & same
            targets = text.targets[:, column]
            yield _Products(
                text.states[queries, column] @ text.states[pairs, column].T,
                seen,
                seen & (targets[queries][:, None] == targets[pairs]),
                text.nats[queries, column],
            )
