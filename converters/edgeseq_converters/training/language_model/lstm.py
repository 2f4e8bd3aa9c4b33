"""An LSTM language model to be trained: one table for words in and words out.

    e_t = table[word_t]; h_t = LSTM(e_t, h_{t−1}); logits = table · (project · h_t + shift) + bias

Dropout is one mask per chunk of text and column, not per step (Gal & Ghahramani 2016, "A
Theoretically Grounded Application of Dropout in RNNs").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Cell, Dense, Embedding, Recurrent
from edgeseq_converters.training.initial_arrays import (
    glorot_uniform,
    lstm_bias,
    recurrent_kernel,
)
from edgeseq_converters.training.language_model.base import LanguageModel
from edgeseq_converters.training.language_model.corpus import Stream, StreamColumns
from edgeseq_converters.training.language_model.fit_word_cache import ReadWords
from edgeseq_converters.training.language_model.recurrence import recur_from
from edgeseq_converters.training.settings import LmLstmSettings

Arrays = dict[str, FloatArray]
_EVALUATION_BATCH = 16, 64
"""Parallel streams and steps at a time in evaluation: 1,024 words of logits are 136 MB."""


def initial_arrays(
    frequencies: FloatArray,
    hidden: int,
    size: int,
    rng: np.random.Generator,
    table: FloatArray | None = None,
) -> Arrays:
    """Initial weights; `frequencies` [V] are shares of the training words.

    The words' bias starts at ln of the frequency: the model begins as a unigram model. `table`
    [V, size] replaces the random one. The rest is as Keras initializes an LSTM.
    """
    recurrent = recurrent_kernel(rng, hidden)
    if table is None:
        table = rng.normal(size=(len(frequencies), size), scale=0.05).astype(np.float32)
    return {
        "table": table,
        "kernel": glorot_uniform(rng, size, 4 * hidden),
        "recurrent_kernel": recurrent,
        "bias": lstm_bias(hidden),
        "project": glorot_uniform(rng, hidden, size) * np.float32(0.5),
        "shift": np.zeros(size, np.float32),
        "word_bias": np.log(np.maximum(frequencies, 1e-9)).astype(np.float32),
    }


def network_of_arrays(name: str, arrays: Arrays) -> Network:
    """The trained model as layers; the last one's kernel is the table, transposed."""
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


class LmLstm(LanguageModel):
    """The model with its optimizer and the state that each stream has come to."""

    def __init__(self, arrays: Arrays, settings: LmLstmSettings) -> None:
        """`arrays` are those of `initial_arrays`."""
        super().__init__({name: tf.Variable(array) for name, array in arrays.items()}, settings)
        self._size = arrays["table"].shape[1]
        self._hidden = arrays["recurrent_kernel"].shape[0]
        self.state = [tf.Variable(tf.zeros([settings.batch_size, self._hidden])) for _ in range(2)]

    def chunks(self, stream: Stream) -> StreamColumns:
        """The stream as parallel ones."""
        settings: Any = self.settings
        return StreamColumns(
            stream,
            batch_size=settings.batch_size,
            steps=settings.bptt_steps,
            seed=settings.seed,
        )

    def arrays(self) -> Arrays:
        """The weights under the names of `initial_arrays`."""
        return {name: np.array(v.numpy(), np.float32) for name, v in self.weights.items()}

    def features(self, embedded: Any, carry: Any, step: Any | None) -> tuple[Any, tuple[Any, ...]]:
        """See `LanguageModel`; carry is [time, batch]."""
        settings, batch = self.settings, carry.shape[1]
        embedded = tf.reshape(embedded, [-1, batch, self._size])
        embedded *= self.dropout_mask([1, batch, self._size], settings.embedding_dropout, step, 0)
        states, last = self._states(embedded, carry, *self.state)
        mask = self.dropout_mask([1, batch, self._hidden], settings.output_dropout, step, 1)
        return self._project(states * mask), (states[-1], last)

    def _states(self, embedded: Any, carry: Any, h: Any, c: Any) -> tuple[Any, Any]:
        """Embedded words [time, batch, size] → states [time, batch, hidden], the last cell
        state."""
        weights = self.weights
        rows = tf.reshape(embedded, [-1, self._size])
        rows = tf.matmul(rows, weights["kernel"]) + weights["bias"]
        rows = tf.reshape(rows, [tf.shape(carry)[0], tf.shape(carry)[1], 4 * self._hidden])
        recurrent = tf.convert_to_tensor(weights["recurrent_kernel"])
        states, last = recur_from(rows, recurrent, carry[..., None], h, c)
        return states, last

    def _project(self, states: Any) -> Any:
        rows = tf.matmul(tf.reshape(states, [-1, self._hidden]), self.weights["project"])
        return rows + self.weights["shift"]

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def read_chunk(self, inputs: Any, targets: Any, carry: Any, h: Any, c: Any) -> Any:
        """Of a chunk [time, batch]: what the last layer reads [time · batch, size], −ln p of the
        targets [time · batch] under the whole vocabulary, and the states after it."""
        states, last = self._states(tf.gather(self.weights["table"], inputs), carry, h, c)
        features = self._project(states)
        return features, self.word_losses(features, tf.reshape(targets, [-1])), states[-1], last

    def read(
        self,
        stream: Stream,
        *,
        keeps_states: bool,
        progress: ProgressCallback = no_progress,
    ) -> ReadWords:
        """What the model makes of each word of `stream`; the states, a kilobyte a word, only if
        they are to be kept (else they have no features).

        Streams run in parallel, so all but the first begin without the words before.
        """
        batch, steps = _EVALUATION_BATCH
        batch = max(1, min(batch, len(stream.targets) // steps))
        columns = stream.columns(batch)
        h = c = tf.zeros([batch, self._hidden])
        rows = len(columns.targets)
        states = np.empty((rows, batch, self._size if keeps_states else 0), np.float32)
        nats = np.empty((rows, batch), np.float32)
        for begin in range(0, rows, steps):
            chunk = slice(begin, begin + steps)
            features, losses, h, c = self.read_chunk(
                tf.constant(columns.inputs[chunk]),
                tf.constant(columns.targets[chunk]),
                tf.constant(columns.carry[chunk]),
                h,
                c,
            )
            if keeps_states:
                states[chunk] = features.numpy().reshape(-1, batch, self._size)
            nats[chunk] = -losses.numpy().reshape(-1, batch)
            progress(ProgressUpdate("score", min(begin + steps, rows), rows))
        return ReadWords(states, nats, columns.targets, columns.carry)
