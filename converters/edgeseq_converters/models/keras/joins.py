"""Keras' layers of several inputs: merges, and attention over pairs of tokens."""

from __future__ import annotations

import numpy as np

from edgeseq_converters.models.keras.checks import check_dtype, check_settings, check_shape
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.weights import KerasWeights, Slot
from edgeseq_converters.models.layer_shapes import LayerShape
from edgeseq_converters.models.network_layers import Attention, Join, Joining

_MERGES: dict[str, Joining] = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Concatenate": "concat",
}
JOINS = (*_MERGES, "Attention", "AdditiveAttention")
"""The classes that `join_of` reads."""


def join_of(layer: KerasLayer, weights: KerasWeights, first: LayerShape) -> Join | Attention:
    """A merge of layers, or an attention of Keras' own; `first` is the shape of its first input.

    Raises `CheckpointError` naming the layer and the setting that a network cannot express.
    """
    check_dtype(layer)
    if len(layer.inputs) < 2:
        raise layer.refuse("has a single input", expected="two or more")
    if layer.class_name in _MERGES:
        check_settings(layer, "axis")
        axis = layer.config.get("axis", -1)
        if axis not in (-1, 1 if first.rows is None else 2):
            raise layer.refuse("does not join features", found=f"axis {axis}", expected="axis -1")
        return Join(layer.name, _MERGES[layer.class_name])
    check_settings(layer, "use_scale", "score_mode", "dropout", "seed", "causal")
    if layer.flag("causal"):
        raise layer.refuse("looks at earlier tokens alone", found="causal=True", expected="False")
    additive = layer.class_name == "AdditiveAttention"
    mode = "additive" if additive else layer.config.get("score_mode", "dot")
    if mode not in ("dot", "concat", "additive"):
        raise layer.refuse("has a strange score_mode", found=mode, expected="dot or concat")
    scaled = layer.flag("use_scale", default=additive)
    slots: list[Slot] = [("", "scale")] * scaled
    if mode == "concat":
        slots.append(("", "concat_score_weight"))
    arrays = weights.arrays(layer, slots)
    sizes = (first.features,) if additive else ()
    for (_, name), array in zip(slots, arrays, strict=True):
        check_shape(layer, name, array, *sizes)
    if additive:
        found = arrays[0] if scaled else np.ones(first.features, np.float32)
        return Attention(layer.name, "additive", found)
    scale = float(arrays[0]) if scaled else 1.0
    if mode == "dot":
        return Attention(layer.name, "dot", None, scale)
    every = np.full(first.features, arrays[-1], np.float32)
    return Attention(layer.name, "additive", every, scale)
