"""Running text as numbers: the vocabulary of words, and streams of ids to train on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.datasets.wikitext import EOS, UNKNOWN
from edgeseq.tasks.examples import StreamExample

IdArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Stream:
    """All documents in a row: to each word `targets` [n] the word before it `inputs` [n], and
    `keep` float32 [n], 0 at the first word of a document, where the state starts anew.

    Before the first word of a document stands the end of a line.
    """

    inputs: IdArray
    targets: IdArray
    keep: npt.NDArray[np.float32]

    def columns(self, batch: int, *, begin: int = 0) -> Stream:
        """The stream, turned so that it starts at `begin`, as `batch` parallel ones side by side:
        arrays [n // batch, batch]. What does not fill a row is left out."""
        rows = len(self.targets) // batch

        def turned(array: Any) -> Any:
            own = np.roll(array, -begin)[: rows * batch]
            return np.ascontiguousarray(own.reshape(batch, rows).T)

        return Stream(turned(self.inputs), turned(self.targets), turned(self.keep))


def count_words(examples: Iterable[StreamExample]) -> Counter[str]:
    """How often each word occurs."""
    counts: Counter[str] = Counter()
    for one in examples:
        counts.update(one.words)
    return counts


def choose_vocabulary(counts: Counter[str], *, min_count: int = 1) -> tuple[str, ...]:
    """The words that occur `min_count` times, the most frequent first; `<unk>` and `<eos>` are
    always among them. Words of one number stand in the order of their first occurrence."""
    words = [word for word, count in counts.most_common() if count >= min_count]
    return (*words, *(word for word in (UNKNOWN, EOS) if word not in counts))


def tokenizer_json(vocabulary: Sequence[str]) -> str:
    """A `tokenizers` file for words with white space between them; ids are places in
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
    places = {word: number for number, word in enumerate(vocabulary)}
    unknown = places[UNKNOWN]
    return [
        np.asarray([places.get(word, unknown) for word in one.words], np.int32) for one in examples
    ]


def join(documents: Sequence[IdArray], eos: int) -> Stream:
    """One stream of all documents that have a word."""
    inputs, targets, keep = [], [], []
    for ids in documents:
        if not len(ids):
            continue
        inputs.append(np.concatenate([[eos], ids[:-1]]).astype(np.int32))
        targets.append(ids)
        fresh = np.ones(len(ids), np.float32)
        fresh[0] = 0
        keep.append(fresh)
    if not targets:
        empty = np.zeros(0, np.int32)
        return Stream(empty, empty, np.zeros(0, np.float32))
    return Stream(np.concatenate(inputs), np.concatenate(targets), np.concatenate(keep))
