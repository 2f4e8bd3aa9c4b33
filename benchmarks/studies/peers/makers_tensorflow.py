"""Files of TensorFlow's converter, from Keras 2 (tf_keras) and Keras 3."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from studies.peers.contenders import OPEN, BuildJob
from studies.peers.inputs import CLASSES, VOCABULARY, FloatArray, fit
from studies.peers.makers import BuildOrder


def build(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    """The content of the .tflite file that `job` names."""
    maker = _tf_keras if job.peer == "tf_keras" else _keras3
    return maker(job, order, weights)


def _tf_keras(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    ids = tf_keras.Input((job.length,), batch_size=1, dtype="int32")
    return _converted(_keras_model(tf_keras, ids, weights), job, order)


def _keras3(job: BuildJob, order: BuildOrder, weights: dict[str, FloatArray]) -> bytes:
    length = None if job.length == OPEN else job.length
    ids = keras.Input(batch_shape=(1, length), dtype="int32")
    return _converted(_keras_model(keras, ids, weights), job, order)


def _keras_model(library: Any, ids: Any, weights: dict[str, FloatArray]) -> Any:
    """`Embedding → LSTM → Dense` of either Keras, filled with the weights."""
    embedding = library.layers.Embedding(VOCABULARY, weights["table"].shape[1])
    lstm = library.layers.LSTM(weights["recurrent"].shape[0])
    head = library.layers.Dense(CLASSES)
    model = library.Model(ids, head(lstm(embedding(ids))))
    embedding.set_weights([weights["table"]])
    lstm.set_weights([weights["kernel"], weights["recurrent"], weights["bias"]])
    head.set_weights([weights["head"], weights["head_bias"]])
    return model


def _converted(model: Any, job: BuildJob, order: BuildOrder) -> bytes:
    def calibration() -> Iterator[list[Any]]:
        for ids in order.calibration:
            yield [np.array([fit(ids, job.length)], np.int32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if job.precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if job.precision == "integer":
        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())
