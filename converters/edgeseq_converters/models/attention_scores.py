"""Attention pooling from the dense layers that give its scores, for graphs of any framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from edgeseq_converters.models.network_layers import Activation, AttentionPool, Dense, Layer


def split_scorers(layers: Sequence[Layer]) -> tuple[tuple[Layer, ...], tuple[Layer, ...]] | None:
    """Layers that give states, and one or two dense layers after them that give one score each.

    None where the last layer does not give one score.
    """
    start = len(layers)
    while start and isinstance(layers[start - 1], Dense | Activation):
        start -= 1
    states, scorers = tuple(layers[:start]), tuple(layers[start:])
    last = scorers[-1] if scorers else None
    if not isinstance(last, Dense) or last.bias.size != 1:
        return None
    return states, scorers


def pool_by_scores(name: str, scorers: Sequence[Layer]) -> AttentionPool | str:
    """The pooling, or what is wrong with its scores.

    The softmax does not see a bias of the last score: it is the same for every token.
    """
    dense = [layer for layer in scorers if isinstance(layer, Dense)]
    *hidden, last = dense
    if len(dense) != len(scorers) or len(hidden) > 1:
        return "expected scores of one or two dense layers"
    first = hidden[0] if hidden else last
    if first.function not in ("tanh", "linear") or (hidden and last.function != "linear"):
        return "applies a function that is not tanh to the scores"
    query = np.ascontiguousarray(last.kernel[:, 0]) if hidden else np.ones(1, np.float32)
    function: Literal["tanh", "linear"] = "tanh" if first.function == "tanh" else "linear"
    return AttentionPool(name, first.kernel, first.bias, query, function)
