"""A softmax over a part of the vocabulary, for training alone; scores are over all words.

It runs over the right words of a step and a number of candidates, drawn without replacement from
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


def draw_candidates(
    vocabulary: int, wanted: int, rng: np.random.Generator
) -> tuple[IdArray, float]:
    """`wanted` different words [k], and after how many draws with replacement there were so many.

    Word k of a vocabulary in order of frequency has the share ln((k + 2) / (k + 1)) / ln(V + 1).
    All words, after endless draws, when no fewer are wanted.
    """
    if wanted >= vocabulary:
        return np.arange(vocabulary, dtype=np.int32), math.inf
    drawn = np.zeros(0, np.int64)
    while True:
        more = np.exp(rng.random(2 * wanted) * math.log(vocabulary + 1)).astype(np.int64) - 1
        drawn = np.concatenate([drawn, np.clip(more, 0, vocabulary - 1)])
        words, first = np.unique(drawn, return_index=True)
        if len(words) >= wanted:
            order = np.argsort(first)[:wanted]
            return words[order].astype(np.int32), float(first[order[-1]] + 1)


def log_count(words: Any, tries: Any, vocabulary: int) -> Any:
    """ln of how often each word is expected among the drawn ones: 1 − (1 − p)^tries."""
    place = tf.cast(words, tf.float32)
    share = tf.math.log((place + 2) / (place + 1)) / math.log(vocabulary + 1)
    return tf.math.log(-tf.math.expm1(tries * tf.math.log1p(-share)))


def sampled_loss(leaves: Any, features: Any, words: Any, places: Any, counts: Any) -> Any:
    """The mean of −ln p of the right words [n] among themselves and the drawn ones [k].

    `leaves` hold the rows of `table` and `word_bias` that the step reads, `places` where those of
    the words in, the right words and the drawn ones stand among them; `words` are the last two,
    `counts` the logarithms of how often each is expected to be drawn.
    """
    right, drawn = words
    n = tf.shape(right)[0]
    table = tf.gather(leaves["table"], places[n:])
    bias = tf.gather(leaves["word_bias"], places[n:])
    own = tf.reduce_sum(features * table[:n], -1) + bias[:n] - counts[0]
    others = tf.matmul(features, table[n:], transpose_b=True) + (bias[n:] - counts[1])
    others = tf.where(right[:, None] == drawn[None], _IMPOSSIBLE, others)
    every = tf.concat([own[:, None], others], 1)
    return tf.reduce_mean(tf.reduce_logsumexp(every, 1) - own)
