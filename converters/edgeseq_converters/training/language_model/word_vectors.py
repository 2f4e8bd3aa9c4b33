"""An initial embedding table of words: a checkpoint's word pieces, projected down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from edgeseq.tasks.examples import EOS, UNKNOWN
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint

DEVIATION = 0.07
_NOISE = 0.02
"""Words that a lower-casing tokenizer does not tell apart must be able to diverge."""
_SPECIAL = {EOS: "[SEP]", UNKNOWN: "[UNK]", "@-@": "-", "@,@": ",", "@.@": "."}


class ReducedTable(NamedTuple):
    """Vectors [words, size], and the inverse projection: vectors · `axes` [size, hidden] + `mean`
    [hidden] is about the checkpoint's row for the word."""

    vectors: FloatArray
    axes: FloatArray
    mean: FloatArray


def reduced_vectors(
    source: BertCheckpoint,
    words: Sequence[str],
    frequencies: FloatArray,
    size: int,
    rng: np.random.Generator,
) -> ReducedTable:
    """The mean of each word's pieces in the checkpoint's table, reduced by principal components
    that weigh a word by the root of its frequency [words].

    WikiText's marks of joined numbers count as their sign.
    """
    table = np.asarray(source.weights[WORD_TABLE], np.float64)
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = tokenizer.encode_batch(
        [_SPECIAL.get(word, word) for word in words], add_special_tokens=False
    )
    rows = np.stack([table[p.ids].mean(0) if p.ids else table.mean(0) for p in pieces])
    weights = np.sqrt(frequencies.astype(np.float64))
    weights /= weights.sum()
    mean = weights @ rows
    rows -= mean
    _values, axes = np.linalg.eigh((rows * weights[:, None]).T @ rows)
    rank = min(size, rows.shape[1])
    inverse = np.zeros((size, rows.shape[1]))
    inverse[:rank] = axes[:, ::-1][:, :rank].T
    vectors = rows @ inverse.T
    scale = DEVIATION / max(float(vectors.std()), 1e-9)
    vectors = vectors * scale + rng.normal(size=vectors.shape, scale=_NOISE)
    return ReducedTable(
        vectors.astype(np.float32), (inverse / scale).astype(np.float32), mean.astype(np.float32)
    )
