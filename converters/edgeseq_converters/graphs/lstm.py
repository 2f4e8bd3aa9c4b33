"""The `loop` lowering of an LSTM classifier.

The input projection of all steps is one matrix product before the loop; the loop (`WHILE`) runs
over the real length. What was measured (x86-64 with AVX2, one thread; n tokens):

- Both directions of a layer in one loop: 1.7 times a single direction, not 2. Rows 2t and 2t+1 of
  the reshaped projection are the forward and the backward input of step t, so one GATHER of the
  rows (2t, 2(n−1−t)+1) feeds both; everything but the two products works on [2, ·].
- A stack of forward layers runs in one loop as well: an upper layer's input and own state are
  concatenated before one product. Nothing is emitted; a sequence written in a loop costs O(n²),
  because the runtime copies the loop's state every step (32 tokens 20 % more, 400 tokens twice).
- A stack of bidirectional layers must emit its lower sequences. DYNAMIC_UPDATE_SLICE (from
  TensorArray) copies least: 0.7 of TENSOR_SCATTER's time at 32 tokens, 0.4 at 400.
- Fewer, wider operators for the gates gain nothing: the products dominate.

Cell (Keras' order i, f, c, o): c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c), Hochreiter and
Schmidhuber 1997 with the forget gate of Gers et al. 2000.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgeseq.model_folder import LstmConfig, TrainedModel
from edgeseq_converters.arrays import LstmCell, lstm_cells, lstm_config, take
from edgeseq_converters.graphs import rows
from edgeseq_converters.recipes import Recipe


def build(model: TrainedModel, recipe: Recipe) -> Any:
    """The module of an LSTM (see `edgeseq_converters.graphs`).

    Raises `CheckpointError` when an array is missing or has the wrong shape.
    """
    config = lstm_config(model)
    cells = lstm_cells(model)
    labels = len(model.manifest.labels)
    features = config.hidden_size * (2 if config.bidirectional else 1)
    module = tf.Module()
    embedding = take(model, "embedding.weight", config.vocabulary_size, config.embedding_size)
    module.table = rows.variables(embedding, recipe.weights)
    module.layers = (
        [_bidirectional_weights(layer) for layer in cells]
        if config.bidirectional
        else _stack_weights([layer[0] for layer in cells])
    )
    module.head = {
        "kernel": tf.Variable(take(model, "dense.kernel", features, labels)),
        "bias": tf.Variable(take(model, "dense.bias", labels)),
    }

    def signature(input_ids: Any) -> dict[str, Any]:
        embedded = rows.lookup(module.table, tf.reshape(input_ids, [-1]))
        length = tf.shape(input_ids)[1]
        run = _run_bidirectional if config.bidirectional else _run_stack
        pooled = run(config, module.layers, embedded, length)
        logits = tf.matmul(tf.reshape(pooled, [1, features]), module.head["kernel"])
        return {"logits": logits + module.head["bias"]}

    spec = tf.TensorSpec([1, None], tf.int32, name="input_ids")
    module.signature = tf.function(signature, input_signature=[spec])
    return module


def _stack_weights(cells: list[LstmCell]) -> list[dict[str, Any]]:
    """Layer 0: `input` [E, 4H], `recurrent` [H, 4H]; above: `both` [2H, 4H] over (below, own)."""
    first, *upper = cells
    layers = [
        {
            "input": tf.Variable(first.kernel),
            "recurrent": tf.Variable(first.recurrent_kernel),
            "bias": tf.Variable(first.bias),
        }
    ]
    layers += [
        {
            "both": tf.Variable(np.concatenate([cell.kernel, cell.recurrent_kernel])),
            "bias": tf.Variable(cell.bias),
        }
        for cell in upper
    ]
    return layers


def _bidirectional_weights(cells: tuple[LstmCell, ...]) -> dict[str, Any]:
    """`input` [in, 8H] and `bias` [8H] hold forward, then backward; recurrent ones stay apart."""
    forward, backward = cells
    return {
        "input": tf.Variable(np.concatenate([forward.kernel, backward.kernel], axis=1)),
        "bias": tf.Variable(np.concatenate([forward.bias, backward.bias])),
        "forward": tf.Variable(forward.recurrent_kernel),
        "backward": tf.Variable(backward.recurrent_kernel),
    }


def _step(gates: Any, cell_state: Any) -> tuple[Any, Any]:
    """Gates [d, 4H] before activation and state [d, H] → new h and c, both [d, H]."""
    i, f, g, o = tf.split(gates, 4, axis=-1)
    cell_state = tf.sigmoid(f) * cell_state + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(cell_state), cell_state


def _start_pooling(pooling: str, zeros: Any) -> Any:
    # |h| = |σ·tanh| < 1, so −1 is below every state and max needs no first step of its own.
    return zeros - 1.0 if pooling == "max" else zeros


def _pool(pooling: str, pooled: Any, hidden: Any) -> Any:
    if pooling == "max":
        return tf.maximum(pooled, hidden)
    return pooled + hidden if pooling == "mean" else hidden


def _end_pooling(pooling: str, pooled: Any, length: Any) -> Any:
    return pooled / tf.cast(length, tf.float32) if pooling == "mean" else pooled


def _run_stack(config: LstmConfig, layers: list[dict[str, Any]], embedded: Any, length: Any) -> Any:
    """All forward layers in one loop; embedded [n, E] → pooled [1, H]."""
    projected = tf.matmul(embedded, layers[0]["input"]) + layers[0]["bias"]
    zeros = tf.zeros([1, config.hidden_size])

    def body(t: Any, hidden: list[Any], states: list[Any], pooled: Any) -> Any:
        new_hidden: list[Any] = []
        new_states: list[Any] = []
        for number, layer in enumerate(layers):
            if number == 0:
                gates = tf.gather(projected, [t]) + tf.matmul(hidden[0], layer["recurrent"])
            else:
                below_and_own = tf.concat([new_hidden[-1], hidden[number]], axis=1)
                gates = tf.matmul(below_and_own, layer["both"]) + layer["bias"]
            h, c = _step(gates, states[number])
            new_hidden.append(h)
            new_states.append(c)
        return t + 1, new_hidden, new_states, _pool(config.pooling, pooled, new_hidden[-1])

    state = [zeros] * len(layers)
    start = (tf.constant(0), state, list(state), _start_pooling(config.pooling, zeros))
    pooled = tf.while_loop(lambda t, *_: t < length, body, start)[-1]
    return _end_pooling(config.pooling, pooled, length)


def _run_bidirectional(
    config: LstmConfig, layers: list[dict[str, Any]], embedded: Any, length: Any
) -> Any:
    """A loop a layer, both directions in it; embedded [n, E] → pooled [2, H]."""
    inputs = embedded
    for layer in layers[:-1]:
        inputs = _bidirectional_layer(config, layer, inputs, length, emit=True)
    pooled = _bidirectional_layer(config, layers[-1], inputs, length, emit=False)
    return _end_pooling(config.pooling, pooled, length)


def _bidirectional_layer(
    config: LstmConfig, layer: dict[str, Any], inputs: Any, length: Any, *, emit: bool
) -> Any:
    """inputs [n, in] → the sequence [n, 2H] with `emit`, else the running pool [2, H]."""
    hidden_size = config.hidden_size
    projected = tf.matmul(inputs, layer["input"]) + layer["bias"]
    projected = tf.reshape(projected, [-1, 4 * hidden_size])  # rows: forward t, backward t, …
    zeros = tf.zeros([2, hidden_size])
    if emit:
        # Row t holds the forward state of t and the backward state of n−1−t: one write a step.
        kept = tf.TensorArray(tf.float32, size=length, element_shape=[1, 2 * hidden_size])
    else:
        kept = _start_pooling(config.pooling, zeros)

    def body(t: Any, feed: Any, hidden: Any, state: Any, kept: Any) -> Any:
        forward, backward = tf.split(hidden, 2, axis=0)
        recurrent = tf.concat(
            [tf.matmul(forward, layer["forward"]), tf.matmul(backward, layer["backward"])], axis=0
        )
        hidden, state = _step(tf.gather(projected, feed) + recurrent, state)
        if emit:
            kept = kept.write(t, tf.reshape(hidden, [1, 2 * hidden_size]))
        else:
            kept = _pool(config.pooling, kept, hidden)
        return t + 1, feed + tf.constant([2, -2]), hidden, state, kept

    feed = tf.stack([0, 2 * length - 1])
    start = (tf.constant(0), feed, zeros, zeros, kept)
    kept = tf.while_loop(lambda t, *_: t < length, body, start)[-1]
    if not emit:
        return kept
    sequence = tf.reshape(kept.stack(), [-1, 2 * hidden_size])
    return tf.concat(
        [sequence[:, :hidden_size], tf.reverse(sequence[:, hidden_size:], [0])], axis=1
    )
