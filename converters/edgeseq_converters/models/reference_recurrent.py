"""The float answers of a recurrent network, in NumPy, straight from the published equations.

It shares no code with the lowerings, so an error in one of them cannot hide in both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    HARD_SIGMOID_SLOPES,
    Activation,
    Attention,
    AttentionPool,
    Cell,
    Convolution,
    Dense,
    Embedding,
    FeatureSlice,
    Flatten,
    Function,
    Join,
    Layer,
    LayerNorm,
    MarkedPool,
    Pool,
    Recurrent,
    Repeat,
    Scale,
    WindowPool,
)
from edgeseq_converters.models.windows import RowWindow

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
    `{layer}/{direction}/gates`, `…/cell`, `…/hidden` (with the zero state before the text); of a
    GRU `…/reset`, `…/candidate`, its two parts `…/candidate_input` and `…/candidate_state`, and
    `…/new`, the candidate behind a function without bounds; `{layer}/windows`
    [batch, rows, size·in] that a convolution multiplies; `{layer}/sums` before a dense layer's or a
    convolution's function; and `{layer}/output`, of the embedding as well, when nothing else of
    that layer follows; `{input}/feature/{index}` of an input of numbers; and of an embedding with
    word features `{input}/tokens` and `{input}/words`, its two parts.
    """
    predictions: list[FloatArray] = [np.zeros(0, np.float32)] * len(texts)
    real = [_without_padding(network, text) for text in texts]
    for positions in batches(real):
        inputs = [real[position] for position in positions]
        if isinstance(network.input, Embedding):
            ids = np.asarray(inputs, np.int64).reshape(len(inputs), len(inputs[0]), -1)
            values = _embedded(network.input, ids, observe)
            values = _run(network, ids[:, :, 0], values, observe)
        else:
            numbers = np.stack([np.asarray(values, np.float32) for values in inputs])
            for index in range(network.input.features):
                observe(f"{network.input.name}/feature/{index}", numbers[:, :, index])
            values = _run(network, np.zeros((0, 0), np.int64), numbers, observe)
        for position, value in zip(positions, values, strict=True):
            predictions[position] = value
    return predictions


def _embedded(embedding: Embedding, rows: npt.NDArray[np.int64], observe: Observe) -> FloatArray:
    """Ids, or with word features ids and their words' rows, [batch, n, 1 or more] → the tokens'
    embeddings [batch, n, size]."""
    tokens: FloatArray = embedding.table[rows[:, :, 0]]
    if embedding.word_features is None:
        return tokens
    words = embedding.word_features[rows[:, :, 1:]].reshape(*rows.shape[:2], -1)
    observe(f"{embedding.name}/tokens", tokens)
    observe(f"{embedding.name}/words", words)
    return np.concatenate([tokens, words], axis=2)


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
    outputs: dict[str, FloatArray] = {network.input.name: values}
    observe(f"{network.input.name}/output", values)
    for layer in network.layers:
        inputs = [outputs[name] for name in network.sources(layer)]
        values = _output(layer, inputs, ids, observe)
        observe(f"{layer.name}/output", values)
        outputs[layer.name] = values
    return values


def _output(
    layer: Layer, inputs: Sequence[FloatArray], ids: npt.NDArray[np.int64], observe: Observe
) -> FloatArray:
    """What one layer makes of its inputs [batch, n, features] or [batch, features]."""
    values = inputs[0]
    if isinstance(layer, Recurrent):
        return _recurrent(layer, values, observe)
    if isinstance(layer, Dense | Convolution):
        return _linear(layer, values, observe)
    if isinstance(layer, MarkedPool):
        return marked(layer.marks, ids, values)
    return _COMPUTE[type(layer)](layer, inputs)


def _linear(layer: Dense | Convolution, values: FloatArray, observe: Observe) -> FloatArray:
    kernel = layer.kernel
    if isinstance(layer, Convolution):
        batch, _, features = values.shape
        padded, starts = _padded(layer.window, values, 0.0)
        taps = [layer.dilation * tap for tap in range(layer.window.size)]
        values = np.concatenate([padded[:, starts + tap] for tap in taps], axis=2)
        values = values.reshape(batch, -1, len(taps) * features)
        observe(f"{layer.name}/windows", values)
        kernel = kernel.reshape(-1, kernel.shape[2])
    sums = np.asarray(values @ kernel + layer.bias, np.float32)
    observe(f"{layer.name}/sums", sums)
    return apply(layer.function, sums)


