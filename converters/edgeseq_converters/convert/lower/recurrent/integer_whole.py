"""Static recipes: a whole network in integers, as a loop or unrolled.

Embedding, recurrent layers, dense layers, functions and a maximum or last state run in integers.
Every other layer (a mean, an attention over the tokens, a convolution, a normalization, a join)
runs in float32 between a DEQUANTIZE and a QUANTIZE, and the answer and a stream's states are
float32 as in every other recipe.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseq.errors import ConversionError
from edgeseq_converters.convert.lower.recurrent import emitted, fused, layers
from edgeseq_converters.convert.lower.recurrent.integer import Integers, Stretch
from edgeseq_converters.convert.lower.recurrent.integer_cells import IntegerLayer, States
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.lower.recurrent.loop import (
    LoopGroup,
    State,
    first_step_index,
    state_names,
    write_sequence,
)
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.recipes import MIN_QUANTIZED_ELEMENTS
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Activation,
    Cell,
    Convolution,
    Dense,
    FloatInput,
    Layer,
    MarkedPool,
    Pool,
    Recurrent,
)


def check(network: Network, lowering: str) -> None:
    """Raises `ConversionError` naming the lowering that no static recipe has."""
    if lowering == "projected":
        raise ConversionError(
            "a static recipe has one product of input and state: there is nothing to look up",
            where=network.name,
            found="the lowering projected",
            fix="choose --lowering loop",
        )


def has_form(network: Network, layer: Layer) -> bool:
    """Whether a layer that is not recurrent is computed in integers; a function at the end of the
    network is computed on the float answer, and so are the numbers that a network of numeric
    sequences predicts."""
    if layer is network.layers[-1] and isinstance(network.input, FloatInput):
        return False
    if isinstance(layer, Activation):
        return layer is not network.layers[-1]
    return isinstance(layer, Dense) or (isinstance(layer, Pool) and layer.how in ("max", "last"))


def apply(integers: Integers, layer: Layer, flow: Flow) -> Flow:
    """A layer that `has_form`."""
    values = flow.values
    if isinstance(layer, Dense):
        values = integers.dense(layer, values)
    elif isinstance(layer, Activation):
        values = integers.function(values, layer.function)
    elif isinstance(layer, Pool):
        values = layers.pool(layer, flow)
    return replace(flow, values=values)


def weights_of(layer: Layer) -> WeightFormat:
    """How a layer that runs in float32 stores its weights: large ones in int8, as the recipe
    says, with one scale, which every runtime knows; a convolution has one per channel."""
    arrays = [value for value in vars(layer).values() if isinstance(value, np.ndarray)]
    if max((array.size for array in arrays), default=0) < MIN_QUANTIZED_ELEMENTS:
        return WeightFormat("float32")
    return WeightFormat("int8", dynamic=True, row_scales=isinstance(layer, Convolution))


def end(network: Network, values: GraphTensor) -> GraphTensor:
    """The answer in float32, through the last layer's function if that is a softmax."""
    last = network.layers[-1]
    if values.dtype == "float32":
        return values
    answer = op.dequantize(values)
    softmax = isinstance(last, Dense) and last.function == "softmax"
    return op.softmax(answer) if softmax else answer


def run(
    integers: Integers, group: LoopGroup, flow: Flow, lowering: str
) -> tuple[GraphTensor, State]:
    """What recurrent layers that run together give, and the final states of a loop in float32; a
    mean, and the states of marks with their products, are taken in float32 afterwards."""
    if group.collect in ("mean", "marks"):
        sequence, final = run(integers, replace(group, collect="sequence"), flow, lowering)
        pooling: Pool | MarkedPool = Pool(group.pooling, "mean")
        if group.collect == "marks":
            pooling = MarkedPool(group.pooling, group.marks)
        exact = replace(flow, values=op.dequantize(sequence))
        pooled = layers.apply(pooling, exact, WeightFormat("float32")).values
        return integers.again(pooling, pooled, sequence), final
    if lowering == "loop":
        return _loop(integers, group, flow)
    lowered = {"unrolled": _unrolled, "fused": fused.run_integer}[lowering]
    return lowered(integers, group, flow), {}


