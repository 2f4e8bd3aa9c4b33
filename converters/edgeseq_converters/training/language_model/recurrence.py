"""LSTM steps that start from a given state, with their gradient written out.

The recurrence of `edgeseq_converters.training.lstm_model.recur` with two additions for language
models: it starts from the state of the words before, which is reset where a document begins.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


@tf.custom_gradient  # type: ignore[untyped-decorator, unused-ignore]
def recur_from(projected: Any, recurrent: Any, carry: Any, h_first: Any, c_first: Any) -> Any:
    """Runs an LSTM over `time` steps from a given state.

    `projected` [time, batch, 4·hidden] holds the inputs times their kernel plus bias, gates in the
    order i, f, c, o; `recurrent` [hidden, 4·hidden]; `carry` [time, batch, 1] is 0 where a document
    begins, so that the step starts from zero; `h_first`, `c_first` [batch, hidden] are the state
    before the first step. Returns the states h [time, batch, hidden] and the last c
    [batch, hidden].

    Back-propagation through time is truncated at the first step: no gradient flows to `h_first`,
    `c_first` and `carry`, nor from the last c (Williams & Peng 1990; Mikolov et al. 2010).
    """
    steps = tf.shape(projected)[0]

    def forward(t: Any, h: Any, c: Any, *buffers: Any) -> tuple[Any, ...]:
        h, c = h * carry[t], c * carry[t]
        i, f, g, o = tf.split(projected[t] + tf.matmul(h, recurrent), 4, axis=-1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c_next = f * c + i * g
        squashed = tf.tanh(c_next)
        h_next = o * squashed
        values = (h, c, tf.concat([i, f, g, o], -1), squashed, h_next)
        return (
            t + 1,
            h_next,
            c_next,
            *(array.write(t, v) for array, v in zip(buffers, values, strict=True)),
        )

    start = (0, h_first, c_first, *(tf.TensorArray(tf.float32, steps) for _ in range(5)))
    _, _, c_last, *buffers = tf.while_loop(lambda t, *_: t < steps, forward, start)
    before, cells_before, gates, squashed, states = (array.stack() for array in buffers)

    def gradient(upstream: Any, _c_last: Any) -> tuple[Any, ...]:
        transposed = tf.transpose(recurrent)

        def backward(n: Any, dh: Any, dc: Any, buffer: Any) -> tuple[Any, ...]:
            t = steps - 1 - n
            i, f, g, o = tf.split(gates[t], 4, axis=-1)
            s = squashed[t]
            dh = dh + upstream[t]
            dc = dc + dh * o * (1 - s * s)
            dz = tf.concat(
                [
                    dc * g * i * (1 - i),
                    dc * cells_before[t] * f * (1 - f),
                    dc * i * (1 - g * g),
                    dh * s * o * (1 - o),
                ],
                -1,
            )
            return (
                n + 1,
                tf.matmul(dz, transposed) * carry[t],
                dc * f * carry[t],
                buffer.write(t, dz),
            )

        zero = tf.zeros_like(h_first)
        start = (0, zero, zero, tf.TensorArray(tf.float32, steps))
        *_, buffer = tf.while_loop(lambda n, *_: n < steps, backward, start)
        d_projected = buffer.stack()
        hidden = tf.shape(recurrent)[0]
        rows, d_rows = tf.reshape(before, [-1, hidden]), tf.reshape(d_projected, [-1, 4 * hidden])
        return d_projected, tf.matmul(rows, d_rows, transpose_a=True), None, None, None

    return (states, c_last), gradient
