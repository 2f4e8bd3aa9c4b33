"""The layers that a Keras file of weights has arrays of, by their names and shapes.

Keras 2 writes a group for each layer of the model, in order, with its arrays' names; Keras 3 a
folder for each layer, named after its class, with its arrays by number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.keras.hdf5 import Hdf5

_PARTS = ("", "layer", "cell", "forward_layer/cell", "backward_layer/cell")
"""Parts of a layer that own arrays, in the order in which Keras made them."""


@dataclass(frozen=True)
class WeightLayer:
    """A layer's group: its name, the names of its arrays without their layers' (Keras 3 has
    numbers), and their shapes. `part` says where they lie within the layer."""

    name: str
    arrays: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    part: str = ""


def is_legacy(file: Hdf5) -> bool:
    """Whether the layers are Keras 2's groups; raises `CheckpointError` for neither layout."""
    if file.texts("", "layer_names") is not None:
        return True
    if not file.names("layers"):
        raise CheckpointError(
            "is not a file of Keras weights", where=file.where, fix="model.save_weights(…)"
        )
    return False


def weight_layers(file: Hdf5) -> tuple[WeightLayer, ...]:
    """All layers, those without arrays as well: Keras 2's in the model's order."""
    if is_legacy(file):
        return tuple(_legacy(file, name) for name in file.texts("", "layer_names") or ())
    return tuple(_numbered(file, name) for name in file.names("layers"))


def _legacy(file: Hdf5, name: str) -> WeightLayer:
    paths = file.texts(name, "weight_names") or ()
    variables = tuple(re.sub(r":\d+$", "", path).split("/")[-1] for path in paths)
    return WeightLayer(name, variables, tuple(file.shape(f"{name}/{path}") for path in paths))


def _numbered(file: Hdf5, name: str) -> WeightLayer:
    arrays: list[str] = []
    shapes: list[tuple[int, ...]] = []
    owner = ""
    for part in _PARTS:
        folder = "/".join(piece for piece in ("layers", name, part, "vars") if piece)
        for number in range(len(file.names(folder))):
            arrays.append(str(number))
            shapes.append(file.shape(f"{folder}/{number}"))
            owner = part.partition("/")[0]
    return WeightLayer(name, tuple(arrays), tuple(shapes), owner)
