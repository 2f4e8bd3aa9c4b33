"""What the tensors of an ONNX graph mean.

ONNX says an axis by its position alone, and exporters turn axes freely. So every value here carries
what its axes are: a tuple of names for each, empty for an axis of one, of several names for axes
that were flattened into one (texts and tokens before a matrix product). The axes of the token ids
are "0" and "1"; which of them runs over the tokens is known at the first layer that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgeseq_converters.models.network_layers import Layer, Recurrent

Axis = tuple[str, ...]
FEATURES = "features"
STACKED = "stacked"


@dataclass(frozen=True)
class Size:
    """A size that is open: `factor` times the sizes of these axes."""

    names: Axis
    factor: int = 1

    def __mul__(self, other: object) -> object:
        if isinstance(other, Size):
            return Size(tuple(sorted((*self.names, *other.names))), self.factor * other.factor)
        return replace(self, factor=self.factor * int(other))  # type: ignore[call-overload]

    __rmul__ = __mul__


@dataclass(frozen=True)
class TokenIds:
    """The token ids."""

    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class TextLengths:
    """The number of tokens of each text: a second input, for texts that were padded."""


@dataclass(frozen=True)
class ZeroTensor:
    """A tensor of zeros, of any shape."""


@dataclass(frozen=True)
class States:
    """The values after these layers; one axis holds the `width` features.

    Each layer is fed by the one before it, or by those at the positions that `inputs` has for its
    own position; −1 is the network's input.
    """

    layers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    width: int
    inputs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def then(
        self, *layers: Layer, axes: tuple[Axis, ...] | None = None, width: int | None = None
    ) -> States:
        """The values after further layers."""
        return States(
            (*self.layers, *layers),
            self.axes if axes is None else axes,
            self.width if width is None else width,
            self.inputs,
        )

    def without_last(self) -> States:
        """The values before the last layer; one that takes its position is fed as that was."""
        return replace(self, layers=self.layers[:-1])


@dataclass(frozen=True)
class Direction:
    """One direction of `layer`, whose inputs are `before`.

    With `sequences` a state of each token, without the one after its last.
    """

    before: States
    layer: Recurrent
    backward: bool
    sequences: bool
    axes: tuple[Axis, ...]

    @property
    def width(self) -> int:
        return self.layer.forward.hidden_size


@dataclass(frozen=True)
class TokenStates:
    """The states of the last or the first token, after the layer of two directions that ends
    `flow`: of the first token the backward half alone is a state that a network knows."""

    flow: States
    is_last: bool
    axes: tuple[Axis, ...]

    @property
    def width(self) -> int:
        return self.flow.width


@dataclass(frozen=True)
class Stack:
    """Values side by side on the axis named `STACKED`: the directions of a layer, or the last
    states of several layers. The elements' own axes are these without that one."""

    elements: tuple[States | Direction, ...]
    axes: tuple[Axis, ...]

    @property
    def width(self) -> int:
        return self.elements[0].width

    def element(self, index: int) -> States | Direction:
        """One of them by its position."""
        axes = tuple(axis for axis in self.axes if axis != (STACKED,))
        return replace(self.elements[index], axes=axes)


@dataclass(frozen=True)
class Shares:
    """A softmax over the tokens of one score each, which `scorers` compute after `flow`."""

    flow: States
    scorers: tuple[Layer, ...]
    axes: tuple[Axis, ...]
    width: int = 1


@dataclass(frozen=True)
class WeightedStates:
    """States times their shares, before the sum over the tokens."""

    shares: Shares
    axes: tuple[Axis, ...]
    width: int


Shaped = TokenIds | States | Direction | TokenStates | Stack | Shares | WeightedStates


def with_axes(value: Shaped, axes: tuple[Axis, ...]) -> Shaped:
    """The same values with other axes."""
    return replace(value, axes=axes)
