"""Transfer sets: texts without a label that a student learns the teacher's answers to.

A student learns a function, not a set of labels, so what limits it is how many texts it has seen
the teacher answer (Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple
Neural Networks", section 3.3: data augmentation). Two sources:

- texts made from the train part: words masked or replaced, and short pieces cut out of a text,
  which show the student what the words of a phrase mean together (Tang et al. sample n-grams for
  the same end, and replace a word by one of the same part of speech; here it is replaced by one of
  its neighbours in the teacher's table of word pieces, as TinyBERT does with GloVe's, Jiao et al.
  2020, section 3.2: nothing has to know parts of speech);
- texts of other collections, whose own labels, if any, are not looked at.

Nothing that equals a text of the development or test part gets in, whatever its case, spaces and
punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.datasets.registry import load_dataset
from edgeseq.errors import DataError
from edgeseq.formats.storage import read_bytes
from edgeseq.formats.train_logits import texts_sha256
from edgeseq.formats.trained_model import TrainedModel, TransferRecord
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.models.arrays import FloatArray

MASK_SHARE = 0.1
"""Of the words of a made text; this and the next are Tang et al.'s p_mask and p_pos."""

REPLACE_SHARE = 0.1

NEIGHBOURS = 15
"""A word is replaced by one of this many nearest; TinyBERT's N is 15."""

PIECE_WORDS = (2, 8)
"""Words of a text that is cut out of another: enough for "not very good", less than a sentence."""

_TABLE_WORDS = 8_000
"""Only the most frequent words of the train part have neighbours: distances of all pairs take a
second then, and a rare word is a poor guide."""

MAKE_NOTHING_AFTER = 20
"""Tries a text: where a train part is so small that this many give no new one, it is used up."""


class TransferSet(msgspec.Struct, frozen=True):
    """The texts, and what is written down about them."""

    texts: tuple[str, ...]
    record: TransferRecord


