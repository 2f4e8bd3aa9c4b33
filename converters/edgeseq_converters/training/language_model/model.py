"""A next-word LSTM to be trained: one table for words in and words out.

    e_t = table[word_t]; h_t = LSTM(e_t, h_{t−1}); logits = table · (project · h_t + shift) + bias

The table is tied (Press & Wolf 2017, "Using the Output Embedding to Improve Language Models";
Inan et al. 2017), so it is stored once. Dropout is one mask a chunk of text and column, not one a
step (Gal & Ghahramani 2016, "A Theoretically Grounded Application of Dropout in RNNs").

While training, the softmax runs over a part of the words
(`edgeseq_converters.training.language_model.sampling`), and
only the rows of the table that a step has read are updated, so a step's cost does not grow with
the vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Cell, Dense, Embedding, Network, Recurrent
from edgeseq_converters.training.language_model.adam import TABLES, LazyAdam
from edgeseq_converters.training.language_model.recurrence import recur_from
from edgeseq_converters.training.language_model.sampling import log_count, sampled_loss

Arrays = dict[str, FloatArray]
DENSE = ("kernel", "recurrent_kernel", "bias", "project", "shift")


def initial_arrays(
    frequencies: FloatArray,
    hidden: int,
    size: int,
    rng: np.random.Generator,
    table: FloatArray | None = None,
) -> Arrays:
    """Weights to start from; `frequencies` [V] are shares of the training words.

    The words' bias starts at ln of the frequency: the model begins as a unigram model. `table`
    [V, size], if given, is used in place of a random one. The rest is as Keras starts an LSTM.
    """

    def glorot(rows: int, columns: int) -> FloatArray:
        limit = np.sqrt(6 / (rows + columns))
        return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    orthogonal, upper = np.linalg.qr(rng.normal(size=(4 * hidden, hidden)))
    bias = np.zeros(4 * hidden, np.float32)
    bias[hidden : 2 * hidden] = 1
    if table is None:
        table = rng.normal(size=(len(frequencies), size), scale=0.05).astype(np.float32)
    return {
        "table": table,
        "kernel": glorot(size, 4 * hidden),
        "recurrent_kernel": (orthogonal * np.sign(np.diag(upper))).T.astype(np.float32),
        "bias": bias,
        "project": glorot(hidden, size) * np.float32(0.5),
        "shift": np.zeros(size, np.float32),
        "word_bias": np.log(np.maximum(frequencies, 1e-9)).astype(np.float32),
    }


def network_of_arrays(name: str, arrays: Arrays) -> Network:
    """The trained model as layers; the last one's kernel is the table, turned."""
    cell = Cell("lstm", arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"])
    return Network(
        name,
        Embedding("embedding", arrays["table"]),
        (
            Recurrent("lstm.0", cell, sequences=True),
            Dense("project", arrays["project"], arrays["shift"]),
            Dense("words", np.ascontiguousarray(arrays["table"].T), arrays["word_bias"]),
        ),
    )


class LmLstm(tf.Module):  # type: ignore[misc, unused-ignore]
    """The model with its optimizer's moments and the state that each stream has come to."""

    def __init__(
        self,
        arrays: Arrays,
        *,
        batch: int,
        steps: int,
        dropout_in: float,
        dropout_out: float,
        weight_decay: float,
        clip_norm: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.weights = {name: tf.Variable(array) for name, array in arrays.items()}
        self._adam = LazyAdam(self.weights, weight_decay=weight_decay, clip_norm=clip_norm)
        self._vocabulary, self._size = arrays["table"].shape
        self._hidden = arrays["recurrent_kernel"].shape[0]
        self._batch, self._steps = batch, steps
        self._dropout_in, self._dropout_out = dropout_in, dropout_out
        self._seed = seed
        self.state = [tf.Variable(tf.zeros([batch, self._hidden])) for _ in range(2)]

    def restart(self) -> None:
        """Puts the state of all streams to zero: an epoch begins."""
        for part in self.state:
            part.assign(tf.zeros_like(part))

    def arrays(self) -> Arrays:
        """The weights under the names of `initial_arrays`."""
        return {name: np.array(v.numpy(), np.float32) for name, v in self.weights.items()}

    def kept(self) -> dict[str, Any]:
        """Everything that the next step depends on, by name."""
        return self._adam.kept() | {
            f"state.{place}": part.numpy() for place, part in enumerate(self.state)
        }

    def restore(self, kept: dict[str, Any]) -> None:
        """Takes over what `kept` gave."""
        self._adam.restore(kept)
        for place, part in enumerate(self.state):
            part.assign(kept[f"state.{place}"])

    @tf.function  # type: ignore[untyped-decorator, unused-ignore]
    def step(
        self, chunk: tuple[Any, Any, Any], drawn: Any, tries: Any, rate: Any, number: Any
    ) -> Any:
        """One update on a chunk: inputs, targets and keep [steps, batch]; `number` counts from 1.

        `drawn` [k] and `tries` are from `draw_candidates`. Returns the mean loss in nats over the
        sampled words.
        """
        inputs, targets, keep = chunk
        right = tf.reshape(targets, [-1])
        # Every row that this step reads, once: their gradient is small and dense.
        asked, places = tf.unique(tf.concat([tf.reshape(inputs, [-1]), right, drawn], 0))
        leaves = {name: tf.gather(self.weights[name], asked) for name in TABLES}
        leaves |= {name: tf.convert_to_tensor(self.weights[name]) for name in DENSE}
        counts = tuple(log_count(words, tries, self._vocabulary) for words in (right, drawn))
        with tf.GradientTape() as tape:
            tape.watch(list(leaves.values()))
            features, states = self._forward(leaves, places, keep, number)
            loss = sampled_loss(leaves, features, (right, drawn), places, counts)
        names = list(leaves)
        gradients = tape.gradient(loss, list(leaves.values()))
        self._adam.apply(dict(zip(names, gradients, strict=True)), leaves, asked, rate, number)
        for part, value in zip(self.state, states, strict=True):
            part.assign(value)
        return loss

    def _forward(self, leaves: Any, places: Any, keep: Any, number: Any) -> Any:
        """Features [n, size] for the softmax, and the states behind the chunk."""
        n = self._batch * self._steps
        embedded = tf.gather(leaves["table"], places[:n])
        embedded = tf.reshape(embedded, [self._steps, self._batch, self._size])
        embedded *= self._mask(self._size, self._dropout_in, number, 0)
        rows = tf.matmul(tf.reshape(embedded, [n, self._size]), leaves["kernel"]) + leaves["bias"]
        rows = tf.reshape(rows, [self._steps, self._batch, 4 * self._hidden])
        states, last = recur_from(rows, leaves["recurrent_kernel"], keep[..., None], *self.state)
        out = states * self._mask(self._hidden, self._dropout_out, number, 1)
        features = tf.matmul(tf.reshape(out, [n, self._hidden]), leaves["project"])
        return features + leaves["shift"], (states[-1], last)

    def _mask(self, size: int, rate: float, number: Any, place: int) -> Any:
        """One dropout mask [1, batch, size] for all steps of a chunk, by seed and step number."""
        seed = tf.stack([self._seed * 2 + place, tf.cast(number, tf.int32)])
        drawn = tf.random.stateless_uniform([1, self._batch, size], seed)
        return tf.cast(drawn >= rate, tf.float32) / (1 - rate)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def surprise(self, inputs: Any, targets: Any, keep: Any, h: Any, c: Any) -> Any:
        """Sum of −ln p over a chunk [time, batch] under the whole vocabulary, and the states."""
        weights = self.weights
        embedded = tf.reshape(tf.gather(weights["table"], inputs), [-1, self._size])
        rows = tf.matmul(embedded, weights["kernel"]) + weights["bias"]
        rows = tf.reshape(rows, [tf.shape(inputs)[0], tf.shape(inputs)[1], 4 * self._hidden])
        recurrent = tf.convert_to_tensor(weights["recurrent_kernel"])
        states, last = recur_from(rows, recurrent, keep[..., None], h, c)
        features = tf.matmul(tf.reshape(states, [-1, self._hidden]), weights["project"])
        features += weights["shift"]
        logits = tf.matmul(features, weights["table"], transpose_b=True) + weights["word_bias"]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(targets, [-1]), logits)
        return tf.reduce_sum(losses), states[-1], last
