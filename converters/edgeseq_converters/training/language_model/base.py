"""What both language models share: the sampled update of a table that is tied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from edgeseq_converters.training.language_model.corpus import Chunk
from edgeseq_converters.training.language_model.sampling import log_expected_count, sampled_loss
from edgeseq_converters.training.optimizer import AdamW
from edgeseq_converters.training.settings import LmSettings

TABLES = ("table", "word_bias")
"""Weights with a row per word, of which a step updates those that it reads."""


class LanguageModel:
    """A language model in training: its weights by name, `table` and `word_bias` among them.

    The table is tied (Press & Wolf 2017, "Using the Output Embedding to Improve Language Models";
    Inan et al. 2017): the same for words in and out. While training, the softmax runs over a sample
    of the words (`edgeseq_converters.training.language_model.sampling`), so a step's cost does not
    grow with the vocabulary.
    """

    def __init__(
        self, weights: Mapping[str, Any], settings: LmSettings, *, table_lr_multiplier: float = 1.0
    ) -> None:
        names = [*TABLES, *(name for name in weights if name not in TABLES)]
        self.weights = {name: weights[name] for name in names}
        self.settings = settings
        self.optimizer = AdamW(
            list(self.weights.values()),
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            beta_2=0.99,
            lr_multipliers=[table_lr_multiplier if name in TABLES else 1.0 for name in names],
        )
        self.state: list[Any] = []
        self.step = tf.function(self._step)

    def reset_state(self) -> None:
        """Sets what is carried from chunk to chunk to 0, as at the beginning of an epoch."""
        for part in self.state:
            part.assign(tf.zeros_like(part))

    def features(self, embedded: Any, carry: Any, step: Any | None) -> tuple[Any, tuple[Any, ...]]:
        """Embedded words [n, size] of a chunk with `carry` → features [n, size] for the softmax,
        and the next `state`. `step` seeds dropout; None: none."""
        raise NotImplementedError

    def _step(self, chunk: Chunk, sampled: Any, draws: Any, rate: Any, step: Any) -> Any:
        """One update on a chunk; `step` counts from 1.

        `sampled` [k] and `draws` are from `sample_words`. Returns the mean loss in nats over the
        sampled words.
        """
        inputs, targets, carry = chunk
        words = tf.reshape(targets, [-1]), sampled
        # Every row that this step reads, once: their gradient is small and dense.
        ids, positions = tf.unique(tf.concat([tf.reshape(inputs, [-1]), *words], 0))
        rows = [tf.gather(self.weights[name], ids) for name in TABLES]
        dense = [weight for name, weight in self.weights.items() if name not in TABLES]
        vocabulary = self.weights["table"].shape[0]
        counts = tuple(log_expected_count(part, draws, vocabulary) for part in words)
        n = tf.size(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*rows, *dense])
            embedded = tf.gather(rows[0], positions[:n])
            features, state = self.features(embedded, carry, step)
            table, bias = (tf.gather(part, positions[n:]) for part in rows)
            loss = sampled_loss(table, bias, features, words, counts)
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, [*rows, *dense])]
        row_gradients = [tf.IndexedSlices(g, ids) for g in gradients[: len(rows)]]
        self.optimizer.apply([*row_gradients, *gradients[len(rows) :]], rate, step)
        for variable, value in zip(self.state, state, strict=True):
            variable.assign(value)
        return loss

    def word_losses(self, features: Any, targets: Any) -> Any:
        """−ln p of the words `targets` [n] under the whole vocabulary, from features [n, size]."""
        return tf.nn.sparse_softmax_cross_entropy_with_logits(targets, self.word_logits(features))

    def word_logits(self, features: Any) -> Any:
        """Features [n, size] → logits [n, vocabulary]."""
        table, bias = self.weights["table"], self.weights["word_bias"]
        return tf.matmul(features, table, transpose_b=True) + bias

    def dropout_mask(self, shape: Any, rate: float, step: Any, index: int) -> Any:
        """A mask by seed and step, so that an interrupted training resumes the same; `index` tells
        the masks of a step apart."""
        seed = tf.stack([self.settings.seed * 2 + index, tf.cast(step, tf.int32)])
        drawn = tf.random.stateless_uniform(shape, seed)
        return tf.cast(drawn >= rate, tf.float32) / (1 - rate)
