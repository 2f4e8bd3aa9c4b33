"""The float reference: both architectures in NumPy, straight from the published equations.

It shares no code with the graphs that are converted (`edgeseq_converters.graphs`), so an error
in one of them cannot hide in both. Texts of equal length are computed together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.model_folder import LstmConfig, TrainedModel
from edgeseq_converters.arrays import (
    FloatArray,
    LstmCell,
    lstm_cells,
    lstm_config,
    take,
)
from edgeseq_converters.bert_reference import BertReference

BATCH = 32
IdArray = npt.NDArray[np.int32]


def reference_logits(model: TrainedModel, texts: Sequence[Sequence[int]]) -> FloatArray:
    """Logits float32 [texts, labels] of the float model for texts given as token ids.

    Raises `CheckpointError` when the model's arrays do not fit its configuration.
    """
    forward = BertReference(model) if model.manifest.arch == "bert" else _lstm(model)
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


def _sigmoid(x: FloatArray) -> FloatArray:
    # By tanh, which does not overflow for large negative numbers.
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, np.float32)
