"""A compiled function over many texts, for predictions and states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.tasks.word_features import FEATURES, WordFeatures
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.batching import (
    Batch,
    IndexArray,
    TextCollection,
    in_order,
    sorted_batches,
)

TOKEN_IDS = tf.TensorSpec([None, None], tf.int32)
"""Specification of ids [batch, length]."""
TOKEN_ROWS = tf.TensorSpec([None, None, 1 + len(FEATURES)], tf.int32)
"""Of ids with the rows of their words' features behind them."""
MASK = tf.TensorSpec([None, None], tf.float32)

PREDICT_TOKENS = 2048
"""Tokens of a batch of prediction: enough for full speed, and the activations stay in the cache."""


def token_specification(features: WordFeatures | None) -> Any:
    """That of the tokens of a model with these word features."""
    return TOKEN_IDS if features is None else TOKEN_ROWS


class Predictor:
    """A function of (inputs, mask), compiled once.

    `function` is `model.call` for logits; `inputs` is the specification of the batches' inputs.
    """

    def __init__(self, function: Callable[..., Any], *, inputs: Any = TOKEN_IDS) -> None:
        self._function = tf.function(function, autograph=False, input_signature=[inputs, MASK])

    def batches(
        self, texts: TextCollection, *, stage: str = "", progress: ProgressCallback = no_progress
    ) -> Iterator[tuple[Batch, FloatArray]]:
        """Each batch with its outputs [batch, …]; reports progress only with a `stage`."""
        done = 0
        for index in sorted_batches(texts.lengths, PREDICT_TOKENS):
            batch = texts.batch(index)
            yield batch, self._function(batch.inputs, batch.mask).numpy()
            done += len(index)
            if stage:
                progress(ProgressUpdate(stage, done, len(texts.lengths)))

    def __call__(
        self, texts: TextCollection, *, stage: str = "", progress: ProgressCallback = no_progress
    ) -> FloatArray:
        """The outputs [texts, n], in the order of the texts."""
        outputs: list[FloatArray] = []
        order: list[IndexArray] = []
        for batch, rows in self.batches(texts, stage=stage, progress=progress):
            outputs.append(rows)
            order.append(batch.index)
        return in_order(order, outputs)