def _unrolled(integers: Integers, group: LoopGroup, flow: Flow) -> GraphTensor:
    """What the group collects, its steps written out (`emitted.run`)."""

    def direction(layer: Recurrent, _cell: Cell, name: str, values: GraphTensor) -> GraphTensor:
        steps = IntegerLayer(integers, layer, only=name)
        values, stretch = integers.stretched(layer, values)
        state: States = tuple(steps.start(values.graph, 0, 1).values())
        rows = [values] if values.shape[0] == 1 else op.split(values, values.shape[0], 0)
        states = []
        for row in rows:
            state = steps.step(row, stretch, state)
            states.append(steps.states(state[0]))
        return op.concatenate(states, 0)

    return emitted.run(group, flow, direction, integers.merge)


def _loop(integers: Integers, group: LoopGroup, flow: Flow) -> tuple[GraphTensor, State]:
    """What the group collects, in a WHILE over the real length, and the final states."""
    graph, count = flow.values.graph, group.directions
    values, stretch = integers.stretched(group.layers[0], flow.values)
    start: State = {"t": graph.ints(0)}
    if count == 2:
        start["feed"] = first_step_index(flow.length, stride=1)
    for number, layer in enumerate(group.layers):
        steps = IntegerLayer(integers, layer)
        start |= steps.start(graph, number, count)
        for name, storage in zip(state_names(layer, number), steps.storage(), strict=True):
            if name in group.start:
                start[name] = op.quantize(group.start[name], *storage)
    size, hidden = group.top.forward.hidden_size, integers.hidden(group.top)
    if group.collect == "max":
        lowest = np.full((count, size), np.iinfo(np.int8).min, np.int8)
        start["pooled"] = graph.constant("zero", lowest, hidden)
    elif group.collect == "sequence":
        row_indices = None if flow.ids is None else op.multiply(flow.ids, graph.ints(0))
        zero = graph.constant("zero", np.zeros((1, size), np.int8), hidden)
        if row_indices is None:
            zeros = op.multiply(op.columns(values, 0, 1), zero, hidden)
        else:
            zeros = op.gather(zero, row_indices)
        start |= {f"written{d}": zeros for d in range(count)}
    start |= {"length": flow.length, "values": values}
    ended = op.while_loop(
        graph.writer,
        start,
        lambda state: op.less_than(state["t"], state["length"]),
        lambda state: _step(integers, group, state, stretch),
    )
    final = {name: op.dequantize(ended[name]) for name in group.start}
    return _collected(integers, group, ended), final


def _collected(integers: Integers, group: LoopGroup, ended: State) -> GraphTensor:
    count, top = group.directions, group.top
    if group.collect == "sequence":
        return integers.merge(top, [ended[f"written{d}"] for d in range(count)])
    if group.collect == "max":
        return op.reshape(ended["pooled"], (1, top.features))
    last = state_names(top, len(group.layers) - 1)[0]
    values = IntegerLayer(integers, top).states(ended[last])
    if count == 2 and top.merge != "concat":
        return integers.merge(top, op.split(values, 2, 0))
    return op.reshape(values, (1, top.features))


def _step(integers: Integers, group: LoopGroup, state: State, stretch: Stretch) -> State:
    graph = state["t"].graph
    changed: State = {"t": op.add(state["t"], graph.ints(1))}
    step_input = op.gather(state["values"], state["t"])
    if group.directions == 2:
        changed["feed"] = op.add(state["feed"], graph.ints(1, -1))
        step_input = op.gather(state["values"], state["feed"])
    for number, layer in enumerate(group.layers):
        if number > 0:
            step_input, stretch = integers.stretched(layer, step_input)
        names, steps = state_names(layer, number), IntegerLayer(integers, layer)
        new = steps.step(step_input, stretch, tuple(state[name] for name in names))
        changed |= dict(zip(names, new, strict=True))
        step_input = steps.states(new[0])
    if group.collect == "max":
        pooled = state["pooled"]
        changed["pooled"] = op.elementwise("MAXIMUM", pooled, step_input, pooled.quantization)
    return changed | write_sequence(group, state, step_input)