def _padded(
    window: RowWindow, values: FloatArray, filling: float
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Values [batch, n, features] with what windows see beyond their ends, and where windows
    begin in them (TensorFlow's rules of padding, tensorflow.org/api_docs/python/tf/nn)."""
    rows, span, stride = values.shape[1], window.span, window.stride
    front = behind = 0
    if window.border == "causal":
        front = span - 1
    elif window.border == "same":
        left_over = rows % stride
        total = max(span - (left_over or stride), 0)
        front, behind = total // 2, total - total // 2
    if front + rows + behind < span:
        raise ValueError(f"{rows} rows are too short for windows of {span}")
    padding = ((0, 0), (front, behind), (0, 0))
    starts = np.arange(0, front + rows + behind - span + 1, stride)
    return np.pad(values, padding, constant_values=filling), starts


def _pool_windows(layer: WindowPool, values: FloatArray) -> FloatArray:
    # What is not a number marks the places beyond the ends, which are left out.
    padded, starts = _padded(layer.window, values, np.nan)
    windows = np.stack([padded[:, starts + tap] for tap in range(layer.size)])
    reduce = np.nanmax if layer.how == "max" else np.nanmean
    return np.asarray(reduce(windows, axis=0), np.float32)


def _normalize(layer: LayerNorm, values: FloatArray) -> FloatArray:
    wide = values.astype(np.float64)
    deviation = np.sqrt(wide.var(axis=-1, keepdims=True) + layer.epsilon)
    normal = (wide - wide.mean(axis=-1, keepdims=True)) / deviation
    return np.asarray(normal * layer.scale + layer.offset, np.float32)


def _join(layer: Join, inputs: Sequence[FloatArray]) -> FloatArray:
    if layer.how == "concat":
        return np.concatenate(inputs, axis=-1)
    if layer.how == "average":
        return np.asarray(sum(inputs) / np.float32(len(inputs)), np.float32)
    by_element: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
        "add": np.add,
        "subtract": np.subtract,
        "multiply": np.multiply,
        "maximum": np.maximum,
        "minimum": np.minimum,
    }
    return functools.reduce(by_element[layer.how], inputs)


def _attend_in_pairs(
    layer: Attention, query: FloatArray, value: FloatArray, key: FloatArray | None = None
) -> FloatArray:
    key = value if key is None else key
    if layer.how == "dot":
        scores = layer.scale * np.einsum("bif,bjf->bij", query, key)
    else:
        sums = np.tanh(layer.scale * (query[:, :, None] + key[:, None]))
        scores = sums @ layer.weights
    return np.asarray(apply("softmax", np.asarray(scores, np.float32)) @ value)


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
            observe(f"{name}/candidate_state", h_h)
            sums = np.asarray(x_h + r * h_h, np.float32)
        else:
            h_z, h_r = np.split(h @ cell.recurrent_kernel[:, : 2 * size], 2, axis=-1)
            z, r = apply(cell.gate_function, x_z + h_z), apply(cell.gate_function, x_r + h_r)
            reset = np.asarray(r * h, np.float32)
            observe(f"{name}/reset", reset)
            sums = np.asarray(x_h + reset @ cell.recurrent_kernel[:, 2 * size :], np.float32)
        candidate = apply(cell.function, sums)
        states[:, t + 1] = z * h + (1 - z) * candidate
        observe(f"{name}/gates", np.concatenate([x_z + h_z, x_r + h_r], axis=-1))
        observe(f"{name}/candidate", sums)
        if not cell.is_bounded:
            observe(f"{name}/new", candidate)
    observe(f"{name}/candidate_input", projected[:, :, 2 * size :])
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
    if layer.how == "sum":
        return np.asarray(values.sum(axis=1))
    return np.asarray(values.mean(axis=1)) if layer.how == "mean" else values[:, -1]


def _attend(layer: AttentionPool, values: FloatArray) -> FloatArray:
    scores = apply(layer.function, values @ layer.kernel + layer.bias) @ layer.query
    return np.asarray((apply("softmax", scores)[:, :, None] * values).sum(axis=1))


def marked(
    marks: Sequence[int], ids: npt.NDArray[np.integer[Any]], values: FloatArray
) -> FloatArray:
    """Ids [batch, n] and values [batch, n, features] → what `network_layers.MarkedPool` joins."""
    rows = [np.where((ids == mark)[:, :, None], values, 0).sum(axis=1) for mark in marks]
    products = [rows[0] * row for row in rows[1:]]
    return np.asarray(np.concatenate([*rows, *products], axis=-1), np.float32)


_COMPUTE: dict[type[Any], Callable[[Any, Sequence[FloatArray]], FloatArray]] = {
    Scale: lambda layer, inputs: inputs[0] * layer.factor + layer.offset,
    LayerNorm: lambda layer, inputs: _normalize(layer, inputs[0]),
    Pool: lambda layer, inputs: _pool(layer, inputs[0]),
    WindowPool: lambda layer, inputs: _pool_windows(layer, inputs[0]),
    AttentionPool: lambda layer, inputs: _attend(layer, inputs[0]),
    Attention: lambda layer, inputs: _attend_in_pairs(layer, *inputs),
    Join: _join,
    Flatten: lambda _, inputs: inputs[0].reshape(len(inputs[0]), -1),
    Repeat: lambda layer, inputs: np.repeat(inputs[0][:, None], layer.rows, axis=1),
    FeatureSlice: lambda layer, inputs: inputs[0].T[layer.begin : layer.end].T,
    Activation: lambda layer, inputs: apply(layer.function, inputs[0]),
}
"""What a layer makes of its inputs."""


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
