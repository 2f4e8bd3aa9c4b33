"""The float answers of a recurrent network, in NumPy, straight from the published equations.

It shares no code with the lowerings, so an error in one of them cannot hide in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.network import (
    HARD_SIGMOID_SLOPES,
    Activation,
    AttentionPool,
    Cell,
    Dense,
    Embedding,
    Function,
    MarkedPool,
    Network,
    Pool,
    Recurrent,
    Scale,
)

BATCH = 32
Observe = Callable[[str, FloatArray], None]


def _ignore(_name: str, _values: FloatArray) -> None:
    return None


def answers(
    network: Network, texts: Sequence[ModelInput], observe: Observe = _ignore
) -> list[FloatArray]:
    """What the network answers to each input: [outputs], or [n, outputs] with one a token.

    Under `mask_zero` zeros at the end of a text, its first token apart, are padding and cut off
    first. `observe` is given every tensor that a quantized lowering needs to know of, by name:
    `{layer}/{direction}/gates`, `…/cell`, `…/hidden` (with the zero state before the text), a
    GRU's `…/reset`; `{layer}/sums` before a dense layer's function; and `{layer}/output`, of the
    embedding as well, when nothing else of that layer follows; and `{input}/feature/{index}` of an
    input of numbers.
    """
    predictions: list[FloatArray] = [np.zeros(0, np.float32)] * len(texts)
    real = [_without_padding(network, text) for text in texts]
    for positions in batches(real):
        inputs = [real[position] for position in positions]
        if isinstance(network.input, Embedding):
            ids = np.asarray(inputs, np.int64).reshape(len(inputs), -1)
            values = _run(network, ids, network.input.table[ids], observe)
        else:
            numbers = np.stack([np.asarray(values, np.float32) for values in inputs])
            for index in range(network.input.features):
                observe(f"{network.input.name}/feature/{index}", numbers[:, :, index])
            values = _run(network, np.zeros((0, 0), np.int64), numbers, observe)
        for position, value in zip(positions, values, strict=True):
            predictions[position] = value
    return predictions


def _without_padding(network: Network, text: ModelInput) -> ModelInput:
    end = len(text)
    masks = isinstance(network.input, Embedding) and network.input.mask_zero
    while masks and end > 1 and text[end - 1] == 0:
        end -= 1
    return text[:end]


def batches(texts: Sequence[ModelInput]) -> Iterator[list[int]]:
    """Places of texts of one length, at most `BATCH` together."""
    by_length: dict[int, list[int]] = {}
    for position, token_ids in enumerate(texts):
        by_length.setdefault(len(token_ids), []).append(position)
    for positions in by_length.values():
        for start in range(0, len(positions), BATCH):
            yield positions[start : start + BATCH]


def _run(
    network: Network, ids: npt.NDArray[np.int64], values: FloatArray, observe: Observe
) -> FloatArray:
    """Ids [batch, n] (none of an input of numbers) and the layers' input [batch, n, features] →
    answers [batch, outputs] or [batch, n, outputs]."""
    observe(f"{network.input.name}/output", values)
    for layer in network.layers:
        if isinstance(layer, Recurrent):
            values = _recurrent(layer, values, observe)
        elif isinstance(layer, Dense):
            values = values @ layer.kernel + layer.bias
            observe(f"{layer.name}/sums", values)
            values = apply(layer.function, values)
        elif isinstance(layer, Scale):
            values = values * layer.factor + layer.offset
        elif isinstance(layer, Pool):
            values = _pool(layer, values)
        elif isinstance(layer, AttentionPool):
            values = _attend(layer, values)
        elif isinstance(layer, MarkedPool):
            values = marked(layer.marks, ids, values)
        elif isinstance(layer, Activation):
            values = apply(layer.function, values)
        observe(f"{layer.name}/output", values)
    return values


def _recurrent(layer: Recurrent, inputs: FloatArray, observe: Observe) -> FloatArray:
    run = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[layer.forward.kind]
    states = [run(layer.forward, inputs, f"{layer.name}/forward", observe)]
    if layer.backward is not None:
        backward = run(layer.backward, inputs[:, ::-1], f"{layer.name}/backward", observe)
        states.append(backward)
    if layer.sequences:
        # The backward states return to the text's order; slot 0 is the state before the text.
        ordered = [state[:, 1:] if d == 0 else state[:, :0:-1] for d, state in enumerate(states)]
    else:
        ordered = [state[:, -1] for state in states]
    if len(ordered) == 1:
        return ordered[0]
    if layer.merge == "concat":
        return np.concatenate(ordered, axis=-1)
    forward, backward = ordered
    if layer.merge == "mul":
        return forward * backward
    return (forward + backward) * np.float32(0.5 if layer.merge == "ave" else 1)


def _lstm(cell: Cell, inputs: FloatArray, name: str, observe: Observe) -> FloatArray:
    """Inputs [batch, n, in] → states [batch, n + 1, H], the zero state first (Hochreiter and
    Schmidhuber 1997 with the forget gate of Gers et al. 2000)."""
    batch, steps, _ = inputs.shape
    projected = inputs @ cell.kernel + cell.bias
    states = np.zeros((batch, steps + 1, cell.hidden_size), np.float32)
    c = np.zeros((batch, cell.hidden_size), np.float32)
    for t in range(steps):
        gates = projected[:, t] + states[:, t] @ cell.recurrent_kernel
        opened = apply(cell.gate_function, gates)
        i, f, _, o = np.split(opened, 4, axis=-1)
        g = np.split(gates, 4, axis=-1)[2]
        c = np.asarray(f * c + i * apply(cell.function, g), np.float32)
        states[:, t + 1] = np.asarray(o) * apply(cell.function, c)
        observe(f"{name}/gates", np.asarray(gates, np.float32))
        observe(f"{name}/cell", c)
    observe(f"{name}/projected", projected)
    observe(f"{name}/hidden", states)
    return states


def _gru(cell: Cell, inputs: FloatArray, name: str, observe: Observe) -> FloatArray:
    """The same for a GRU (Cho et al. 2014): h = z·h + (1 − z)·f(…), with the reset gate before
    the recurrent product, or after it when there is a recurrent bias."""
    batch, steps, _ = inputs.shape
    size = cell.hidden_size
    projected = inputs @ cell.kernel + cell.bias
    states = np.zeros((batch, steps + 1, size), np.float32)
    for t in range(steps):
        h: FloatArray = states[:, t]
        x_z, x_r, x_h = np.split(projected[:, t], 3, axis=-1)
        if cell.recurrent_bias is not None:
            h_z, h_r, h_h = np.split(h @ cell.recurrent_kernel + cell.recurrent_bias, 3, axis=-1)
            z, r = apply(cell.gate_function, x_z + h_z), apply(cell.gate_function, x_r + h_r)
            candidate = apply(cell.function, np.asarray(x_h + r * h_h, np.float32))
        else:
            h_z, h_r = np.split(h @ cell.recurrent_kernel[:, : 2 * size], 2, axis=-1)
            z, r = apply(cell.gate_function, x_z + h_z), apply(cell.gate_function, x_r + h_r)
            reset = np.asarray(r * h, np.float32)
            observe(f"{name}/reset", reset)
            sums = x_h + reset @ cell.recurrent_kernel[:, 2 * size :]
            candidate = apply(cell.function, np.asarray(sums, np.float32))
        states[:, t + 1] = z * h + (1 - z) * candidate
    observe(f"{name}/projected", projected)
    observe(f"{name}/hidden", states)
    return states


def _rnn(cell: Cell, inputs: FloatArray, name: str, observe: Observe) -> FloatArray:
    """The same for a simple RNN (Elman 1990): h = f(x·W + b + h·U)."""
    batch, steps, _ = inputs.shape
    projected = inputs @ cell.kernel + cell.bias
    states = np.zeros((batch, steps + 1, cell.hidden_size), np.float32)
    for t in range(steps):
        gates = np.asarray(projected[:, t] + states[:, t] @ cell.recurrent_kernel, np.float32)
        states[:, t + 1] = apply(cell.function, gates)
        observe(f"{name}/gates", gates)
    observe(f"{name}/projected", projected)
    observe(f"{name}/hidden", states)
    return states


def _pool(layer: Pool, values: FloatArray) -> FloatArray:
    if layer.how == "max":
        return np.asarray(values.max(axis=1))
    return np.asarray(values.mean(axis=1)) if layer.how == "mean" else values[:, -1]


def _attend(layer: AttentionPool, values: FloatArray) -> FloatArray:
    scores = apply(layer.function, values @ layer.kernel + layer.bias) @ layer.query
    return np.asarray((apply("softmax", scores)[:, :, None] * values).sum(axis=1))


def marked(
    marks: Sequence[int], ids: npt.NDArray[np.integer[Any]], values: FloatArray
) -> FloatArray:
    """Ids [batch, n] and values [batch, n, features] → what `network.MarkedPool` joins."""
    rows = [np.where((ids == mark)[:, :, None], values, 0).sum(axis=1) for mark in marks]
    products = [rows[0] * row for row in rows[1:]]
    return np.asarray(np.concatenate([*rows, *products], axis=-1), np.float32)


def apply(function: Function, values: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """The function by element; softmax over the last axis."""
    if function == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))
    if function == "relu":
        return np.asarray(np.maximum(values, np.float32(0)), np.float32)
    if function == "tanh":
        return np.asarray(np.tanh(values), np.float32)
    if function == "softsign":
        return np.asarray(values / (1 + np.abs(values)), np.float32)
    if function in HARD_SIGMOID_SLOPES:
        line = np.float32(HARD_SIGMOID_SLOPES[function]) * values + np.float32(0.5)
        return np.asarray(np.clip(line, np.float32(0), np.float32(1)), np.float32)
    return sigmoid(values) if function == "sigmoid" else np.asarray(values, np.float32)


def sigmoid(values: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """1 / (1 + e^−x), by tanh, which does not overflow for large negative numbers."""
    return np.asarray(0.5 * np.tanh(0.5 * values) + 0.5, np.float32)
