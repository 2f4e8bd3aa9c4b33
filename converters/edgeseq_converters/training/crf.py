"""A linear-chain conditional random field over a sentence's words (Lafferty et al. 2001), trained
with the network whose logits are its emissions (Lample et al. 2016, "Neural Architectures for
Named Entity Recognition")."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeseq.tasks.tag_transitions import TagTransitions


class TransitionScores:
    """Trained scores of tags that begin a sentence, follow each other and end it; 0 at first."""

    def __init__(self, num_labels: int) -> None:
        shapes = ((num_labels,), (num_labels, num_labels), (num_labels,))
        self.variables = [keras.Variable(np.zeros(shape, np.float32)) for shape in shapes]

    def values(self) -> TagTransitions:
        """As they are now."""
        start, pairs, end = (variable.numpy().tolist() for variable in self.variables)
        return TagTransitions(tuple(start), tuple(map(tuple, pairs)), tuple(end))

    def cross_entropy(self, logits: Any, rows: Any) -> Any:
        """The mean over words of the cross-entropy of paths, in nats.

        `logits` are [batch, length, labels]. `rows` [batch, length, labels + 2] have, at each
        word's token, its distribution over labels, and whether it begins and ends its sentence; 0
        elsewhere. A batch's row holds words that follow each other, of one sentence.

        With all of a distribution on one label it is the negative log-likelihood of the labelled
        path. Else words are labelled independently of each other, and the expected score of such a
        path takes the place of the labelled path's: the cross-entropy is linear in it.
        """
        logits, rows, counts = _words_alone(logits, rows)
        targets, begins, ends = rows[..., :-2], rows[..., -2:-1], rows[..., -1:]
        start, pairs, end = (variable.value for variable in self.variables)
        emissions = logits + begins * start + ends * end
        score = tf.reduce_sum(targets * emissions, [1, 2])
        following = tf.einsum("btj,jk->btk", targets[:, :-1], pairs)
        score += tf.reduce_sum(following * targets[:, 1:], [1, 2])
        is_there = tf.sequence_mask(counts, tf.shape(logits)[1])
        entropy = tf.where(counts > 0, _log_total(emissions, is_there, pairs) - score, 0.0)
        words = tf.cast(tf.reduce_sum(counts), tf.float32)
        return tf.reduce_sum(entropy) / tf.maximum(words, 1.0)


def _words_alone(logits: Any, rows: Any) -> tuple[Any, Any, Any]:
    """Logits and rows of the words' tokens [batch, words, n], and the numbers of words [batch]."""
    is_word = tf.reduce_sum(rows[..., :-2], -1) > 0
    counts = tf.reduce_sum(tf.cast(is_word, tf.int32), 1)
    longest = tf.maximum(tf.reduce_max(counts), 1)
    order = tf.argsort(tf.where(is_word, 0, 1), axis=1, stable=True)[:, :longest]
    return tf.gather(logits, order, batch_dims=1), tf.gather(rows, order, batch_dims=1), counts


def _log_total(emissions: Any, is_there: Any, pairs: Any) -> Any:
    """ln of the sum over all paths of exp(score) [batch], by the forward algorithm."""
    factors = tf.exp(pairs)

    def extend(forward: Any, word: tuple[Any, Any]) -> Any:
        emission, exists = word
        largest = tf.reduce_max(forward, 1, keepdims=True)
        total = tf.math.log(tf.matmul(tf.exp(forward - largest), factors)) + largest
        return tf.where(exists[:, None], total + emission, forward)

    words = tf.transpose(emissions, [1, 0, 2])[1:], tf.transpose(is_there)[1:]
    forward = tf.foldl(extend, words, initializer=emissions[:, 0])
    return tf.reduce_logsumexp(forward, 1)
