"""The classifiers of `bert` and `lstm` with one answer a token instead of one a text."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from edgeseq_converters.training.bert_model import BertClassifier, mask_bias
from edgeseq_converters.training.lstm_model import LstmClassifier


class BertTagger(BertClassifier):
    """Encoder and a linear head on every token's state."""

    def upper(self, states: Any, mask: Any, training: bool = False, ids: Any = None) -> Any:
        """What `lower` gave, through the trained layers → states [batch, length, hidden]."""
        del ids
        shape = tf.shape(states)
        states = tf.reshape(states, [-1, self.config.hidden_size])
        for layer in self.encoder_layers[self.frozen_layers :]:
            states = layer(states, mask_bias(mask), training=training)
        return tf.reshape(states, [shape[0], shape[1], self.config.hidden_size])

    def head(self, pooled: Any) -> Any:
        """States [batch, length, hidden] → logits [batch, length, labels]."""
        return by_token(pooled, self.head_kernel, self.head_bias)


class LstmTagger(LstmClassifier):
    """Embedding, (Bi)LSTM layers and a linear head on every token's state (pooling `none`)."""

    def head(self, pooled: Any) -> Any:
        """States [batch, length, features] → logits [batch, length, labels]."""
        return by_token(pooled, self.head_kernel, self.head_bias)

    def _pool(self, states: Any, mask: Any, ids: Any) -> Any:
        """States [time, batch, features] → [batch, time, features]."""
        del mask, ids
        return tf.transpose(states, [1, 0, 2])


def by_token(states: Any, kernel: Any, bias: Any) -> Any:
    """States [batch, length, n] through a dense layer → [batch, length, out]."""
    shape = tf.shape(states)
    rows = tf.reshape(states, [-1, kernel.shape[0]])
    logits = tf.matmul(rows, tf.convert_to_tensor(kernel)) + tf.convert_to_tensor(bias)
    return tf.reshape(logits, [shape[0], shape[1], kernel.shape[1]])
