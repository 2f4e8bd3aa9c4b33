"""Vectors to start a table of words from: a checkpoint's word pieces, projected down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgeseq.datasets.wikitext import EOS, UNKNOWN
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.huggingface.checkpoint import (
    DEFAULT_CHECKPOINT,
    BertCheckpoint,
    read_checkpoint,
)

DEVIATION = 0.07
_NOISE = 0.02
"""Words that a tokenizer without capitals takes for one must be able to part."""
_SPECIAL = {EOS: "[SEP]", UNKNOWN: "[UNK]", "@-@": "-", "@,@": ",", "@.@": "."}


class Reduced(NamedTuple):
    """Vectors [words, size], and what leads back: vectors · `axes` [size, hidden] + `mean`
    [hidden] is about the row that the checkpoint has for the word."""

    vectors: FloatArray
    axes: FloatArray
    mean: FloatArray


def word_vectors(
    words: Sequence[str],
    frequencies: FloatArray,
    size: int,
    rng: np.random.Generator,
    *,
    checkpoint: str | Path | None = None,
    data_dir: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> FloatArray:
    """Vectors [words, size] of the checkpoint that is named (`reduced_vectors`).

    The same help as the opponent gets, which starts from the same checkpoint. Raises `FetchError`
    and `CheckpointError`.
    """
    source = read_checkpoint(checkpoint or DEFAULT_CHECKPOINT, data_dir=data_dir, progress=progress)
    return reduced_vectors(source, words, frequencies, size, rng).vectors


def reduced_vectors(
    source: BertCheckpoint,
    words: Sequence[str],
    frequencies: FloatArray,
    size: int,
    rng: np.random.Generator,
) -> Reduced:
    """The mean of each word's pieces in the checkpoint's table, reduced by principal components
    that weigh a word by the root of its frequency [words].

    WikiText's marks of joined numbers stand for their sign.
    """
    from tokenizers import Tokenizer

    table = np.asarray(source.weights["embeddings.word_embeddings.weight"], np.float64)
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = tokenizer.encode_batch(
        [_SPECIAL.get(word, word) for word in words], add_special_tokens=False
    )
    rows = np.stack([table[own.ids].mean(0) if own.ids else table.mean(0) for own in pieces])
    weights = np.sqrt(frequencies.astype(np.float64))
    weights /= weights.sum()
    mean = weights @ rows
    rows -= mean
    _values, axes = np.linalg.eigh((rows * weights[:, None]).T @ rows)
    kept = min(size, rows.shape[1])
    back = np.zeros((size, rows.shape[1]))
    back[:kept] = axes[:, ::-1][:, :kept].T
    vectors = rows @ back.T
    scale = DEVIATION / max(float(vectors.std()), 1e-9)
    vectors = vectors * scale + rng.normal(size=vectors.shape, scale=_NOISE)
    return Reduced(
        vectors.astype(np.float32), (back / scale).astype(np.float32), mean.astype(np.float32)
    )
