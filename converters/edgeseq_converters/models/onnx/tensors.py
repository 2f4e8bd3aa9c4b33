"""The tensors of an ONNX graph that are known so far, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.directions import backward_states
from edgeseq_converters.models.network_layers import Embedding, FloatInput, Pool, Recurrent
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.values import (
    FEATURES,
    STACKED,
    Axis,
    Direction,
    Size,
    Stack,
    States,
    TokenStates,
)


@dataclass
class OnnxTensors:
    """Values by name; the network's input; `sizes` of its axes where they are fixed, and which of
    them runs over tokens."""

    opset: int
    sizes: dict[str, int | None]
    values: dict[str, object]
    entry: Embedding | FloatInput | None = None
    tokens: str | None = None
    _names: set[str] = field(default_factory=set)

    def get(self, node: OnnxNode, index: int) -> Any:
        """The input at that position, None where it is left out.

        Raises `CheckpointError` for one that nothing known gives.
        """
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.values:
            raise node.refuse("takes a tensor that nothing known gives", found=name)
        return self.values[name]

    def array(self, node: OnnxNode, index: int) -> np.ndarray[Any, Any] | None:
        """An input that is a constant or left out."""
        value = self.get(node, index)
        if value is None or (isinstance(value, np.ndarray) and value.dtype != object):
            return value
        raise node.refuse("is given something that is computed in place of a weight")

    def weights(self, node: OnnxNode, index: int) -> FloatArray:
        """An input that is a constant of floats."""
        array = self.array(node, index)
        if array is None or array.dtype.kind != "f":
            raise node.refuse(f"has no weights as input {index + 1}")
        return np.asarray(array, np.float32)

    def integers(self, node: OnnxNode, index: int, attribute: str) -> tuple[int, ...] | None:
        """Whole numbers that older operator sets have as an attribute and newer as an input."""
        listed = node.integers(attribute)
        if listed is not None or index >= len(node.inputs) or not node.inputs[index]:
            return listed
        array = self.array(node, index)
        if array is None or array.dtype.kind != "i":
            raise node.refuse(f"has {attribute} that are not whole numbers")
        return tuple(int(value) for value in array.reshape(-1))

    def flow(self, node: OnnxNode, index: int = 0) -> States:
        """An input that is the values after some layers."""
        value = self.get(node, index)
        if isinstance(value, Stack) and len(value.elements) == 1:
            value = replace(value.element(0), axes=tuple(a for a in value.axes if a != (STACKED,)))
        if isinstance(value, Direction):
            return self.plain(value)
        if isinstance(value, TokenStates) and value.is_last:
            pool = Pool(self.named(node), "last")
            return value.flow.then(pool, axes=value.axes)
        if not isinstance(value, States):
            raise node.refuse("is applied to something else than states or ids of the text")
        return value

    def plain(self, value: Direction) -> States:
        """One direction alone as values after layers.

        A network reads from its end only beside a forward direction: both are computed, and a
        dense layer of ones and zeros picks the backward states, exactly.
        """
        layer = replace(value.layer, sequences=value.sequences)
        if not value.backward:
            alone = Recurrent(layer.name, layer.forward, sequences=value.sequences)
            return value.before.then(alone, axes=value.axes, width=value.width)
        pick = backward_states(layer)
        return value.before.then(layer, pick, axes=value.axes, width=value.width)

    def tokens_axis(self, node: OnnxNode, axis: Axis) -> None:
        """Notes that `axis` runs over the tokens; refuses another than before."""
        root = axis[0].partition("'")[0] if len(axis) == 1 else ""
        if len(axis) != 1 or axis[0] not in self.sizes or self.tokens not in (None, root):
            raise node.refuse("does not run over the tokens of the text")
        self.tokens = root

    def windowed(self, axis: Axis, count: Callable[[int], int]) -> Axis:
        """The axis behind windows along `axis`, whose rows are counted by `count`."""
        size = self.sizes[axis[0]]
        name = f"{axis[0]}'{len(self.sizes)}"
        self.sizes[name] = None if size is None else count(size)
        return (name,)

    def size(self, axis: Axis, width: int, stacked: int = 1) -> object:
        """The number of values along an axis, a `Size` where it is open."""
        total: object = 1
        for name in axis:
            known = {FEATURES: width, STACKED: stacked}.get(name, self.sizes.get(name))
            size = Size((name,)) if known is None else known
            total = size * total  # type: ignore[operator]
        return total

    def named(self, node: OnnxNode) -> str:
        """A layer's name that no other layer has, from the node's."""
        base = node.name.strip("/").replace("/", ".") or node.operator
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}.{count}"
        self._names.add(name)
        return name


def axis_number(node: OnnxNode, axis: int, rank: int) -> int:
    """An axis from 0; `CheckpointError` for one beyond the last."""
    if not -rank <= axis < rank:
        raise node.refuse("names an axis that is not there", found=axis, expected=f"< {rank}")
    return axis % rank


def same_layers(first: Sequence[object], second: Sequence[object]) -> bool:
    """Whether both are the very same layers."""
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))
