"""Batches of texts of about the same length, so that little is spent on padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq_converters.models.arrays import FloatArray

IndexArray = npt.NDArray[np.int64]


class Batch(msgspec.Struct, frozen=True):
    """Padded texts.

    `inputs` is what the model takes: ids [batch, length] int32, ids and the rows of their words'
    features [batch, length, 1 + features] int32, or states [batch, length, hidden]
    float32; `mask` [batch, length] has 1 for real tokens, all of which come before the padding;
    `index` [batch] holds the texts' positions in their collection.
    """

    inputs: Any
    mask: FloatArray
    index: IndexArray


class TextCollection(Protocol):
    """Texts that batches are taken from."""

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each text [texts]."""
        ...

    def batch(self, index: IndexArray) -> Batch:
        """The texts at the positions `index` [batch], padded to the longest of them."""
        ...


class TokenTexts:
    """Texts as token ids, or as rows of an id and of its word's features."""

    def __init__(self, ids: Sequence[Any]) -> None:
        self._ids = [np.asarray(text_ids, np.int32) for text_ids in ids]
        self.lengths = np.array([len(text_ids) for text_ids in ids], dtype=np.int64)

    def batch(self, index: IndexArray) -> Batch:
        """Ids [batch, length], or rows [batch, length, 1 + features], padded with 0."""
        mask = _mask(self.lengths[index])
        ids = np.zeros((*mask.shape, *self._ids[int(index[0])].shape[1:]), dtype=np.int32)
        for row, position in enumerate(index):
            ids[row, : self.lengths[position]] = self._ids[position]
        return Batch(inputs=ids, mask=mask, index=index)


class StateTexts:
    """Texts as the states of their tokens, stored in float16: [all tokens, hidden].

    The states come out of a layer norm, so they are of the order of 1 and float16 rounds them by
    less than 0.05 %. `put` must be called for every text before `batch` returns it.
    """

    def __init__(self, lengths: npt.NDArray[np.int64], hidden: int) -> None:
        self.lengths = lengths
        self._starts = np.concatenate([[0], np.cumsum(lengths)])
        self._values = np.zeros((int(lengths.sum()), hidden), dtype=np.float16)

    def put(self, batch: Batch, states: FloatArray) -> None:
        """Stores `states` [batch, length, hidden] of the texts of `batch`."""
        for row, rows in self._rows(batch.index):
            self._values[rows] = states[row, : rows.stop - rows.start]

    def batch(self, index: IndexArray) -> Batch:
        """States [batch, length, hidden] in float32, padded with 0."""
        mask = _mask(self.lengths[index])
        states = np.zeros((*mask.shape, self._values.shape[1]), dtype=np.float32)
        for row, rows in self._rows(index):
            states[row, : rows.stop - rows.start] = self._values[rows]
        return Batch(inputs=states, mask=mask, index=index)

    def _rows(self, index: IndexArray) -> Iterator[tuple[int, slice]]:
        for row, position in enumerate(index):
            yield row, slice(int(self._starts[position]), int(self._starts[position + 1]))

    @staticmethod
    def size_bytes(lengths: npt.NDArray[np.int64], hidden: int) -> int:
        """Memory that texts of these lengths need."""
        return int(lengths.sum()) * hidden * 2


def _mask(lengths: npt.NDArray[np.int64]) -> FloatArray:
    """Lengths [batch] → mask [batch, longest]."""
    positions = np.arange(int(lengths.max()))
    mask: FloatArray = (positions[None, :] < lengths[:, None]).astype(np.float32)
    return mask


def shuffled_batches(
    lengths: npt.ArrayLike, size: int, generator: np.random.Generator, *, window_batches: int = 32
) -> list[IndexArray]:
    """Positions of the texts of each batch, all texts once, in random order.

    Texts are shuffled, sorted by length inside windows of `window_batches` batches, and the
    batches shuffled again. A window of 32 leaves about 2 % padding on sentences, and still gives
    each text different neighbours in every epoch.
    """
    counts = np.asarray(lengths)
    order = generator.permutation(len(counts))
    window = size * window_batches
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(counts[part], kind="stable")]
        batches += [part[first : first + size] for first in range(0, len(part), size)]
    return [batches[number] for number in generator.permutation(len(batches))]


def sorted_batches(lengths: npt.ArrayLike, tokens: int) -> list[IndexArray]:
    """Positions of the texts of each batch, longest texts first, for prediction.

    A batch holds at most `tokens` tokens with padding, or one text.
    """
    counts = np.asarray(lengths)
    order = np.argsort(-counts, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens // int(counts[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def in_order(batches: Sequence[IndexArray], rows: Sequence[FloatArray]) -> FloatArray:
    """Rows [batch, n] of batches that hold every text once → [texts, n] in the texts' order."""
    positions = np.concatenate(batches)
    ordered = np.empty((len(positions), rows[0].shape[1]), dtype=np.float32)
    ordered[positions] = np.concatenate(rows)
    return ordered
