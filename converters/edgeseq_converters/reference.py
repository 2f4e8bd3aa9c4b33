"""The float reference: both architectures in NumPy, straight from the published equations.

It shares no code with the graphs that are converted (`edgeseq_converters.graphs`), so an error
in one of them cannot hide in both. Texts of equal length are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.model_folder import BertConfig, LstmConfig, TrainedModel
from edgeseq_converters.arrays import (
    FloatArray,
    LstmCell,
    bert_config,
    lstm_cells,
    lstm_config,
    take,
)

BATCH = 32
IdArray = npt.NDArray[np.int32]


def reference_logits(model: TrainedModel, texts: Sequence[Sequence[int]]) -> FloatArray:
    """Logits float32 [texts, labels] of the float model for texts given as token ids.

    Raises `CheckpointError` when the model's arrays do not fit its configuration.
    """
    forward = _bert(model) if model.manifest.arch == "bert" else _lstm(model)
    logits = np.zeros((len(texts), len(model.manifest.labels)), np.float32)
    for places in _batches(texts):
        logits[places] = forward(np.asarray([texts[place] for place in places], np.int32))
    return logits


def _batches(texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    by_length: dict[int, list[int]] = {}
    for place, token_ids in enumerate(texts):
        by_length.setdefault(len(token_ids), []).append(place)
    for places in by_length.values():
        for start in range(0, len(places), BATCH):
            yield places[start : start + BATCH]


def _lstm(model: TrainedModel) -> Callable[[IdArray], FloatArray]:
    config = lstm_config(model)
    cells = lstm_cells(model)
    embedding = take(model, "embedding.weight", config.vocabulary_size, config.embedding_size)
    features = config.hidden_size * (2 if config.bidirectional else 1)
    labels = len(model.manifest.labels)
    kernel, bias = take(model, "dense.kernel", features, labels), take(model, "dense.bias", labels)

    def forward(token_ids: IdArray) -> FloatArray:
        states = embedding[token_ids]
        for layer in cells:
            directions = [_lstm_direction(layer[0], states)]
            if config.bidirectional:
                directions.append(_lstm_direction(layer[1], states[:, ::-1])[:, ::-1])
            states = np.concatenate(directions, axis=-1)
        return _pool_lstm(config, states) @ kernel + bias

    return forward


def _lstm_direction(cell: LstmCell, inputs: FloatArray) -> FloatArray:
    """inputs [batch, n, in] → states [batch, n, hidden], in the order of the inputs."""
    batch, length, _ = inputs.shape
    hidden = np.zeros((batch, len(cell.recurrent_kernel)), np.float32)
    state = np.zeros_like(hidden)
    states = []
    for t in range(length):
        gates = inputs[:, t] @ cell.kernel + hidden @ cell.recurrent_kernel + cell.bias
        i, f, c, o = np.split(gates, 4, axis=1)
        state = _sigmoid(f) * state + _sigmoid(i) * np.tanh(c)
        hidden = _sigmoid(o) * np.tanh(state)
        states.append(hidden)
    return np.stack(states, axis=1)


def _pool_lstm(config: LstmConfig, states: FloatArray) -> FloatArray:
    """`last` is each direction's own last state: the backward one's belongs to the first token."""
    if config.pooling == "max":
        return np.asarray(states.max(axis=1))
    if config.pooling == "mean":
        return np.asarray(states.mean(axis=1))
    if not config.bidirectional:
        return states[:, -1]
    half = config.hidden_size
    return np.concatenate([states[:, -1, :half], states[:, 0, half:]], axis=1)


def _bert(model: TrainedModel) -> Callable[[IdArray], FloatArray]:
    config = bert_config(model)
    size, labels = config.hidden_size, len(model.manifest.labels)
    name = "embeddings.word_embeddings.weight"
    words = take(model, name, config.vocabulary_size, size)
    name = "embeddings.position_embeddings.weight"
    positions = take(model, name, config.max_position_embeddings, size)
    if config.type_vocabulary_size:
        name = "embeddings.token_type_embeddings.weight"
        positions = positions + take(model, name, config.type_vocabulary_size, size)[0]
    head = take(model, "classifier.weight", labels, size)
    bias = take(model, "classifier.bias", labels)
    parts = _BertParts(model, config)

    def forward(token_ids: IdArray) -> FloatArray:
        states = words[token_ids] + positions[: token_ids.shape[1]]
        states = parts.norm("embeddings.LayerNorm", states)
        for number in range(config.layers):
            states = parts.layer(f"encoder.layer.{number}", states)
        pooled = states[:, 0] if config.pooling == "first" else states.mean(axis=1)
        return np.asarray(pooled @ head.T + bias)

    return forward


class _BertParts:
    """The parts of an encoder layer by the checkpoint's names; states are [batch, n, hidden]."""

    def __init__(self, model: TrainedModel, config: BertConfig) -> None:
        self._model = model
        self._config = config
        self._activation = {"gelu": _gelu, "gelu_new": _gelu_tanh, "relu": _relu}[config.hidden_act]

    def dense(self, name: str, inputs: FloatArray, outputs: int) -> FloatArray:
        weight = take(self._model, f"{name}.weight", outputs, inputs.shape[-1])
        return np.asarray(inputs @ weight.T + take(self._model, f"{name}.bias", outputs))

    def norm(self, name: str, inputs: FloatArray) -> FloatArray:
        size = inputs.shape[-1]
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._config.layer_norm_eps)
        scale, shift = (
            take(self._model, f"{name}.weight", size),
            take(self._model, f"{name}.bias", size),
        )
        return np.asarray(centred / deviation * scale + shift, np.float32)

    def layer(self, name: str, states: FloatArray) -> FloatArray:
        size = self._config.hidden_size
        mixed = self._attention(f"{name}.attention.self", states)
        mixed = self.dense(f"{name}.attention.output.dense", mixed, size)
        states = self.norm(f"{name}.attention.output.LayerNorm", states + mixed)
        inner = self.dense(f"{name}.intermediate.dense", states, self._config.intermediate_size)
        inner = self.dense(f"{name}.output.dense", self._activation(inner), size)
        return self.norm(f"{name}.output.LayerNorm", states + inner)

    def _attention(self, name: str, states: FloatArray) -> FloatArray:
        batch, length, size = states.shape
        heads = self._config.attention_heads
        query, key, value = (
            self.dense(f"{name}.{part}", states, size)
            .reshape(batch, length, heads, size // heads)
            .swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(size // heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = scores / scores.sum(axis=-1, keepdims=True) @ value
        return np.asarray(mixed.swapaxes(1, 2).reshape(batch, length, size))


def _sigmoid(x: FloatArray) -> FloatArray:
    # By tanh, which does not overflow for large negative numbers.
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, np.float32)


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, np.float32(0))


def _gelu(x: FloatArray) -> FloatArray:
    return np.asarray(0.5 * x * (1.0 + _erf(x * np.float32(np.sqrt(0.5)))), np.float32)


def _gelu_tanh(x: FloatArray) -> FloatArray:
    """Hendrycks and Gimpel 2016, the tanh form."""
    inner = np.float32(np.sqrt(2.0 / np.pi)) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1.0 + np.tanh(inner)), np.float32)


def _erf(x: FloatArray) -> FloatArray:
    """Abramowitz and Stegun 1964, formula 7.1.26: |error| <= 1.5e-7, about float32's own."""
    magnitude = np.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * magnitude)
    polynomial = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return np.asarray(np.sign(x) * (1.0 - polynomial * np.exp(-magnitude * magnitude)))
