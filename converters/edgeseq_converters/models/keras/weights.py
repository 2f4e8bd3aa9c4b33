"""A Keras layer's arrays, wherever a Keras version put them.

A layer asks for its arrays as slots: (path of the part that owns it, variable's name), in the
order in which Keras made them, such as ("cell", "kernel"), ("cell", "recurrent_kernel").
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import KerasLayer, KerasModel
from edgeseq_converters.models.keras.hdf5 import Hdf5

Slot = tuple[str, str]


class KerasWeights(Protocol):
    """Where the arrays of a model's layers stand."""

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        """The layer's arrays in the slots' order.

        Raises `CheckpointError` when one is missing or the layer has others.
        """


class KerasFileWeights:
    """`model.weights.h5` of a `.keras` file: `layers/lstm_1/cell/vars/0`.

    A layer's folder is named after its class, counted among the layers of that class in order
    (keras/src/saving/saving_lib.py); Keras 3 notes the layer's own name beside it.
    """

    def __init__(
        self, file: Hdf5, folders: Mapping[str, str], *, checks_names: bool = True
    ) -> None:
        """`folders` by layer (see `folders_of`). Without `checks_names` a layer may have had
        another name when its weights were saved: Keras itself goes by the folders."""
        self._file = file
        self._folders = folders
        self._checks_names = checks_names

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        folder = self._folders[layer.name]
        noted = self._file.texts(f"{folder}/vars", "name")
        if self._checks_names and noted is not None and noted != (layer.name,):
            raise layer.refuse("has the weights of another layer", found=noted[0])
        arrays: list[FloatArray] = []
        counts: Counter[str] = Counter()
        for part, variable in slots:
            path = "/".join(p for p in (folder, part, "vars", str(counts[part])) if p)
            counts[part] += 1
            if not self._file.holds(path):
                raise layer.refuse(f"has no array {variable}", expected=path)
            arrays.append(self._file.array(path))
        for part, number in counts.items():
            path = "/".join(p for p in (folder, part, "vars") if p)
            if len(self._file.names(path)) != number:
                raise layer.refuse("has more arrays than its settings say", expected=number)
        return arrays


def folders_of(model: KerasModel) -> dict[str, str]:
    """The folder of each layer's arrays by the layer's name."""
    folders: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for layer in model.layers:
        kind = _snake_case(layer.class_name)
        number = counts[kind]
        counts[kind] += 1
        folders[layer.name] = f"layers/{kind}_{number}" if number else f"layers/{kind}"
    return folders


class LegacyWeights:
    """The groups of an `.h5` of Keras 2: one for each layer, whose attribute names its arrays in
    order. `groups` has the group of a layer where it is not called like the layer."""

    def __init__(
        self, file: Hdf5, root: str = "model_weights", groups: Mapping[str, str] | None = None
    ) -> None:
        self._file = file
        self._root = root
        self._groups = groups or {}

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        group = f"{self._root}/{self._groups.get(layer.name, layer.name)}"
        names = self._file.texts(group, "weight_names") or ()
        variables = [re.sub(r":\d+$", "", name).split("/")[-1] for name in names]
        expected = [variable for _part, variable in slots]
        if variables != expected:
            raise layer.refuse(
                "has arrays that do not match the layer's config",
                found=", ".join(variables) or "none",
                expected=", ".join(expected),
            )
        return [self._file.array(f"{group}/{name}") for name in names]


def _snake_case(name: str) -> str:
    """Keras' own rule: `GlobalMaxPooling1D` is `global_max_pooling1d`, `GRU` is `gru`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
