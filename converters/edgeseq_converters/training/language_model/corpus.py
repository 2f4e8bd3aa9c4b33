"""Running text as ids: the vocabulary of words, streams, and the chunks of a training step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.tasks.examples import EOS, UNKNOWN, StreamExample

IdArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Stream:
    """All documents in a row: for each word `targets` [n] the word before it `inputs` [n], and
    `carry` float32 [n], 0 at the first word of a document, where the state is reset.

    Before the first word of a document is the end of a line.
    """

    inputs: IdArray
    targets: IdArray
    carry: npt.NDArray[np.float32]

    def columns(self, batch: int, *, begin: int = 0) -> Stream:
        """The stream, rotated so that it starts at `begin`, as `batch` parallel ones: arrays
        [n // batch, batch]. What does not fill a row is left out."""
        rows = len(self.targets) // batch

        def columns(array: Any) -> Any:
            rotated = np.roll(array, -begin)[: rows * batch]
            return np.ascontiguousarray(rotated.reshape(batch, rows).T)

        return Stream(columns(self.inputs), columns(self.targets), columns(self.carry))


Chunk = tuple[Any, Any, Any]
"""Inputs, targets and carry of one step: three arrays of one shape."""


class StreamColumns:
    """A stream as `batch_size` parallel ones, `steps` rows at a time."""

    def __init__(self, stream: Stream, *, batch_size: int, steps: int, seed: int) -> None:
        """`stream` has at least the words of one step."""
        self._stream, self._columns, self._epoch = stream, stream, -1
        self._batch_size, self._steps, self._seed = batch_size, steps, seed
        self.per_epoch = len(stream.targets) // batch_size // steps

    def chunk(self, epoch: int, index: int) -> Chunk:
        """Inputs, targets and carry [steps, batch]."""
        if epoch != self._epoch:
            begin = epoch_start(epoch, len(self._stream.targets), self._seed)
            self._columns = self._stream.columns(self._batch_size, begin=begin)
            self._epoch = epoch
        rows, columns = slice(index * self._steps, (index + 1) * self._steps), self._columns
        return columns.inputs[rows], columns.targets[rows], columns.carry[rows]


class StreamWindows:
    """A stream in windows, `batch_size` of them at a time, in a random order each epoch."""

    def __init__(self, stream: Stream, *, batch_size: int, window: int, seed: int) -> None:
        """`stream` has at least the words of one step."""
        self._stream, self._windows, self._epoch = stream, stream, -1
        self._batch_size, self._window, self._seed = batch_size, window, seed
        self._count = len(stream.targets) // window
        self._order = np.zeros(0, np.int64)
        self.per_epoch = self._count // batch_size

    def chunk(self, epoch: int, index: int) -> Chunk:
        """Inputs, targets and carry [batch, window]."""
        if epoch != self._epoch:
            begin = epoch_start(epoch, len(self._stream.targets), self._seed)
            self._windows = self._stream.columns(self._count, begin=begin)
            rng = np.random.default_rng((self._seed, epoch, 1))
            self._order = rng.permutation(self._count)
            self._epoch = epoch
        selected = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        windows = self._windows
        # Columns of the stream may be longer than a window by what an epoch leaves out.
        inputs, targets, carry = (
            np.ascontiguousarray(part[: self._window, selected].T)
            for part in (windows.inputs, windows.targets, windows.carry)
        )
        return inputs, targets, carry


def epoch_start(epoch: int, words: int, seed: int) -> int:
    """Where an epoch's text is cut: elsewhere each time, so that chunks differ."""
    if epoch == 0:
        return 0
    return int(np.random.default_rng((seed, epoch)).integers(words))


def count_words(examples: Iterable[StreamExample]) -> Counter[str]:
    """How often each word occurs."""
    counts: Counter[str] = Counter()
    for example in examples:
        counts.update(example.words)
    return counts


def choose_vocabulary(counts: Counter[str], *, min_count: int = 1) -> tuple[str, ...]:
    """The words that occur `min_count` times, the most frequent first, equally frequent ones in the
    order of their first occurrence; `<unk>` and `<eos>` are always included."""
    words = [word for word, count in counts.most_common() if count >= min_count]
    return (*words, *(word for word in (UNKNOWN, EOS) if word not in counts))


def tokenizer_json(vocabulary: Sequence[str]) -> str:
    """A `tokenizers` file for words with white space between them; ids are indices into
    `vocabulary`."""
    content: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(vocabulary)},
            "unk_token": UNKNOWN,
        },
    }
    return msgspec.json.encode(content).decode()


def encode(examples: Iterable[StreamExample], vocabulary: Sequence[str]) -> list[IdArray]:
    """The ids of each document's words, unknown ones being `<unk>`."""
    ids = {word: number for number, word in enumerate(vocabulary)}
    unknown = ids[UNKNOWN]
    return [
        np.asarray([ids.get(word, unknown) for word in example.words], np.int32)
        for example in examples
    ]


def join(documents: Sequence[IdArray], eos: int) -> Stream:
    """One stream of all documents that have a word."""
    inputs, targets, carry = [], [], []
    for ids in documents:
        if not len(ids):
            continue
        inputs.append(np.concatenate([[eos], ids[:-1]]).astype(np.int32))
        targets.append(ids)
        fresh = np.ones(len(ids), np.float32)
        fresh[0] = 0
        carry.append(fresh)
    if not targets:
        empty = np.zeros(0, np.int32)
        return Stream(empty, empty, np.zeros(0, np.float32))
    return Stream(np.concatenate(inputs), np.concatenate(targets), np.concatenate(carry))
