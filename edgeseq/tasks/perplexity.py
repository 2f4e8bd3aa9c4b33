"""Perplexity per word: between how many words a model hesitates.

    perplexity = exp(− Σ ln p(word | words before it) / number of words)

A word that a model writes in several tokens has the product of their probabilities, so the sum
runs over all tokens but is divided by words: models of different tokens then compare (Mielke
2019, "Can you compare perplexity across different segmentations?"). The end of a line counts as a
word. Only numpy is used, so that a device computes the very same numbers as a workstation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError
from edgeseq.tasks.metric import FloatArray, Metric
from edgeseq.tasks.predictions import Predictions

IntArray = npt.NDArray[np.int64]


def log_probabilities(logits: npt.NDArray[np.float32], ids: Sequence[int]) -> FloatArray:
    """ln p of the tokens `ids` [n] under `logits` [n, vocabulary]: [n], in nats, float64.

    The largest logit is subtracted first, so that no exponential overflows. Raises `DataError`
    for an id outside of the vocabulary and for NaN or infinite logits.
    """
    targets = np.asarray(ids, dtype=np.int64)
    if logits.ndim != 2 or len(targets) != len(logits):
        raise DataError("logits do not go with the tokens", found=f"{logits.shape}, {len(targets)}")
    if len(targets) and not 0 <= targets.min() <= targets.max() < logits.shape[1]:
        raise DataError(
            "a token is outside of the vocabulary",
            found=int(targets.max()),
            expected=f"0 to {logits.shape[1] - 1}",
        )
    largest = logits.max(axis=1, keepdims=True, initial=-np.inf)
    if not np.isfinite(largest).all():
        raise DataError("the model returned NaN", found="a logit that is not finite")
    total = np.exp(logits - largest, dtype=np.float32).sum(axis=1, dtype=np.float64)
    target_logits = logits[np.arange(len(targets)), targets] - largest[:, 0]
    return np.asarray(target_logits - np.log(total), dtype=np.float64)


def ranks(logits: npt.NDArray[np.float32], ids: Sequence[int]) -> IntArray:
    """How many tokens have a larger logit than each of `ids` [n]: 0 for the most likely one.

    Among equal logits the lower id comes first, as `argmax` has it.
    """
    targets = np.asarray(ids, dtype=np.int64)
    target_logits = logits[np.arange(len(targets)), targets][:, None]
    before = np.arange(logits.shape[1]) < targets[:, None]
    return np.asarray(
        ((logits > target_logits) | ((logits == target_logits) & before)).sum(axis=1),
        dtype=np.int64,
    )


def perplexity(nats: float, words: int) -> float:
    """exp(−nats / words); `nats` is the sum of the logarithms of all tokens' probabilities.

    Raises `DataError` without words.
    """
    if words < 1:
        raise DataError("no words to predict", found=words, expected="1 or more")
    return float(np.exp(-nats / words))


def _counts(predictions: Predictions, _labels: Sequence[str]) -> FloatArray:
    """Surprise in nats, and words, of each document: [documents, 2].

    Raises `DataError` when the answers are not of this task.
    """
    if len(predictions.log_probabilities) != len(predictions.counts):
        raise DataError(
            "answers are not those of a language model",
            found=f"{len(predictions.log_probabilities)} sums",
            expected=f"one for each of {len(predictions.counts)} documents",
        )
    rows = np.stack(
        [-np.asarray(predictions.log_probabilities), np.asarray(predictions.counts)], axis=1
    )
    return np.asarray(rows, dtype=np.float64)


def _value(sums: FloatArray) -> FloatArray:
    """Perplexity of sums [..., 2] of `_counts`; 1 of nothing."""
    return np.exp(sums[..., 0] / np.maximum(sums[..., 1], 1))


def _utility(perplexities: FloatArray) -> FloatArray:
    """−ln perplexity: more is better, and a hundredth is about a percent of perplexity."""
    return np.asarray(-np.log(perplexities))


def _show(perplexity: float) -> str:
    """One digit behind the point."""
    return f"{perplexity:.1f}"


def _show_interval(low: float, high: float) -> str:
    """Both ends as `_show` has them."""
    return f"{low:.1f} to {high:.1f}"


PERPLEXITY = Metric(
    name="perplexity",
    title="perplexity",
    unit="a word",
    higher_is_better=False,
    counts=_counts,
    value=_value,
    utility=_utility,
    show=_show,
    show_interval=_show_interval,
    axis_scale=1.0,
)
