"""Makes an encoder smaller before it is trained or converted: fewer layers, fewer pieces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BertConfig, TrainedModel
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE, layer_sources
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint
from edgeseq_converters.models.vocabulary import (
    TrimmedVocabulary,
    renumbered_marks,
    trim_pieces,
)

_BY_WORD = (WORD_TABLE, "decoder.weight", "decoder.bias")
"""Arrays with a row for each piece."""


def evenly_spaced_layers(layers: int, count: int) -> tuple[int, ...]:
    """The numbers of `wanted` of `layers` layers, evenly spread from the lowest on.

    Every second one for half of them, as DistilBERT starts from BERT (Sanh et al. 2019, section
    2). Raises `InputError` when there are not so many.
    """
    if not 1 <= count <= layers:
        raise InputError(
            "cannot keep so many layers",
            where="layers",
            found=count,
            expected=f"1 to {layers}",
        )
    return tuple(number * layers // count for number in range(count))


def keep_layers(checkpoint: BertCheckpoint, count: int) -> BertCheckpoint:
    """The checkpoint with `wanted` of its layers (see `kept_layers`), to be fine-tuned.

    Raises `InputError` when it has not so many.
    """
    config = checkpoint.config
    layer_indices = evenly_spaced_layers(config.layers, count)
    if config.layer_sources:
        config, weights = _keep_shared(config, layer_indices, checkpoint.weights)
    else:
        config = msgspec.structs.replace(config, layers=count)
        weights = _renumbered(
            checkpoint.weights, {old: new for new, old in enumerate(layer_indices)}
        )
    identity = f"{checkpoint.identity}, layers {', '.join(map(str, layer_indices))}"
    return msgspec.structs.replace(checkpoint, config=config, weights=weights, identity=identity)


def _keep_shared(
    config: BertConfig, layer_indices: tuple[int, ...], weights: dict[str, Any]
) -> tuple[BertConfig, dict[str, Any]]:
    """Layers that share arrays: the arrays that are left are numbered anew."""
    sources = [layer_sources(config)[number] for number in layer_indices]
    new = {old: number for number, old in enumerate(dict.fromkeys(sources))}
    fields = {"layers": len(layer_indices), "layer_sources": tuple(new[old] for old in sources)}
    return msgspec.structs.replace(config, **fields), _renumbered(weights, new)


def _renumbered(weights: dict[str, Any], new: dict[int, int]) -> dict[str, Any]:
    renumbered = {}
    for name, array in weights.items():
        layer = re.match(r"encoder\.layer\.(\d+)\.", name)
        if layer is None:
            renumbered[name] = array
        elif (number := int(layer[1])) in new:
            renumbered[f"encoder.layer.{new[number]}.{name[layer.end() :]}"] = array
    return renumbered


def trim_checkpoint(
    checkpoint: BertCheckpoint, texts: Sequence[str], *, min_count: int = 1
) -> BertCheckpoint:
    """The checkpoint with the pieces that `texts` use (see `trim_pieces`).

    A text whose pieces are all kept gets the same states as before, to the last bit. Raises
    `CheckpointError` when the tokenizer is neither WordPiece nor BPE.
    """
    trimmed = trim_pieces(checkpoint.tokenizer_json, texts, min_count=min_count)
    config, weights = _trimmed(checkpoint.config, checkpoint.weights, trimmed)
    identity = f"{checkpoint.identity}, {config.vocabulary_size} pieces"
    return BertCheckpoint(config, weights, trimmed.tokenizer_json, identity)


def trim_model(model: TrainedModel, texts: Sequence[str], *, min_count: int = 1) -> TrainedModel:
    """The same for a model with its head; a head over the vocabulary knows the kept words alone.

    Raises `CheckpointError` for a model that is not a BERT or whose tokenizer is neither.
    """
    if model.manifest.bert is None:
        raise CheckpointError("is not a BERT", where=model.manifest.name)
    trimmed = trim_pieces(model.tokenizer_json, texts, min_count=min_count)
    config, weights = _trimmed(model.manifest.bert, model.weights, trimmed)
    manifest = msgspec.structs.replace(model.manifest, bert=config)
    return TrainedModel(manifest, weights, trimmed.tokenizer_json)


def _trimmed(
    config: BertConfig, weights: dict[str, Any], trimmed: TrimmedVocabulary
) -> tuple[BertConfig, dict[str, Any]]:
    kept_ids = trimmed.kept_ids
    arrays: dict[str, FloatArray] = dict(weights)
    for name in _BY_WORD:
        if name in arrays:
            arrays[name] = np.ascontiguousarray(arrays[name][kept_ids])
    marks = renumbered_marks(config.marker_ids, kept_ids)
    return msgspec.structs.replace(config, vocabulary_size=len(kept_ids), marker_ids=marks), arrays
