"""What the tensors of an exported module mean, and its operations as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.network_layers import Layer, Pool, Recurrent

_PREFIX = "torch.ops.aten."


@dataclass(frozen=True)
class Node:
    """One operation: its name without the prefix, arguments by name, names of its outputs.

    An argument that is a tensor is a `Name`, a list of tensors a tuple of them.
    """

    where: str
    target: str
    arguments: Mapping[str, Any]
    outputs: tuple[str, ...]

    @classmethod
    def parse(cls, node: Mapping[str, Any], where: str) -> Node:
        """From the archive's JSON; `KeyError` or `TypeError` when it is damaged."""
        arguments = {entry["name"]: _argument(entry["arg"]) for entry in node["inputs"]}
        outputs: list[str] = []
        for entry in node["outputs"]:
            value = _argument(entry)
            values = value if isinstance(value, tuple) else (value,)
            # A size is not a tensor and has no meaning here: a network takes every length.
            outputs += [value.name if isinstance(value, Name) else "" for value in values]
        return cls(where, str(node["target"]).removeprefix(_PREFIX), arguments, tuple(outputs))

    def refuse(self, what: str, **details: Any) -> CheckpointError:
        """An error that names this operation."""
        return CheckpointError(f"operation {self.target} {what}", where=self.where, **details)


@dataclass(frozen=True)
class Name:
    """A tensor as an argument."""

    name: str


@dataclass(frozen=True)
class Ids:
    """The token ids [texts, tokens]."""


@dataclass(frozen=True)
class Zeros:
    """A zero tensor: the state that a recurrent layer starts from."""


@dataclass(frozen=True)
class LayerOutput:
    """The values after these layers: [texts, tokens, features], or [texts, features].

    Each layer is fed by the one before it, or by those at the places that `inputs` has for its own
    place; −1 is the embedding.
    """

    layers: tuple[Layer, ...]
    sequence: bool = True
    inputs: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def then(self, *layers: Layer, sequence: bool | None = None) -> LayerOutput:
        """The values after further layers."""
        is_sequence = self.sequence if sequence is None else sequence
        return LayerOutput((*self.layers, *layers), is_sequence, self.inputs)

    def sources(self, place: int) -> tuple[int, ...]:
        """The places of the layers that feed the one at `place`."""
        return self.inputs.get(place, (place - 1,))


@dataclass(frozen=True)
class Transposed:
    """The values of `flow` as [texts, features, tokens], or [texts, features, 1] once pooled."""

    flow: LayerOutput


@dataclass(frozen=True)
class LastStates:
    """h_n of the stack that ends `flow`: [layers · directions, texts, hidden]."""

    flow: LayerOutput
    count: int


@dataclass(frozen=True)
class LastState:
    """One direction of the last layer in `LastStates`."""

    flow: LayerOutput
    backward: bool


@dataclass(frozen=True)
class AttentionWeights:
    """A softmax over the tokens of scores of `flow`: [texts, tokens, 1], turned [texts, 1, tokens],
    or flat [texts, tokens]."""

    flow: LayerOutput
    scorers: tuple[Layer, ...]
    form: str = "column"


@dataclass(frozen=True)
class WeightedSum:
    """States times their shares; `summed` when only an axis of one is left to drop."""

    shares: AttentionWeights
    summed: bool = False


def joined(flows: Sequence[LayerOutput], layer: Layer) -> LayerOutput:
    """The values of several as one by `layer`; layers that they have in common stay the same."""
    layers: list[Layer] = []
    inputs: dict[int, tuple[int, ...]] = {}
    ends = []
    for flow in _with_shared_states(flows):
        places = {-1: -1}
        for place, own in enumerate(flow.layers):
            known = next((at for at, other in enumerate(layers) if other is own), None)
            if known is None:
                known = len(layers)
                layers.append(own)
                sources = tuple(places[source] for source in flow.sources(place))
                if sources != (known - 1,):
                    inputs[known] = sources
            places[place] = known
        ends.append(places[len(flow.layers) - 1])
    inputs[len(layers)] = tuple(ends)
    return LayerOutput((*layers, layer), flows[0].sequence, inputs)


def _with_shared_states(flows: Sequence[LayerOutput]) -> list[LayerOutput]:
    """The values, the last state of a layer of one direction taken from its states where another
    of the values is made of those."""
    layers = [layer for flow in flows for layer in flow.layers if isinstance(layer, Recurrent)]
    with_states = {id(layer.forward): layer for layer in layers if layer.sequences}
    pools: dict[str, Pool] = {}

    def shared(flow: LayerOutput) -> LayerOutput:
        last = flow.layers[-1] if flow.layers else None
        states = with_states.get(id(last.forward)) if isinstance(last, Recurrent) else None
        if states is None or states is last or states.backward is not None:
            return flow
        pool = pools.setdefault(states.name, Pool(f"{states.name}.last", "last"))
        return replace(flow, layers=(*flow.layers[:-1], states, pool))

    return [shared(flow) for flow in flows]


def same_layers(flow: LayerOutput, other: object) -> bool:
    """Whether both are the values after the very same layers."""
    return (
        isinstance(other, LayerOutput)
        and flow.sequence == other.sequence
        and len(flow.layers) == len(other.layers)
        and all(a is b for a, b in zip(flow.layers, other.layers, strict=True))
    )


def with_last_state(flow: LayerOutput) -> LayerOutput:
    """The flow whose last recurrent layer gives its last state alone."""
    layer = flow.layers[-1]
    if not isinstance(layer, Recurrent):
        raise TypeError("a recurrent layer is expected")
    layers = (*flow.layers[:-1], replace(layer, sequences=False))
    return replace(flow, layers=layers, sequence=False)


def _argument(argument: Mapping[str, Any]) -> Any:
    ((kind, value),) = argument.items()
    if kind == "as_tensor":
        return Name(value["name"])
    if kind == "as_tensors":
        return tuple(Name(entry["name"]) for entry in value)
    if kind == "as_optional_tensor":
        return _argument(value)
    return None if kind == "as_none" else value
