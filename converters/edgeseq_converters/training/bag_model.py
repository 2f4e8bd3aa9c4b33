"""A classifier of pooled embeddings to be trained in Keras, and turned into arrays and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.formats.trained_model import BagConfig
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.bert_model import dense_head
from edgeseq_converters.training.initial_arrays import initial_bag_arrays
from edgeseq_converters.training.student_model import MASKED, StudentClassifier


class BagClassifier(StudentClassifier):
    """Embedding, pooling over tokens, a hidden layer with a rectifier, dense head (Iyyer et al.
    2015, "Deep Unordered Composition Rivals Syntactic Methods for Text Classification").

    `dropout` acts on the pooled embeddings and on the hidden layer while training; `token_dropout`
    is the share of the tokens that are left out of a text.
    """

    def __init__(
        self,
        config: BagConfig,
        labels: int,
        *,
        dropout: float = 0.0,
        token_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(config, dropout=dropout, token_dropout=token_dropout, seed=seed)
        self.parameters: dict[str, Any] = {}
        for name, array in initial_bag_arrays(config, labels, np.random.default_rng(seed)).items():
            variable = self.add_weight(shape=array.shape, name=name.replace(".", "_"))
            variable.assign(array)
            self.parameters[name] = variable
        self.built = True

    @property
    def table(self) -> Any:
        """The embedding table [vocabulary, embedding]."""
        return self.parameters["embedding.weight"]

    def pooled(self, ids: Any, mask: Any, training: bool = False) -> Any:
        """Ids and mask [batch, length] → the hidden layer [batch, hidden].

        `mask` is float32 with 1 for real tokens.
        """
        kept = mask
        if training and self.token_dropout:
            # A text keeps its first token, so that it is never without any.
            left = self.drop(mask, self.token_dropout)
            first = tf.one_hot(tf.zeros(tf.shape(ids)[0], tf.int32), tf.shape(ids)[1])
            kept = tf.maximum(tf.cast(left > 0, tf.float32), first) * mask
        states = tf.gather(tf.convert_to_tensor(self.table), ids)
        pooled = self._pool(states, kept[:, :, None])
        hidden = tf.nn.relu(
            dense_head(
                self._dropped(pooled, training),
                self.parameters["hidden.kernel"],
                self.parameters["hidden.bias"],
            )
        )
        return self._dropped(hidden, training)

    def head(self, pooled: Any) -> Any:
        """The hidden layer [batch, hidden] → logits [batch, labels]."""
        return dense_head(pooled, self.parameters["dense.kernel"], self.parameters["dense.bias"])

    def _pool(self, states: Any, mask: Any) -> Any:
        if self.config.pooling == "max":
            return tf.reduce_max(states + (1 - mask) * MASKED, 1)
        return tf.reduce_sum(states * mask, 1) / tf.reduce_sum(mask, 1)

    def _dropped(self, values: Any, training: bool) -> Any:
        if not training or not self.dropout_rate:
            return values
        return self.drop(values, self.dropout_rate)

    def arrays(self) -> dict[str, FloatArray]:
        """All weights under the names of `edgeseq.formats.trained_model.BagConfig`."""
        return {
            name: np.array(variable.numpy(), dtype=np.float32)
            for name, variable in self.parameters.items()
        }
