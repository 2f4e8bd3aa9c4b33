"""The float reference of a word cache, straight from the published equations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.models.arrays import FloatArray


def with_word_cache(
    cache: WordCache, logits: FloatArray, states: FloatArray, ids: Sequence[int]
) -> FloatArray:
    """Logits [n, vocabulary] of a text `ids` [n] from its beginning, with the cache: ln p, shifted
    so that words outside of the cache keep their logits.

    `states` [n, features] are what the last layer makes the logits from.
    """
    changed = np.array(logits, np.float64)
    for t in range(1, len(ids)):
        first = max(0, t - cache.size)
        scores = cache.sharpness * states[first:t].astype(np.float64) @ states[t]
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        cached = np.zeros(changed.shape[1])
        np.add.at(cached, np.asarray(ids[first + 1 : t + 1]), weights)
        largest = changed[t].max()
        total = largest + np.log(np.exp(changed[t] - largest).sum())
        probabilities = (1 - cache.share) * np.exp(changed[t] - total) + cache.share * cached
        words = np.flatnonzero(cached)
        changed[t, words] = np.log(probabilities[words]) + total - np.log(1 - cache.share)
    return np.asarray(changed, np.float32)
