"""What the small models that are trained in Keras have in common."""

from __future__ import annotations

from typing import Any

import keras

from edgeseq_converters.training.bert_model import require_tensorflow_backend

MASKED = -1e9
"""Stands for padding under a maximum."""


class StudentClassifier(keras.Model):  # type: ignore[misc, unused-ignore]
    """A classifier with an embedding table of its own; a subclass has `pooled` and `head`."""

    def __init__(self, config: Any, *, dropout: float, token_dropout: float, seed: int) -> None:
        super().__init__()
        require_tensorflow_backend()
        self.config = config
        self.seeds = keras.random.SeedGenerator(seed)
        self.dropout_rate = dropout
        self.token_dropout = token_dropout

    def call(self, ids: Any, mask: Any, training: bool = False) -> Any:
        """Ids and mask [batch, length] → logits (see `head`)."""
        return self.head(self.pooled(ids, mask, training))

    def drop(self, values: Any, rate: float) -> Any:
        """The values with a share of `rate` of them set to 0, and the rest scaled up."""
        return keras.random.dropout(values, rate, seed=self.seeds)
