"""Writes small .tflite files for the tests, in a process of its own, with TensorFlow.

`python make_models.py FOLDER` writes, each with input_ids int32 [1, −1] and logits float32 [1, 3]:

    bag.tflite        mean of embeddings and one dense layer; vocabulary 64
    counting.tflite   adds a counter that it keeps between calls: a model that leaks state
    wide.tflite       needs a tensor of 40,000,000 bytes to answer
    heavy.tflite      multiplies by 8,388,608 bytes of weights
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

VOCABULARY, EMBEDDING, LABELS = 64, 8, 3
WIDTH = 1024


class Bag(tf.Module):
    def __init__(self, rows: int, width: int) -> None:
        random = np.random.default_rng(7)
        self.table = tf.Variable(random.standard_normal((rows, width)).astype(np.float32))
        self.dense = tf.Variable(random.standard_normal((width, LABELS)).astype(np.float32))

    def logits(self, input_ids: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.reduce_mean(tf.gather(self.table, input_ids), axis=1), self.dense)

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32, name="input_ids")])
    def serve(self, input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"logits": self.logits(input_ids)}


class Counting(Bag):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width)
        self.calls = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32, name="input_ids")])
    def serve(self, input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        self.calls.assign_add(1.0)
        return {"logits": self.logits(input_ids) + self.calls}


class Wide(Bag):
    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32, name="input_ids")])
    def serve(self, input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        mean = tf.reduce_mean(self.logits(input_ids), axis=1, keepdims=True)
        return {"logits": self.logits(input_ids) + tf.reduce_max(tf.tile(mean, [1, 10_000_000]))}


class Heavy(Bag):
    def __init__(self, rows: int, width: int) -> None:
        super().__init__(rows, width)
        random = np.random.default_rng(7)
        shapes = ((width, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, width))
        self.layers = [
            tf.Variable(random.standard_normal(shape).astype(np.float32) / 32) for shape in shapes
        ]

    @tf.function(input_signature=[tf.TensorSpec([1, None], tf.int32, name="input_ids")])
    def serve(self, input_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.reduce_mean(tf.gather(self.table, input_ids), axis=1)
        for layer in self.layers:
            hidden = tf.nn.relu(tf.matmul(hidden, layer))
        return {"logits": tf.matmul(hidden, self.dense)}


def write(model: Bag, path: Path) -> None:
    saved = path.with_suffix(".saved")
    tf.saved_model.save(model, str(saved), signatures={"serving_default": model.serve})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.experimental_enable_resource_variables = True
    path.write_bytes(converter.convert())


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write(Bag(VOCABULARY, EMBEDDING), folder / "bag.tflite")
    write(Counting(VOCABULARY, EMBEDDING), folder / "counting.tflite")
    write(Wide(VOCABULARY, EMBEDDING), folder / "wide.tflite")
    write(Heavy(VOCABULARY, EMBEDDING), folder / "heavy.tflite")
