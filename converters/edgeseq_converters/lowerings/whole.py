"""A whole network in the `loop` lowering, with its signatures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeseq.errors import ConversionError
from edgeseq_converters.lowerings import layers, loop
from edgeseq_converters.lowerings.layers import Flow
from edgeseq_converters.lowerings.weights import WeightFormat
from edgeseq_converters.network import (
    AttentionPool,
    Layer,
    Network,
    Pool,
    Recurrent,
)
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Graph, Tensor, Writer

SIGNATURE = "serving_default"
STREAM = "stream"
INPUT = "input_ids"


@dataclass(frozen=True)
class Together:
    """Recurrent layers that run in one loop, and what it gives of the topmost one."""

    layers: tuple[Recurrent, ...]
    collect: loop.Collect


@dataclass(frozen=True)
class Other:
    """A layer that is not recurrent."""

    layer: Layer


def stages(network: Network) -> Iterator[Together | Other]:
    """The network's layers, recurrent ones in the largest groups that run in one loop, with the
    pooling behind them taken into it."""
    rest = list(network.layers)
    while rest:
        first = rest.pop(0)
        if not isinstance(first, Recurrent):
            yield Other(first)
            continue
        group = [first]
        while rest and isinstance(rest[0], Recurrent) and _stack(group[-1], rest[0]):
            group.append(rest[0])
            rest.pop(0)
        collect = _collect(group[-1], rest)
        if group[-1].sequences and collect != "sequence":
            rest.pop(0)
        yield Together(tuple(group), collect)


def _stack(below: Recurrent, upper: Recurrent) -> bool:
    """Whether both run in one loop: forward only, of one kind."""
    forward_only = below.backward is None and upper.backward is None
    return below.sequences and forward_only and below.forward.kind == upper.forward.kind


def _collect(top: Recurrent, rest: list[Layer]) -> loop.Collect:
    """What the loop must give, looking at the layer behind it."""
    if not top.sequences:
        return "final"
    following = rest[0] if rest else None
    if not isinstance(following, Pool):
        return "sequence"
    one_direction = top.backward is None
    if following.how == "last":
        # The last row of a backward direction is its first state, not its final one.
        return "final" if one_direction else "sequence"
    return following.how if one_direction or top.merge == "concat" else "sequence"


def lower(
    network: Network, weights: WeightFormat, *, output: str, streaming: bool = False
) -> bytes:
    """The .tflite content: `input_ids` int32 [1, −1] to `output`, float32 [1, outputs], or
    [1, n, outputs] for a network that answers for each token.

    With `streaming` a second signature `stream` takes and gives the states of the recurrent
    layers (`h0`, `c0`, … by layer, float32 [1, H]), so that a text can be fed token by token or
    in pieces. Raises `ConversionError` for a network that must see the whole text first.
    """
    writer = Writer(f"{network.name}: loop lowering")
    _signature(writer, network, weights, output, SIGNATURE)
    if streaming:
        check_streaming(network)
        _signature(writer, network, weights, output, STREAM)
    return writer.pack()


def check_streaming(network: Network) -> None:
    """Raises `ConversionError` naming the layer that needs the whole text."""
    for layer in network.layers:
        both = isinstance(layer, Recurrent) and layer.backward is not None
        pool = isinstance(layer, AttentionPool) or (isinstance(layer, Pool) and layer.how != "last")
        if both or pool:
            raise ConversionError(
                "cannot stream",
                where=network.name,
                found=f"layer {layer.name}, which needs the whole text",
                expected="forward layers, and the last state where one vector is needed",
                fix="leave out --streaming",
            )


def _signature(
    writer: Writer, network: Network, weights: WeightFormat, output: str, key: str
) -> None:
    graph = writer.graph(key)
    ids = graph.input(INPUT, "int32", (1, -1))
    flat = layers.flat_ids(ids)
    mask_zero = network.embedding.mask_zero and key != STREAM
    length = layers.real_length(flat, mask_zero=mask_zero)
    mask = layers.mask_of(length, flat) if mask_zero else None
    flow = Flow(weights.lookup(network.embedding, flat), length, mask)
    inputs: dict[str, Tensor] = {INPUT: ids}
    outputs: dict[str, Tensor] = {}
    number = 0  # of the recurrent layer, which names its states
    for stage in stages(network):
        if isinstance(stage, Other):
            flow = layers.apply(stage.layer, flow, weights)
            continue
        start: loop.State = {}
        if key == STREAM:
            start = _state_inputs(graph, stage, number)
            inputs |= {_renumbered(name, number): tensor for name, tensor in start.items()}
        values, states = loop.run(loop.Group(stage.layers, stage.collect, weights, start), flow)
        if key == STREAM:
            outputs |= {f"{_renumbered(name, number)}_next": one for name, one in states.items()}
        flow = Flow(values, length, mask)
        number += len(stage.layers)
    answer = flow.values
    if network.per_token:
        answer = op.reshape(answer, (1, -1, network.outputs))
    outputs = {output: answer} | outputs
    graph.outputs = list(outputs.values())
    writer.sign(key, inputs, outputs)


def _state_inputs(graph: Graph, stage: Together, number: int) -> loop.State:
    """The states that a stream starts from, as inputs of the graph."""
    states = {}
    for place, layer in enumerate(stage.layers):
        for name in loop.state_names(layer, place):
            shape = (1, layer.forward.hidden_size)
            states[name] = graph.input(_renumbered(name, number), "float32", shape)
    return states


def _renumbered(name: str, number: int) -> str:
    """`h0` of a group whose first layer is the network's recurrent layer `number`."""
    return f"{name[0]}{int(name[1:]) + number}"
