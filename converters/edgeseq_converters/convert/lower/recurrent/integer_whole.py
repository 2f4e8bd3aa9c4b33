"""Static recipes: a whole network in integers, as a loop or unrolled.

Embedding, recurrent layers, dense layers and a maximum or last state run in integers; a mean, an
attention over the tokens or the states of marks run in float32 between a DEQUANTIZE and a
QUANTIZE, and the answer is float32 as in every other recipe.
"""

from __future__ import annotations

from dataclasses import replace

from edgeseq.errors import ConversionError
from edgeseq_converters.convert.lower.recurrent import emitted, fused, integer, layers
from edgeseq_converters.convert.lower.recurrent.integer import Integers
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.lower.recurrent.loop import (
    LoopGroup,
    State,
    first_step_index,
    merge_directions,
    state_names,
    write_sequence,
)
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network import (
    Activation,
    Attention,
    AttentionPool,
    Cell,
    Convolution,
    Dense,
    FeatureSlice,
    Flatten,
    Join,
    Layer,
    LayerNorm,
    MarkedPool,
    Network,
    Pool,
    Recurrent,
    Repeat,
    Scale,
    WindowPool,
)

_FLOAT_ONLY = (Attention, FeatureSlice, Convolution, Flatten, Join, LayerNorm, Repeat, WindowPool)


def check(network: Network, lowering: str, dtype: str, *, streaming: bool) -> None:
    """Raises `ConversionError` naming the layer, or the lowering, that no static recipe has."""

    def refuse(layer: str, why: str) -> None:
        raise ConversionError(
            "no static recipe of this network",
            where=network.name,
            found=f"layer {layer} {why}",
            fix="choose dynamic_wi8_afp32",
        )

    if lowering == "projected":
        raise ConversionError(
            "a static recipe has one product of input and state: there is nothing to look up",
            where=network.name,
            found="the lowering projected",
            fix="choose --lowering loop",
        )
    if (lowering, dtype) == ("fused", "int16"):
        raise ConversionError(
            "the fused operator has one integer form: int8 products with 16-bit gates and cells",
            where=network.name,
            found="static_wi8_ai16",
            fix="choose static_wi8_ai8",
        )
    if streaming:
        raise ConversionError(
            "no static recipe streams: its states are integers with their scales",
            where=network.name,
            fix="choose dynamic_wi8_afp32, or leave out --streaming",
        )
    for layer in network.layers:
        why = _unsupported(layer, network)
        if why is not None:
            refuse(layer.name, why)
    if not isinstance(network.layers[0], Recurrent):
        refuse(network.layers[0].name, "is between the embedding and the recurrent layers")


def _unsupported(layer: Layer, network: Network) -> str | None:
    """Why a layer has no form in integers, None if it has one."""
    why = None
    if isinstance(layer, Recurrent):
        if layer.forward.kind != "lstm" or not layer.forward.is_published:
            why = "is not an LSTM with sigmoid and tanh"
        elif layer.backward is not None and layer.merge != "concat":
            why = f"merges its directions by {layer.merge}"
    elif isinstance(layer, Dense) and layer.function not in integer.DENSE_FUNCTIONS:
        why = f"has the function {layer.function}"
    elif isinstance(layer, Scale):
        why = "is a batch normalization that was not folded into its neighbour"
    elif isinstance(layer, Activation) and layer is not network.layers[-1]:
        why = "is a separate function"
    elif isinstance(layer, _FLOAT_ONLY) or (isinstance(layer, Pool) and layer.how == "sum"):
        why = "computes in float32 alone"
    elif layer.name in network.fed_by:
        why = "is not fed by the layer before it"
    return why


def apply(integers: Integers, layer: Layer, flow: Flow) -> Flow:
    """A layer that is not recurrent; the last layer's softmax is left to `end`."""
    values = flow.values
    if isinstance(layer, Dense):
        values = integers.dense(layer, values)
    elif isinstance(layer, Pool) and layer.how != "mean":
        values = layers.pool(layer, flow)
    elif isinstance(layer, Pool | AttentionPool | MarkedPool):
        values = _in_float(integers, layer, flow)
    return replace(flow, values=values)


def _in_float(
    integers: Integers, layer: Pool | AttentionPool | MarkedPool, flow: Flow
) -> GraphTensor:
    """A pooling of states in float32, and back to the states' scale."""
    exact = replace(flow, values=op.dequantize(flow.values))
    pooled = layers.apply(layer, exact, WeightFormat("float32")).values
    return op.quantize(pooled, integers.dtype, integers.state)


