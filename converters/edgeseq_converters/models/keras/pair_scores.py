"""Recognises attention over pairs of tokens that is written out in a functional Keras model.

scores = Dot(axes=2)([query, key])              [n, m]
weights = Softmax()(scores)                     or Activation("softmax")
attended = Dot(axes=(2, 1))([weights, value])   [n, features]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeseq_converters.models.keras.checks import check_dtype, check_settings
from edgeseq_converters.models.keras.config import KerasLayer


@dataclass(frozen=True)
class PairScores:
    """A score of each pair of tokens; `query` and `key` are names of Keras' layers."""

    query: str
    key: str
    is_softmax: bool = False


def pair_scores_of(layer: KerasLayer, known: Mapping[str, PairScores]) -> PairScores | None:
    """The scores that a layer gives, None if it gives something else.

    `known` are those that are read so far, by Keras' name. A function of scores that is not a
    softmax over the keys is refused with a `CheckpointError`.
    """
    if known.keys().isdisjoint(layer.inputs):
        if layer.class_name != "Dot" or len(layer.inputs) != 2:
            return None
        if _axes(layer) != (2, 2) or layer.flag("normalize"):
            return None
        check_dtype(layer)
        check_settings(layer, "axes", "normalize")
        return PairScores(*layer.inputs)
    check_dtype(layer)
    scores = known.get(layer.inputs[0]) if len(layer.inputs) == 1 else None
    is_softmax = layer.config.get("activation") == "softmax" or (
        layer.class_name == "Softmax" and layer.config.get("axis", -1) in (-1, 2, [-1], [2])
    )
    is_function = layer.class_name in ("Activation", "Softmax")
    if scores is None or scores.is_softmax or not (is_function and is_softmax):
        raise layer.refuse(
            "computes with the scores of pairs of tokens", expected="a softmax over the last axis"
        )
    return replace(scores, is_softmax=True)


def attended_by(layer: KerasLayer, known: Mapping[str, PairScores]) -> tuple[str, str, str] | None:
    """Query, value and key, by Keras' names, of the layer that weighs the values by scores."""
    if layer.class_name != "Dot" or len(layer.inputs) != 2 or layer.inputs[0] not in known:
        return None
    scores, value = known[layer.inputs[0]], layer.inputs[1]
    if _axes(layer) != (2, 1) or layer.flag("normalize") or not scores.is_softmax:
        raise layer.refuse(
            "does not weigh the values of tokens by a softmax of their scores",
            found=f"axes {layer.config.get('axes')}",
            expected="axes (2, 1)",
        )
    check_dtype(layer)
    check_settings(layer, "axes", "normalize")
    return scores.query, value, scores.key


def _axes(layer: KerasLayer) -> tuple[int, int] | None:
    """Of two sequences [texts, tokens, features], counted from the front."""
    axes = layer.config.get("axes")
    pair = axes if isinstance(axes, list) else [axes, axes]
    known = [axis % 3 for axis in pair if isinstance(axis, int) and -3 <= axis < 3]
    return (known[0], known[1]) if len(known) == len(pair) == 2 else None
