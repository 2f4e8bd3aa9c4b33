"""A checkpoint's tensors as the arrays of a `BertConfig`."""

from __future__ import annotations

import numpy as np

from edgeseq.formats.trained_model import BertConfig
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import encoder_shapes, head_shapes
from edgeseq_converters.models.huggingface.config import Described
from edgeseq_converters.models.huggingface.weights import (
    CheckpointWeights,
    spellings,
    take_tensor,
)

_POSITIONS = "embeddings.position_embeddings.weight"
_WORDS = "embeddings.word_embeddings.weight"


def collect(
    described: Described, config: BertConfig, weights: CheckpointWeights, *, labels: int | None
) -> dict[str, FloatArray]:
    """The arrays of the encoder and, unless `labels` is None, of its head, as float32.

    Names in the checkpoint are the family's, with or without the model's prefix; arrays that are
    not needed are left out. Raises `CheckpointError` naming the tensor when one is missing, has
    another shape or type, or holds NaN or infinity.
    """
    reader = _Reader(described, config, weights)
    shapes = encoder_shapes(config)
    if labels is not None:
        shapes |= head_shapes(config, labels)
    arrays = {}
    for name, shape in shapes.items():
        if name == _POSITIONS:
            arrays[name] = reader.positions(shape)
        elif name == "decoder.weight" and config.trigram:
            arrays[name] = reader.wide_decoder(shape)
        else:
            arrays[name] = reader.take_tensor(name, shape)
    return arrays


class _Reader:
    def __init__(
        self, described: Described, config: BertConfig, weights: CheckpointWeights
    ) -> None:
        self._described = described
        self._config = config
        self._weights = weights

    def take_tensor(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        described = self._described
        family = described.family
        checkpoint_name = family.checkpoint_name(name, described.config, head=self._config.head)
        names = spellings(checkpoint_name, family.prefix)
        if name == "decoder.bias":
            # Where the decoder is tied, its bias is too, and only the former one counts.
            inner = (checkpoint_name.removesuffix("bias") + "decoder.bias",)
            names = names + inner if self._config.tied_decoder else inner + names
        return take_tensor(self._weights, names, shape)

    def positions(self, shape: tuple[int, ...]) -> FloatArray:
        """The table from the row of the first token on."""
        skipped = self._described.family.first_position(self._described.config)
        return self.take_tensor(_POSITIONS, (shape[0] + skipped, *shape[1:]))[skipped:]

    def wide_decoder(self, shape: tuple[int, ...]) -> FloatArray:
        """MobileBERT's: the embedding table, and the columns that it needs to reach the hidden
        size."""
        rows, width = shape
        words = self._config.embedding_size or 0
        name = "cls.predictions.dense.weight"
        rest = take_tensor(self._weights, (name,), (width - words, rows))
        return np.concatenate([self.take_tensor(_WORDS, (rows, words)), rest.T], axis=1)