def end(network: Network, values: GraphTensor) -> GraphTensor:
    """The answer in float32, through the last layer's function if that is a softmax."""
    last = network.layers[-1]
    answer = op.dequantize(values)
    if isinstance(last, Activation):
        return layers.function(answer, last.function)
    softmax = isinstance(last, Dense) and last.function == "softmax"
    return op.softmax(answer) if softmax else answer


def run(
    integers: Integers,
    group: LoopGroup,
    flow: Flow,
    lowering: str,
) -> GraphTensor:
    """What recurrent layers that run together give; a mean, and the states of marks with their
    products, are taken in float32 afterwards."""
    lowered = {"loop": _loop, "unrolled": _unrolled, "fused": fused.run_integer}[lowering]
    if group.collect not in ("mean", "marks"):
        return lowered(integers, group, flow)
    sequence = lowered(integers, LoopGroup(group.layers, "sequence"), flow)
    pooling: Pool | MarkedPool = Pool(group.top.name, "mean")
    if group.collect == "marks":
        pooling = MarkedPool(group.top.name, group.marks)
    return _in_float(integers, pooling, replace(flow, values=sequence))


def _unrolled(integers: Integers, group: LoopGroup, flow: Flow) -> GraphTensor:
    """What the group collects, its steps written out (`emitted.run`)."""

    def direction(layer: Recurrent, _cell: Cell, name: str, values: GraphTensor) -> GraphTensor:
        graph, size = values.graph, layer.forward.hidden_size
        hidden, state = integers.zero(graph, 1, size), integers.cell_zero(graph, layer, 1)
        rows = [values] if values.shape[0] == 1 else op.split(values, values.shape[0], 0)
        states = []
        for row in rows:
            hidden, state = integers.step(layer, row, hidden, state, only=name)
            states.append(hidden)
        return op.concatenate(states, 0)

    return emitted.run(group, flow, direction)


def _loop(integers: Integers, group: LoopGroup, flow: Flow) -> GraphTensor:
    """What the group collects, in a WHILE over the real length."""
    graph, count = flow.values.graph, group.directions
    start: State = {"t": graph.ints(0)}
    if count == 2:
        start["feed"] = first_step_index(flow.length, stride=1)
    for number, layer in enumerate(group.layers):
        h, c = state_names(layer, number)
        start[h] = integers.zero(graph, count, layer.forward.hidden_size)
        start[c] = integers.cell_zero(graph, layer, count)
    size = group.top.forward.hidden_size
    if group.collect == "max":
        start["pooled"] = integers.zero(graph, count, size, value=-1.0)
    elif group.collect == "sequence":
        zero = integers.zero(graph, 1, size)
        if flow.ids is None:
            zeros = op.multiply(op.columns(flow.values, 0, 1), zero, integers.state)
        else:
            zeros = op.gather(zero, op.multiply(flow.ids, graph.ints(0)))
        start |= {f"written{d}": zeros for d in range(count)}
    start |= {"length": flow.length, "values": flow.values}
    ended = op.while_loop(
        graph.writer,
        start,
        lambda state: op.less_than(state["t"], state["length"]),
        lambda state: _step(integers, group, state),
    )
    if group.collect == "sequence":
        return merge_directions(group.top, [ended[f"written{d}"] for d in range(count)])
    final = state_names(group.top, len(group.layers) - 1)[0]
    values = ended[final if group.collect == "final" else "pooled"]
    return op.reshape(values, (1, group.top.features))


def _step(integers: Integers, group: LoopGroup, state: State) -> State:
    graph = state["t"].graph
    changed: State = {"t": op.add(state["t"], graph.ints(1))}
    step_input = op.gather(state["values"], state["t"])
    if group.directions == 2:
        changed["feed"] = op.add(state["feed"], graph.ints(1, -1))
        step_input = op.gather(state["values"], state["feed"])
    for number, layer in enumerate(group.layers):
        h, c = state_names(layer, number)
        changed[h], changed[c] = integers.step(layer, step_input, state[h], state[c])
        step_input = changed[h]
    if group.collect == "max":
        changed["pooled"] = op.elementwise("MAXIMUM", state["pooled"], step_input, integers.state)
    return changed | write_sequence(group, state, step_input)
