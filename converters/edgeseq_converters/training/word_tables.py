"""The tables of word features while they are trained (`edgeseq.tasks.word_features`)."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from edgeseq.tasks.word_features import FEATURES, WordFeatures
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_FEATURE_PROJECTION, WORD_FEATURE_TABLE

INITIAL_DEVIATION = 0.1
"""As that of a student's token embeddings (`edgeseq_converters.training.initial_weights`)."""


class WordTable(keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """Rows of features → their numbers side by side, or with `outputs` projected to that width.

    The projection starts at 0, so that an encoder answers at first as its checkpoint does.
    """

    def __init__(self, features: WordFeatures, *, outputs: int | None = None, seed: int) -> None:
        super().__init__()
        self.features = features
        shape = (features.table_rows, features.size)
        self.table = self.add_weight(shape=shape, name="word_table")
        generator = np.random.default_rng(seed)
        self.table.assign(generator.normal(0, INITIAL_DEVIATION, shape).astype(np.float32))
        self.kernel = self.bias = None
        if outputs is not None:
            self.kernel, self.bias = (
                self.add_weight(shape=shape, name=name, initializer="zeros")
                for name, shape in (
                    ("word_kernel", (features.width, outputs)),
                    ("word_bias", (outputs,)),
                )
            )
        self.built = True

    def call(self, rows: Any) -> Any:
        """Rows int32 [batch, length, 3] → [batch, length, width or outputs]."""
        shape = tf.shape(rows)
        values = tf.gather(tf.convert_to_tensor(self.table), tf.reshape(rows, [-1]))
        values = tf.reshape(values, [-1, self.features.width])
        width = self.features.width
        if self.kernel is not None and self.bias is not None:
            values = tf.matmul(values, tf.convert_to_tensor(self.kernel))
            values = tf.nn.bias_add(values, tf.convert_to_tensor(self.bias))
            width = self.kernel.shape[1]
        return tf.reshape(values, [shape[0], shape[1], width])

    def fill(self, arrays: dict[str, FloatArray]) -> None:
        """Takes over the arrays of a trained model, where it has them."""
        if WORD_FEATURE_TABLE in arrays:
            self.table.assign(arrays[WORD_FEATURE_TABLE])
        if self.kernel is not None and self.bias is not None and WORD_FEATURE_TABLE in arrays:
            self.kernel.assign(arrays[f"{WORD_FEATURE_PROJECTION}.weight"].T)
            self.bias.assign(arrays[f"{WORD_FEATURE_PROJECTION}.bias"])

    def arrays(self) -> dict[str, FloatArray]:
        """The arrays by the names of `edgeseq.formats.trained_model.ModelManifest`."""
        arrays = {WORD_FEATURE_TABLE: np.array(self.table.numpy(), np.float32)}
        if self.kernel is not None and self.bias is not None:
            kernel = np.ascontiguousarray(self.kernel.numpy().T, np.float32)
            arrays[f"{WORD_FEATURE_PROJECTION}.weight"] = kernel
            arrays[f"{WORD_FEATURE_PROJECTION}.bias"] = np.array(self.bias.numpy(), np.float32)
        return arrays


def split_rows(inputs: Any, table: WordTable | None) -> tuple[Any, Any]:
    """What a model is given → ids [batch, length], and the rows of features [batch, length, 3] or
    None."""
    if table is None:
        return inputs, None
    return inputs[:, :, 0], tf.ensure_shape(inputs[:, :, 1:], [None, None, len(FEATURES)])
