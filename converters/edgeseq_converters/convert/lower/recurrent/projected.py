"""The `projected` lowering: `loop` with the embedding table multiplied by the kernel beforehand.

The product of a token's row and the bottom layer's kernel depends on the token alone, so it can be
looked up. A row has g·H numbers a direction then instead of the embedding's size: a larger file
for fewer products. What that costs and gains is measured in benchmarks/peers (decision 74).
"""

from __future__ import annotations

import numpy as np

from edgeseq.errors import ConversionError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Embedding, FloatInput, Recurrent


def bottom_of(network: Network) -> Recurrent:
    """The recurrent layer behind the embedding.

    Raises `ConversionError` when there is a layer between them, and without a table.
    """
    if isinstance(network.input, FloatInput):
        raise ConversionError(
            "the lowering projected multiplies the table of token embeddings",
            where=network.name,
            found="an input of numbers",
            fix="choose --lowering loop",
        )
    first = network.layers[0]
    others = any(network.input.name in names for names in network.fed_by.values())
    if isinstance(first, Recurrent) and not others:
        return first
    raise ConversionError(
        "the lowering projected multiplies the table by a recurrent layer's kernel",
        where=network.name,
        found=f"layer {first.name} between them",
        expected="a recurrent layer behind the embedding",
        fix="choose --lowering loop",
    )


def projected_table(network: Network) -> Embedding:
    """The table [vocabulary, directions · g·H] of what the bottom layer adds up from a token:
    its row times the input kernel, plus the bias; forward before backward.

    Computed in float64. Raises `ConversionError` as `bottom_of` does.
    """
    cells, embedding = bottom_of(network).cells, network.embedding
    kernel = _kernel(network)[: embedding.table.shape[1]]
    bias = np.concatenate([cell.bias for cell in cells])
    table = embedding.table.astype(np.float64) @ kernel.astype(np.float64) + bias
    return Embedding(embedding.name, table.astype(np.float32), embedding.mask_zero)


def word_kernel(network: Network) -> FloatArray:
    """What the bottom layer multiplies the numbers of word features by: [width, directions · g·H].

    Their rows are not multiplied beforehand: each word has several, and the product is small.
    """
    return np.ascontiguousarray(_kernel(network)[network.embedding.table.shape[1] :])


def _kernel(network: Network) -> FloatArray:
    """The input kernels of both directions side by side."""
    return np.concatenate([cell.kernel for cell in bottom_of(network).cells], axis=1)
