"""Takes arrays out of a trained model, checked; shared by the graphs and the float reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import LstmConfig, TrainedModel

FloatArray = npt.NDArray[np.float32]
ModelInput = Sequence[int] | Sequence[Sequence[int]] | FloatArray
"""What a model is given: the token ids of a text, each with the rows of its word's features behind
it where the model has them, or numbers [n, features]."""


def token_ids_of(text: ModelInput) -> tuple[int, ...]:
    """The ids of a text without the rows of its words' features."""
    rows = np.asarray(text, np.int64)
    ids: list[int] = (rows if rows.ndim == 1 else rows[:, 0]).tolist()
    return tuple(ids)


def word_rows_of(text: ModelInput) -> tuple[int, ...]:
    """The rows of a text's word features, one token's behind the other's; () without any."""
    rows = np.asarray(text, np.int64)
    flat: list[int] = [] if rows.ndim == 1 else rows[:, 1:].ravel().tolist()
    return tuple(flat)


def vocabulary_size(model: TrainedModel) -> int:
    """Number of token ids that the model takes."""
    manifest = model.manifest
    config = manifest.bag or manifest.lstm or manifest.network or manifest.bert
    return 0 if config is None else config.vocabulary_size


def take_array(model: TrainedModel, name: str, *shape: int) -> FloatArray:
    """The array `name` as float32 of exactly `shape`.

    Raises `CheckpointError` when it is missing, has another shape, or holds NaN or infinity.
    """
    where = f"{model.manifest.name}: weights.safetensors"
    if name not in model.weights:
        raise CheckpointError(f"has no array {name}", where=where, fix="train again")
    array = np.asarray(model.weights[name], dtype=np.float32)
    if array.shape != shape:
        raise CheckpointError(
            f"array {name} does not have the shape that model.json gives",
            where=where,
            found=list(array.shape),
            expected=list(shape),
            fix="train again",
        )
    if not np.isfinite(array).all():
        raise CheckpointError(
            f"array {name} holds a value that is not a number", where=where, fix="train again"
        )
    return array


def word_table(model: TrainedModel) -> FloatArray | None:
    """The table [rows, size] of the model's word features, None where it has none."""
    words = model.manifest.word_features
    if words is None:
        return None
    return take_array(model, "word_features.weight", words.table_rows, words.size)


def lstm_config(model: TrainedModel) -> LstmConfig:
    """The LSTM's dimensions; raises `CheckpointError` for a model of another architecture."""
    if model.manifest.lstm is None:
        raise CheckpointError("is not an LSTM", where=model.manifest.name)
    return model.manifest.lstm


def check_marks(marks: Sequence[int], vocabulary_size: int, *, where: str) -> None:
    """Raises `CheckpointError` unless `marks` are two or more different ids of the vocabulary."""
    known = all(0 <= mark < vocabulary_size for mark in marks)
    if len(set(marks)) < max(2, len(marks)) or not known:
        raise CheckpointError(
            "pooling by marks needs the ids of two different tokens or more",
            where=where,
            found=list(marks),
            expected=f"ids below {vocabulary_size}",
        )


class LstmCell:
    """Arrays of one direction of one layer: kernel [in, 4H], recurrent kernel [H, 4H], bias [4H];
    gates in Keras' order i, f, c, o."""

    def __init__(self, model: TrainedModel, layer: int, direction: str) -> None:
        config = lstm_config(model)
        directions = 2 if config.bidirectional else 1
        inputs = config.hidden_size * directions
        if layer == 0:
            words = model.manifest.word_features
            inputs = config.embedding_size + (0 if words is None else words.width)
        gates = 4 * config.hidden_size
        prefix = f"lstm.{layer}.{direction}."
        self.kernel = take_array(model, prefix + "kernel", inputs, gates)
        self.recurrent_kernel = take_array(
            model, prefix + "recurrent_kernel", config.hidden_size, gates
        )
        self.bias = take_array(model, prefix + "bias", gates)


def lstm_cells(model: TrainedModel) -> tuple[tuple[LstmCell, ...], ...]:
    """The cells by layer and, within a layer, by direction (forward, then backward)."""
    config = lstm_config(model)
    directions = ("forward", "backward") if config.bidirectional else ("forward",)
    return tuple(
        tuple(LstmCell(model, layer, direction) for direction in directions)
        for layer in range(config.layers)
    )
