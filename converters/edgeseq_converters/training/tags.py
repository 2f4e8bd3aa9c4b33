"""A data set with a label per word as token ids and targets, and its score.

Each word's label is predicted at its first token (`edgeseq.tasks.word_windows`); a sentence longer
than the model is split into windows, and a word counts in the one where it has most context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edgeseq.tasks.examples import TaggedExample
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.tagging import TagDecoder
from edgeseq.tasks.word_features import WordFeatures
from edgeseq.tasks.word_windows import WordEncoder
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.batching import Batch, IndexArray, TextCollection
from edgeseq_converters.training.predictor import Predictor
from edgeseq_converters.training.texts import dev_score


class EncodedWords(msgspec.Struct, frozen=True):
    """A split of a data set: `ids` of each window, with word features each with the rows of its
    word; for the words that count there their `tokens`
    (positions in the window) and their numbers `words` in the split; `gold` [words] are classes and
    `counts` [sentences] numbers of words."""

    ids: list[Any]
    tokens: list[IndexArray]
    words: list[IndexArray]
    gold: npt.NDArray[np.int64]
    counts: tuple[int, ...]

    def by_token(self, batch: Batch, values: FloatArray) -> FloatArray:
        """Values [words, n] → [batch, length, n] at each word's token, 0 elsewhere."""
        rows = np.zeros((*batch.mask.shape, values.shape[1]), np.float32)
        for row, window in enumerate(batch.index):
            rows[row, self.tokens[window]] = values[self.words[window]]
        return rows

    def sentence_edges(self) -> FloatArray:
        """[words, 2]: 1 for a word that begins its sentence, and for one that ends it."""
        ends = np.cumsum(self.counts, dtype=np.int64)[np.array(self.counts, int) > 0]
        edges = np.zeros((len(self.gold), 2), np.float32)
        edges[[0, *ends[:-1]] if len(ends) else [], 0] = 1
        edges[ends - 1, 1] = 1
        return edges


def word_encoder(
    tokenizer_json: str, max_tokens: int, word_features: WordFeatures | None = None
) -> WordEncoder:
    """The encoder of a `tokenizers` file's content, without padding and truncation."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return WordEncoder(tokenizer, max_tokens, word_features)


def encode_tagged(
    examples: Sequence[TaggedExample], labels: Sequence[str], encoder: WordEncoder
) -> EncodedWords:
    """The split that holds `examples`; labels are numbered as in `labels`."""
    numbers = {label: number for number, label in enumerate(labels)}
    ids: list[Any] = []
    tokens: list[IndexArray] = []
    words: list[IndexArray] = []
    gold: list[int] = []
    for example in examples:
        encoded = encoder.encode(example.words)
        inputs, positions = np.array(encoded.inputs, int), np.array(encoded.tokens, int)
        for number, window in enumerate(encoded.model_inputs):
            selected = np.flatnonzero((inputs == number) & (positions >= 0))
            ids.append(window)
            tokens.append(positions[selected].astype(np.int64))
            words.append((selected + len(gold)).astype(np.int64))
        gold += [numbers[tag] for tag in example.tags]
    counts = tuple(len(example.words) for example in examples)
    return EncodedWords(ids, tokens, words, np.array(gold, dtype=np.int64), counts)


def untagged(texts: Sequence[str], labels: Sequence[str]) -> list[TaggedExample]:
    """Sentences whose tags nobody knows, as examples with the first label at every word; the words
    of a text have spaces between them."""
    sentences = (tuple(text.split()) for text in texts)
    return [
        TaggedExample(id=f"unlabelled/{number}", words=words, tags=(labels[0],) * len(words))
        for number, words in enumerate(sentences)
    ]


def logits_by_word(
    predictor: Predictor, texts: TextCollection, words: EncodedWords, **options: Any
) -> FloatArray:
    """The model's logits [words, labels]; zeros for a word without a token.

    `options` are those of `Predictor.batches`.
    """
    result: FloatArray | None = None
    for batch, rows in predictor.batches(texts, **options):
        if result is None:
            result = np.zeros((len(words.gold), rows.shape[-1]), np.float32)
        for row, window in enumerate(batch.index):
            result[words.words[window]] = rows[row, words.tokens[window]]
    if result is None:
        raise ValueError("no text to predict")
    return result


def tag_score(
    task: str,
    labels: Sequence[str],
    words: EncodedWords,
    logits: FloatArray,
    transitions: TagTransitions | None = None,
) -> float:
    """The task's metric of logits [words, labels], decoded as on a device."""
    decoder = TagDecoder(labels if task_of(task).bio_labels else (), transitions)
    ends = np.cumsum(words.counts)[:-1]
    tags = [decoder.best_tags(rows) for rows in np.split(logits, ends)]
    return dev_score(task, labels, words.gold, np.concatenate(tags), words.counts)
