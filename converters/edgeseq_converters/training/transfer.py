"""Transfer sets: unlabelled texts on which a student learns the teacher's logits.

A student learns a function, not a set of labels, so what limits it is the number of texts that the
teacher has labelled (Tang et al. 2019, "Distilling Task-Specific Knowledge from BERT into Simple
Neural Networks", section 3.3: data augmentation). Two sources:

- texts made from the train split: words masked or replaced, and fragments cut out of a text, which
  show what the words of a phrase mean together (Tang et al. sample n-grams to the same end, and
  replace a word by one of the same part of speech; here it is replaced by one of its neighbours in
  the teacher's embedding table, as TinyBERT does with GloVe's, Jiao et al. 2020, section 3.2: no
  part-of-speech tagger is needed);
- texts of other collections, whose labels, if any, are ignored.

Nothing that equals a text of the development or test split is included, whatever its case, spaces
and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edgeseq.datasets.unlabelled import read_unlabelled
from edgeseq.errors import DataError
from edgeseq.formats.train_logits import texts_sha256
from edgeseq.formats.trained_model import TrainedModel, TransferRecord
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq.tasks.examples import Dataset
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.training.settings import ClassifierSettings

MASK_SHARE = 0.1
"""Share of the words; this and the next are Tang et al.'s p_mask and p_pos."""

REPLACE_SHARE = 0.1

NEIGHBOURS = 15
"""A word is replaced by one of this many nearest; TinyBERT's N is 15."""

FRAGMENT_WORDS = (2, 8)
"""Words of a fragment: enough for "not very good", less than a sentence."""

_TABLE_WORDS = 8_000
"""Only the most frequent words of the train split have neighbours: the distances of all pairs take
a second then, and a rare word is a poor guide."""

MAX_ATTEMPTS = 20
"""Attempts per text, after which a small train split counts as used up."""


class TransferSet(msgspec.Struct, frozen=True):
    """The texts and their record."""

    texts: tuple[str, ...]
    record: TransferRecord


def transfer_set(
    data: Dataset[Any],
    teacher: TrainedModel,
    settings: ClassifierSettings,
    *,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> TransferSet | None:
    """`transfer_size` texts made from the train split, and those of the collections `unlabelled`.

    `fragment_ratio` of the made ones are fragments, the others have words masked or replaced. A
    collection is what `read_unlabelled` takes. None when nothing is requested. The same seed gives
    the same texts.

    Raises `DataError` and `FetchError` as reading a data set does, and `DataError` when nothing of
    a collection is new.
    """
    size = settings.transfer_size
    if not size and not settings.unlabelled:
        return None
    train = [example.text for example in data.train]
    reserved = {text_key(example.text) for split in (data.dev, data.test) for example in split}
    collector = _Collector(reserved | {text_key(text) for text in train})
    generator = np.random.default_rng(settings.seed)
    fragments = round(size * settings.fragment_ratio)
    collector.generate("pieces", fragments, lambda: cut_out(train, generator))
    if size > fragments:
        neighbours = Neighbours(teacher, train)
        collector.generate("replaced", size - fragments, lambda: neighbours.vary(train, generator))
    for name in settings.unlabelled:
        collector.add(name, read_unlabelled(name, data_dir=data_dir, progress=progress))
    return collector.result()


def text_key(text: str) -> str:
    """The letters and digits of a text in lower case: the same for copies that differ in spaces,
    punctuation or a tokenizer's splitting."""
    return re.sub(r"[\W_]+", "", text.casefold())


class _Collector:
    """Collects distinct texts and counts those left out."""

    def __init__(self, excluded_keys: set[str]) -> None:
        self._keys = excluded_keys
        self._texts: list[str] = []
        self._counts: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def add(self, name: str, texts: Sequence[str]) -> None:
        """Adds the new ones of `texts`; raises `DataError` when there are none."""
        added = sum(self._add_text(text) for text in texts)
        if not added:
            raise DataError("has no text that is new", where=name, found=f"{len(texts)} texts")
        self._count(name, added, len(texts) - added)

    def generate(self, kind: str, count: int, make_text: Callable[[], str]) -> None:
        """Adds `count` new texts from `make_text`, or as many as it gives."""
        added = attempts = 0
        while added < count and attempts < MAX_ATTEMPTS * count:
            attempts += 1
            added += self._add_text(make_text())
        if count:
            self._count(kind, added, attempts - added)

    def result(self) -> TransferSet:
        record = TransferRecord(
            texts=self._counts, skipped=self._left_out, sha256=texts_sha256(self._texts)
        )
        return TransferSet(tuple(self._texts), record)

    def _add_text(self, text: str) -> bool:
        key = text_key(text)
        if not key or key in self._keys:
            return False
        self._keys.add(key)
        self._texts.append(text)
        return True

    def _count(self, name: str, added: int, left_out: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + added
        self._left_out[name] = self._left_out.get(name, 0) + left_out


def cut_out(texts: Sequence[str], generator: np.random.Generator) -> str:
    """A run of words of one of `texts`, shorter than it; empty where that is not possible."""
    words = texts[int(generator.integers(len(texts)))].split()
    shortest, longest = FRAGMENT_WORDS
    if len(words) <= shortest:
        return ""
    count = int(generator.integers(shortest, min(longest, len(words) - 1) + 1))
    start = int(generator.integers(len(words) - count + 1))
    return " ".join(words[start : start + count])


class Neighbours:
    """For each frequent word of the train split that is one piece, the nearest others by the cosine
    of their rows in the teacher's embedding table."""

    def __init__(self, teacher: TrainedModel, texts: Sequence[str]) -> None:
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
            rows = teacher.weights[WORD_TABLE]
            self._near = dict(zip(order, _nearest(rows[[pieces[w] for w in order]]), strict=True))

    def of(self, word: str) -> tuple[str, ...]:
        """The neighbours of `word`, nearest first; none for a word that is not known."""
        return tuple(self._words[number] for number in self._near.get(word.lower(), ()))

    def vary(self, texts: Sequence[str], generator: np.random.Generator) -> str:
        """One of `texts` with some words masked and some replaced."""
        words = texts[int(generator.integers(len(texts)))].split()
        draws = generator.random(len(words))
        picks = generator.integers(NEIGHBOURS, size=len(words))
        for position, (word, draw, pick) in enumerate(zip(list(words), draws, picks, strict=True)):
            if draw < MASK_SHARE:
                words[position] = self._mask
            elif draw < MASK_SHARE + REPLACE_SHARE and (near := self.of(word)):
                words[position] = near[int(pick) % len(near)]
        return " ".join(words)


def _nearest(rows: FloatArray) -> Any:
    """Rows [words, hidden] → indices of the `NEIGHBOURS` nearest of each, nearest first."""
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    count = min(NEIGHBOURS, len(rows) - 1)
    nearest = []
    for start in range(0, len(units), 1024):
        cosines = units[start : start + 1024] @ units.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -2.0
        best = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(cosines, best, 1), axis=1, kind="stable")
        nearest.append(np.take_along_axis(best, order, 1))
    return np.concatenate(nearest)
