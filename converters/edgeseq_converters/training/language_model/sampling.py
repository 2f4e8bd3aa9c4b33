"""Sampled softmax, for training alone; evaluation uses the whole vocabulary.

It runs over the target words of a step and a number of sampled ones, drawn without replacement from
the log-uniform distribution over a vocabulary in order of frequency, each logit less the logarithm
of its expected count (Jean et al. 2015, "On Using Very Large Target Vocabulary"). The whole of
WikiText-2's vocabulary would take six times the work of the LSTM.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq_converters.training.language_model.corpus import IdArray

_IMPOSSIBLE = -1e9


def sample_words(vocabulary: int, count: int, rng: np.random.Generator) -> tuple[IdArray, float]:
    """`count` different words [k], and the number of draws with replacement that it took.

    Word k of a vocabulary in order of frequency has the share ln((k + 2) / (k + 1)) / ln(V + 1).
    All words, after infinitely many draws, when the vocabulary has no more.
    """
    if count >= vocabulary:
        return np.arange(vocabulary, dtype=np.int32), math.inf
    drawn = np.zeros(0, np.int64)
    while True:
        batch = np.exp(rng.random(2 * count) * math.log(vocabulary + 1)).astype(np.int64) - 1
        drawn = np.concatenate([drawn, np.clip(batch, 0, vocabulary - 1)])
        words, first = np.unique(drawn, return_index=True)
        if len(words) >= count:
            order = np.argsort(first)[:count]
            return words[order].astype(np.int32), float(first[order[-1]] + 1)


def log_expected_count(words: Any, draws: Any, vocabulary: int) -> Any:
    """ln of how often each word is expected among the sampled ones: 1 − (1 − p)^draws."""
    rank = tf.cast(words, tf.float32)
    share = tf.math.log((rank + 2) / (rank + 1)) / math.log(vocabulary + 1)
    return tf.math.log(-tf.math.expm1(draws * tf.math.log1p(-share)))


def sampled_loss(
    table: Any, bias: Any, features: Any, words: tuple[Any, Any], counts: tuple[Any, Any]
) -> Any:
    """The mean of −ln p of the target words [n] among themselves and the sampled ones [k].

    `features` [n, size]; `words` are the target and the sampled words, `table` [n + k, size] and
    `bias` [n + k] their rows, `counts` the logarithms of their expected counts.
    """
    targets, sampled = words
    n = tf.shape(targets)[0]
    target_logits = tf.reduce_sum(features * table[:n], -1) + bias[:n] - counts[0]
    logits = tf.matmul(features, table[n:], transpose_b=True) + (bias[n:] - counts[1])
    logits = tf.where(targets[:, None] == sampled[None], _IMPOSSIBLE, logits)
    all_logits = tf.concat([target_logits[:, None], logits], 1)
    return tf.reduce_mean(tf.reduce_logsumexp(all_logits, 1) - target_logits)
