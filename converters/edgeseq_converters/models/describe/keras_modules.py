"""The layers of a Keras file of weights as modules.

A layer's folder is called after its class in Keras 3 and, unless its owner named it, in Keras 2:
`global_max_pooling1d_1`. A layer with weights is told by its arrays, whatever it is called.
"""

from __future__ import annotations

import re

from edgeseq_converters.models.describe.modules import FoundModule, FoundWeights, ModuleKind
from edgeseq_converters.models.keras.hdf5 import Hdf5
from edgeseq_converters.models.keras.weight_layers import WeightLayer, is_legacy, weight_layers

_WITHOUT_WEIGHTS = {
    "global_max_pooling1d": "max",
    "global_max_pool1d": "max",
    "global_average_pooling1d": "mean",
    "global_avg_pool1d": "mean",
}
_NOTHING = re.compile(
    r"(input|dropout|spatial_dropout1d|gaussian_(noise|dropout)|top_level_model_weights|"
    r"activity_regularization|masking)(_?\d+)?$"
)
_GATES: dict[int, ModuleKind] = {4: "lstm", 3: "gru", 1: "rnn"}


def keras_weights(file: Hdf5) -> FoundWeights:
    """The layers of a file of weights; raises `CheckpointError` for another kind of file."""
    legacy = is_legacy(file)
    found = (_module(layer) for layer in weight_layers(file))
    modules = tuple(module for module in found if module is not None)
    return FoundWeights(modules, is_ordered=legacy, is_complete=True, framework="keras")


def _module(layer: WeightLayer) -> FoundModule | None:
    if not layer.arrays:
        return _without_weights(layer.name)
    shapes = layer.shapes
    ranks = tuple(len(shape) for shape in shapes)
    if len(shapes) in (2, 3, 4, 6) and ranks[:2] == (2, 2):
        return _recurrent(layer)
    if ranks == (2,):
        is_table = layer.arrays[0] == "embeddings" or layer.name.startswith("embedding")
        rows, size = shapes[0]
        return FoundModule("table" if is_table else "linear", layer.name, rows, size)
    if ranks == (2, 1) and shapes[0][1] == shapes[1][0]:
        return FoundModule("linear", layer.name, shapes[0][0], shapes[0][1])
    if ranks in ((1, 1, 1, 1), (1, 1)):
        kind: ModuleKind = "batch_norm" if len(ranks) == 4 else "layer_norm"
        return FoundModule(kind, layer.name, shapes[0][0])
    note = f"has arrays of shapes {', '.join(str(list(shape)) for shape in shapes)}"
    return FoundModule("other", layer.name, note=note)


def _recurrent(layer: WeightLayer) -> FoundModule:
    (inputs, columns), (hidden, _) = layer.shapes[:2]
    kind = _GATES.get(columns // max(hidden, 1))
    if kind is None:
        return FoundModule("other", layer.name, note="has another number of gates")
    directions = 2 if len(layer.shapes) in (4, 6) else 1
    return FoundModule(kind, layer.name, inputs, hidden * directions, directions)


def _without_weights(name: str) -> FoundModule | None:
    """By its name alone: pooling, an activation, or nothing."""
    base = re.sub(r"_\d+$", "", name)
    if base in _WITHOUT_WEIGHTS:
        return FoundModule("pool", name, how=_WITHOUT_WEIGHTS[base])
    if _NOTHING.match(name):
        return None
    if base in ("activation", "re_lu", "softmax"):
        how = {"re_lu": "relu", "softmax": "softmax"}.get(base, "")
        return FoundModule("activation", name, how=how)
    return FoundModule("other", name, note="has no weights and is not known by its name")
