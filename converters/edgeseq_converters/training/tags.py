"""Tagged sentences as the numbers that are trained on, and a tagger's score.

Each word's label stands at its first token (`edgeseq.tasks.word_windows`); a sentence longer than
the
model comes in windows, and a word counts in the one where it has most context.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from edgeseq.tasks.examples import TaggedExample
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of
from edgeseq.tasks.scoring import metric_of
from edgeseq.tasks.tagging import best_tags, bio_rules
from edgeseq.tasks.word_windows import WordEncoder
from edgeseq_converters.training.batching import Batch, FloatArray, IndexArray, Texts
from edgeseq_converters.training.loop import TOKEN_IDS, Predictor
from edgeseq_converters.training.optimizer import AdamW


class TagPart(msgspec.Struct, frozen=True):
    """One part of a data set: `ids` of each input, and for each of its words that count there the
    `tokens` and their numbers `words` among all words of the part; `gold` [words] are classes and
    `counts` [sentences] how many words each sentence has."""

    ids: list[list[int]]
    tokens: list[IndexArray]
    words: list[IndexArray]
    gold: npt.NDArray[np.int64]
    counts: tuple[int, ...]


def word_encoder(tokenizer_json: str, max_tokens: int) -> WordEncoder:
    """The encoder of a `tokenizers` file's content, without padding and truncation."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return WordEncoder(tokenizer, max_tokens)


def encode_tagged(
    examples: Sequence[TaggedExample], labels: Sequence[str], encoder: WordEncoder
) -> TagPart:
    """The part that `examples` are; labels are numbered as in `labels`."""
    number = {label: place for place, label in enumerate(labels)}
    ids: list[list[int]] = []
    tokens: list[IndexArray] = []
    words: list[IndexArray] = []
    gold: list[int] = []
    for one in examples:
        found = encoder.encode(one.words)
        inputs, places = np.array(found.inputs, int), np.array(found.tokens, int)
        for own, window in enumerate(found.windows):
            chosen = np.flatnonzero((inputs == own) & (places >= 0))
            ids.append(window)
            tokens.append(places[chosen].astype(np.int64))
            words.append((chosen + len(gold)).astype(np.int64))
        gold += [number[tag] for tag in one.tags]
    counts = tuple(len(one.words) for one in examples)
    return TagPart(ids, tokens, words, np.array(gold, dtype=np.int64), counts)


def logits_by_word(predictor: Predictor, texts: Texts, part: TagPart, **options: Any) -> FloatArray:
    """The model's logits [words, labels] for all words of a part; zeros for one without a token."""
    result: FloatArray | None = None
    for batch, rows in predictor.batches(texts, **options):
        if result is None:
            result = np.zeros((len(part.gold), rows.shape[-1]), np.float32)
        for row, place in enumerate(batch.index):
            result[part.words[place]] = rows[row, part.tokens[place]]
    if result is None:
        raise ValueError("a part has no text")
    return result


def tag_score(task: str, labels: Sequence[str], part: TagPart, logits: FloatArray) -> float:
    """The task's metric of logits [words, labels], decoded as on a device."""
    rules = bio_rules(labels) if task_of(task).bio_labels else None
    ends = np.cumsum(part.counts)[:-1]
    tags = [best_tags(rows, rules) for rows in np.split(logits, ends)]
    found = Predictions(
        gold=tuple(part.gold.tolist()),
        predicted=tuple(np.concatenate(tags).tolist()),
        sources=("",) * len(part.counts),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=part.counts,
    )
    metric = metric_of(task)
    return float(metric.value(metric.counts(found, labels).sum(axis=0)))


class TagStep:
    """One compiled update of a tagger: cross-entropy to `targets` [words, labels], whose rows are
    distributions, over the tokens that carry a word. `state` is that of a `Step`."""

    def __init__(
        self,
        variables: Sequence[Any],
        optimizer: AdamW,
        answer: Callable[..., Any],
        part: TagPart,
        targets: FloatArray,
        *,
        inputs: Any = TOKEN_IDS,
    ) -> None:
        """`answer(inputs, mask, training=True)` gives logits [batch, length, labels]."""
        raw = [variable.value for variable in variables]
        self._part, self.targets = part, targets
        self.state = [*raw, *optimizer.state]

        def update(values: Any, mask: Any, rows: Any, rate: Any, step: Any) -> Any:
            with tf.GradientTape() as tape:
                logits = answer(values, mask, training=True)
                losses = -tf.reduce_sum(rows * tf.nn.log_softmax(logits), -1)
                value = tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(rows), 1.0)
            optimizer.apply(tape.gradient(value, raw), rate, step)
            return value

        scalar = tf.TensorSpec([], tf.float32)
        mask = tf.TensorSpec([None, None], tf.float32)
        rows = tf.TensorSpec([None, None, targets.shape[1]], tf.float32)
        self._compiled = tf.function(
            update, autograph=False, input_signature=[inputs, mask, rows, scalar, scalar]
        )

    def __call__(self, batch: Batch, rate: float, step: int) -> tuple[float, FloatArray]:
        """Loss of the batch; what the model said is not kept (an empty row a text)."""
        rows = np.zeros((*batch.mask.shape, self.targets.shape[1]), np.float32)
        for row, place in enumerate(batch.index):
            rows[row, self._part.tokens[place]] = self.targets[self._part.words[place]]
        value = self._compiled(batch.inputs, batch.mask, rows, np.float32(rate), np.float32(step))
        return float(value), np.zeros((len(batch.index), 1), np.float32)