def transfer_set(
    data: Dataset,
    teacher: TrainedModel,
    *,
    made: int = 0,
    pieces_share: float = 0.5,
    unlabelled: Sequence[str] = (),
    seed: int = 0,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> TransferSet | None:
    """`made` texts from the train part and those of every collection in `unlabelled`.

    `pieces_share` of the made ones are pieces cut out, the others have words masked or replaced.
    A collection is a `.txt` file with a text a line, or what `edgeseq data` can read (its train
    part). None when nothing was asked for. The same seed gives the same texts.

    Raises `DataError` and `FetchError` as reading a data set does, and `DataError` when nothing of
    a collection is left.
    """
    if not made and not unlabelled:
        return None
    own = [example.text for example in data.train]
    taken = {key(example.text) for part in (data.dev, data.test) for example in part}
    chosen = _Chosen(taken | {key(text) for text in own})
    generator = np.random.default_rng(seed)
    pieces = round(made * pieces_share)
    chosen.add_made("pieces", pieces, lambda: cut_out(own, generator))
    if made > pieces:
        neighbours = Neighbours(teacher, own)
        chosen.add_made("replaced", made - pieces, lambda: neighbours.vary(own, generator))
    for name in unlabelled:
        chosen.add(name, _collection(name, data_dir, progress))
    return chosen.result()


def key(text: str) -> str:
    """The letters and digits of a text in lower case: copies that differ by spaces, punctuation
    or a tokenizer's splitting have the same."""
    return re.sub(r"[\W_]+", "", text.casefold())


class _Chosen:
    """Collects texts, each once, and counts what was left out."""

    def __init__(self, forbidden: set[str]) -> None:
        self._seen = forbidden
        self._texts: list[str] = []
        self._counts: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def add(self, name: str, texts: Sequence[str]) -> None:
        """Takes what is new of `texts`; raises `DataError` when that is nothing."""
        took = sum(self._take(text) for text in texts)
        if not took:
            raise DataError("has no text that is new", where=name, found=f"{len(texts)} texts")
        self._count(name, took, len(texts) - took)

    def add_made(self, kind: str, wanted: int, make: Any) -> None:
        """Takes `wanted` new texts of those that `make` gives, or as many as it has."""
        took = tried = 0
        while took < wanted and tried < MAKE_NOTHING_AFTER * wanted:
            tried += 1
            took += self._take(make())
        if wanted:
            self._count(kind, took, tried - took)

    def result(self) -> TransferSet:
        record = TransferRecord(
            texts=self._counts, left_out=self._left_out, sha256=texts_sha256(self._texts)
        )
        return TransferSet(tuple(self._texts), record)

    def _take(self, text: str) -> bool:
        name = key(text)
        if not name or name in self._seen:
            return False
        self._seen.add(name)
        self._texts.append(text)
        return True

    def _count(self, name: str, took: int, left_out: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + took
        self._left_out[name] = self._left_out.get(name, 0) + left_out


def cut_out(texts: Sequence[str], generator: np.random.Generator) -> str:
    """A run of words of one of `texts`, shorter than it; empty where that is not possible."""
    words = texts[int(generator.integers(len(texts)))].split()
    least, most = PIECE_WORDS
    if len(words) <= least:
        return ""
    count = int(generator.integers(least, min(most, len(words) - 1) + 1))
    start = int(generator.integers(len(words) - count + 1))
    return " ".join(words[start : start + count])


class Neighbours:
    """For each frequent word of the train part that is one piece, those nearest to it.

    Nearest by the cosine of their rows in the teacher's table of word pieces.
    """

    def __init__(self, teacher: TrainedModel, texts: Sequence[str]) -> None:
        from tokenizers import Tokenizer

        self._mask = "[MASK]"
        pieces = Tokenizer.from_str(teacher.tokenizer_json).get_vocab(with_added_tokens=False)
        counts: dict[str, int] = {}
        for text in texts:
            for word in text.lower().split():
                if word.isalpha() and word in pieces:
                    counts[word] = counts.get(word, 0) + 1
        order = sorted(counts, key=lambda word: (-counts[word], word))[:_TABLE_WORDS]
        self._words = tuple(order)
        self._near: dict[str, Any] = {}
        if len(order) > 1:
            rows = teacher.weights["embeddings.word_embeddings.weight"]
            self._near = dict(zip(order, _nearest(rows[[pieces[w] for w in order]]), strict=True))

    def of(self, word: str) -> tuple[str, ...]:
        """The neighbours of `word`, nearest first; none for a word that is not known."""
        return tuple(self._words[place] for place in self._near.get(word.lower(), ()))

    def vary(self, texts: Sequence[str], generator: np.random.Generator) -> str:
        """One of `texts` with some words masked and some replaced."""
        words = texts[int(generator.integers(len(texts)))].split()
        draws = generator.random(len(words))
        picks = generator.integers(NEIGHBOURS, size=len(words))
        for place, (word, draw, pick) in enumerate(zip(list(words), draws, picks, strict=True)):
            if draw < MASK_SHARE:
                words[place] = self._mask
            elif draw < MASK_SHARE + REPLACE_SHARE and (near := self.of(word)):
                words[place] = near[int(pick) % len(near)]
        return " ".join(words)


def _nearest(rows: FloatArray) -> Any:
    """Rows [words, hidden] → places of the `NEIGHBOURS` nearest of each, nearest first."""
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(rows) - 1)
    found = []
    for start in range(0, len(units), 1024):
        cosines = units[start : start + 1024] @ units.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2.0
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(best, order, 1))
    return np.concatenate(found)


def _collection(name: str, data_dir: Path | None, progress: ProgressCallback) -> list[str]:
    if Path(name).suffix.lower() == ".txt":
        content = read_bytes(Path(name), error=DataError)
        try:
            return [line.strip() for line in content.decode("utf-8").splitlines()]
        except UnicodeDecodeError as failure:
            raise DataError("is not UTF-8", where=name, found=str(failure)) from failure
    dataset: Any = load_dataset(name, data_dir=data_dir, progress=progress)
    return [example.text for example in dataset.train]
