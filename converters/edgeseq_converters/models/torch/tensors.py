"""The tensors of an exported module that are known so far, by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import Embedding, FloatInput
from edgeseq_converters.models.torch.values import Ids, LayerOutput, Name, Node


class Tensors:
    """Weights and the module's input at first; each operation adds what it gives.

    The input `name` is token ids, or the numbers of `entry` where that is given.
    """

    def __init__(
        self, arrays: Mapping[str, FloatArray], name: str, entry: FloatInput | None = None
    ) -> None:
        self.entry: Embedding | FloatInput | None = entry
        self._values: dict[str, object] = {name: LayerOutput(()) if entry else Ids(), **arrays}
        self._count = 0

    def put(self, name: str, value: object) -> None:
        """What the tensor of that name means."""
        self._values[name] = value

    def forget_all_but_weights(self) -> None:
        """After an operation in place: whatever shares its memory is no longer what it was."""
        weights = (np.ndarray, Ids)
        self._values = {
            name: value for name, value in self._values.items() if isinstance(value, weights)
        }

    def at(self, name: str) -> object:
        """What the tensor of that name means, None when nothing known gave it."""
        return self._values.get(name)

    def get(self, node: Node, key: str) -> object:
        """An operation's argument; `CheckpointError` for a tensor that is not known."""
        argument = node.arguments.get(key)
        if isinstance(argument, Name):
            if argument.name not in self._values:
                raise node.refuse("takes a tensor that nothing known gives")
            return self._values[argument.name]
        return argument

    def array(self, node: Node, key: str) -> FloatArray | None:
        """An argument that is a weight or left out."""
        value = self.get(node, key)
        if value is None or isinstance(value, np.ndarray):
            return value
        raise node.refuse(f"takes a {key} that is computed")

    def needed(self, node: Node, key: str) -> FloatArray:
        """An argument that is a weight."""
        value = self.array(node, key)
        if value is None:
            raise node.refuse(f"has no {key}")
        return value

    def flow(self, node: Node, key: str = "self") -> LayerOutput:
        """An argument that is the values after some layers."""
        value = self.get(node, key)
        if not isinstance(value, LayerOutput):
            raise node.refuse("is applied to something else than states or ids of the text")
        return value

    def named(self, kind: str) -> str:
        """A name for a layer, which the graph has none for."""
        self._count += 1
        return f"{kind}.{self._count}"
