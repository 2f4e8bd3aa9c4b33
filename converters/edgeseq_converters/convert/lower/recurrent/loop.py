"""The `loop` lowering: WHILE over the real length, the input projection of all steps before it.

What was measured (x86-64 with AVX2, one thread; n tokens):

- Both directions of a layer in one loop: 1.7 times a single direction, not 2. Rows 2t and 2t+1 of
  the reshaped projection are the forward and the backward input of step t, so one GATHER of the
  rows (2t, 2(n−1−t)+1) feeds both; everything but the two products works on [2, ·].
- A stack of forward layers runs in one loop as well: an upper LSTM layer's input and own state are
  concatenated before one product. Nothing is emitted between them.
- A sequence that is written in a loop costs O(n²), because the runtime copies the loop's state
  every step; so pooling happens inside the loop, and only what nothing else can serve is written.
- Pass-through tensors (projection, length) are not copied: they are not read after the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from edgeseq_converters.convert.lower.recurrent import cells
from edgeseq_converters.convert.lower.recurrent.layers import Flow, joined_marks
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.tflite import encoder_operators as more
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network_layers import Cell, Recurrent

Collect = Literal["final", "max", "mean", "marks", "sequence"]
State = dict[str, GraphTensor]


@dataclass
class LoopGroup:
    """Recurrent layers that run in one loop: a stack of forward layers, or one with both
    directions; and what the loop collects of the topmost one (`marks`: the states at the tokens
    `marks`, as `network.MarkedPool` joins them)."""

    layers: Sequence[Recurrent]
    collect: Collect
    weights: WeightFormat = field(default_factory=lambda: WeightFormat("float32"))
    start: State = field(default_factory=dict)
    """States to start from by name (`h0`, `c0`, …), float32 [directions, H]; missing ones are 0."""
    marks: tuple[int, ...] = ()
    projected: bool = False
    """Whether the flow is the bottom layer's input times its kernels already."""
    pooling: str = ""
    """The name of the layer that `collect` stands for, where it is a pooling."""
    reads_numbers: bool = False
    """Whether the bottom layer reads the network's numbers, whose features differ in size: rounded
    together while running, the small ones would lose what they say."""

    @property
    def top(self) -> Recurrent:
        return self.layers[-1]

    @property
    def directions(self) -> int:
        return len(self.top.cells)

    @property
    def bottom_weights(self) -> WeightFormat:
        """How the kernels of the bottom layer's input are stored and multiplied."""
        return replace(self.weights, dynamic=False) if self.reads_numbers else self.weights


def run(group: LoopGroup, flow: Flow) -> tuple[GraphTensor, State]:
    """What the group collects, [1, features] or [n, features], and its final states by name."""
    graph = flow.values.graph
    projected = _project(group, flow.values)
    start: State = {"t": graph.ints(0)}
    if group.directions == 2:
        start["feed"] = first_step_index(flow.length, stride=2)
    for number, layer in enumerate(group.layers):
        zero = np.zeros((group.directions, layer.forward.hidden_size), np.float32)
        for name in state_names(layer, number):
            start[name] = group.start.get(name) or graph.constant("zero", zero)
    start |= initial_accumulator(group, projected)
    if group.collect == "marks":
        start["found"] = marker_mask(group, flow)
    start |= {"length": flow.length, "projected": projected}
    ended = op.while_loop(
        graph.writer,
        start,
        lambda state: op.less_than(state["t"], state["length"]),
        lambda state: _step(group, state),
    )
    states = {name: ended[name] for name in start if name[0] in "hc" and name[1:].isdigit()}
    return _collected(group, flow, ended), states


def state_names(layer: Recurrent, number: int) -> tuple[str, ...]:
    """The names of the states of the layer `number` of a group: h, and c for an LSTM."""
    return (f"h{number}", f"c{number}") if layer.forward.kind == "lstm" else (f"h{number}",)


def _project(group: LoopGroup, values: GraphTensor) -> GraphTensor:
    """The bottom layer's inputs times their kernels: [n, g·H], or [2n, g·H] with the rows forward
    0, backward 0, forward 1, …"""
    bottom, projected = group.layers[0], values
    if not group.projected:
        kernel = np.concatenate([cell.kernel for cell in bottom.cells], axis=1)
        bias = np.concatenate([cell.bias for cell in bottom.cells])
        projected = group.bottom_weights.product(values, f"{bottom.name}/kernel", kernel, bias)
    if group.directions == 1:
        return projected
    rows = -1 if values.shape[0] == -1 else 2 * values.shape[0]
    return op.reshape(projected, (rows, projected.shape[1] // 2))


def first_step_index(length: GraphTensor, *, stride: int) -> GraphTensor:
    """The rows of the first step of both directions: (0, length − 1), or with a stride of 2, for
    rows in pairs, (0, 2·length − 1)."""
    graph = length.graph
    rows = length if stride == 1 else op.multiply(length, graph.ints(stride))
    return op.concatenate([graph.ints(0), op.elementwise("SUB", rows, graph.ints(1))], 0)


def _step(group: LoopGroup, state: State) -> State:
    graph = state["t"].graph
    changed: State = {"t": op.add(state["t"], graph.ints(1))}
    if group.directions == 2:
        changed["feed"] = op.add(state["feed"], graph.ints(2, -2))
        step_input = op.gather(state["projected"], state["feed"])
    else:
        step_input = op.gather(state["projected"], state["t"])
    for number, layer in enumerate(group.layers):
        below = None if number == 0 else changed[f"h{number - 1}"]
        changed |= _advance(group, number, layer, state, step_input if below is None else below)
    hidden = changed[f"h{len(group.layers) - 1}"]
    return changed | _collect(group, state, hidden)


def _advance(
    group: LoopGroup, number: int, layer: Recurrent, state: State, step_input: GraphTensor
) -> State:
    """The new states of one layer. `given` is the projected input at the bottom and the state of
    the layer below above it."""
    hidden, weights = state[f"h{number}"], group.weights
    cell = layer.forward
    if cell.kind != "gru":
        if number == 0:
            gates = op.add(step_input, _recurrent_products(group, layer, hidden))
        else:
            both = np.concatenate([cell.kernel, cell.recurrent_kernel])
            joined = op.concatenate([step_input, hidden], 1)
            gates = weights.product(joined, f"{layer.name}/both", both, cell.bias)
        names = state_names(layer, number)
        return dict(zip(names, cells.advance(gates, state[names[-1]], cell), strict=False))
    if number > 0:
        step_input = weights.product(step_input, f"{layer.name}/kernel", cell.kernel, cell.bias)

    def product(state: GraphTensor, begin: int, end: int) -> GraphTensor:
        return _recurrent_products(group, layer, state, begin, end)

    return {f"h{number}": cells.gru(step_input, hidden, product, cell)}


def _recurrent_products(
    group: LoopGroup, layer: Recurrent, hidden: GraphTensor, begin: int = 0, end: int | None = None
) -> GraphTensor:
    """Each direction's state [1, H] times columns of its recurrent kernel: [d, columns]."""

    def product(state: GraphTensor, cell: Cell, direction: str) -> GraphTensor:
        # Only a GRU that resets before it multiplies asks for its last columns alone.
        name = f"{layer.name}/{direction}/{'candidate' if begin else 'recurrent'}"
        kernel = cell.recurrent_kernel[:, begin:end]
        return group.weights.product(state, name, kernel, cell.recurrent_bias)

    if layer.backward is None:
        return product(hidden, layer.forward, "forward")
    forward, backward = op.split(hidden, 2, 0)
    parts = [
        product(forward, layer.forward, "forward"),
        product(backward, layer.backward, "backward"),
    ]
    return op.concatenate(parts, 0)


def initial_accumulator(group: LoopGroup, projected: GraphTensor) -> State:
    size = group.top.forward.hidden_size
    if group.collect == "final":
        return {}
    if group.collect == "sequence":
        rows = projected
        if group.directions == 2:
            rows = op.reshape(projected, (_half(projected.shape[0]), 2 * projected.shape[1]))
        zeros = cells.zeros_like_columns(rows, size)
        return {f"written{d}": zeros for d in range(group.directions)}
    if group.collect == "marks":
        start = np.zeros((group.directions, len(group.marks), size), np.float32)
        return {"picked": projected.graph.constant("picked", start)}
    lowest = 0.0
    if group.collect == "max":
        # A bounded state lies in −1..1, so −1 is at or below every one of them.
        lowest = -1.0 if group.top.forward.is_bounded else float(np.finfo(np.float32).min)
    start = np.full((group.directions, size), lowest, np.float32)
    return {"pooled": projected.graph.constant("pooled", start)}


def marker_mask(group: LoopGroup, flow: Flow) -> GraphTensor:
    """float32 [n, marks], 1 where a token is the mark; each row twice for two directions, whose
    steps look at the rows 2t and 2(n−1−t)+1."""
    ids, count = flow.token_ids(), len(group.marks)
    row = ids.graph.constant("marks", np.asarray(group.marks, np.int32)[None, :])
    mask = op.cast(op.equal(op.reshape(ids, (ids.shape[0], 1)), row), "float32")
    if group.directions == 1:
        return mask
    twice = -1 if ids.shape[0] == -1 else 2 * ids.shape[0]
    return op.reshape(op.concatenate([mask, mask], 1), (twice, count))


def _half(rows: int) -> int:
    return -1 if rows == -1 else rows // 2


def _collect(group: LoopGroup, state: State, hidden: GraphTensor) -> State:
    """One step's contribution."""
    if group.collect == "final":
        return {}
    if group.collect == "max":
        return {"pooled": op.elementwise("MAXIMUM", state["pooled"], hidden)}
    if group.collect == "mean":
        return {"pooled": op.add(state["pooled"], hidden)}
    if group.collect == "marks":
        step_index = state["feed" if group.directions == 2 else "t"]
        mask = op.reshape(
            op.gather(state["found"], step_index), (group.directions, len(group.marks), 1)
        )
        rows = op.reshape(hidden, (group.directions, 1, hidden.shape[1]))
        return {"picked": op.add(state["picked"], op.multiply(mask, rows))}
    return write_sequence(group, state, hidden)


def write_sequence(group: LoopGroup, state: State, hidden: GraphTensor) -> State:
    """The sequences with this step's states in them, if the group collects sequences."""
    if group.collect != "sequence":
        return {}
    graph = hidden.graph
    positions = [state["t"]]
    parts = [hidden]
    if group.directions == 2:
        positions.append(
            op.elementwise("SUB", op.elementwise("SUB", state["length"], state["t"]), graph.ints(1))
        )
        parts = op.split(hidden, 2, 0)
    changed = {}
    for d, (rows, position) in enumerate(zip(parts, positions, strict=True)):
        begin = op.concatenate([position, graph.ints(0)], 0)
        changed[f"written{d}"] = op.write_rows(state[f"written{d}"], rows, begin)
    return changed


def _collected(group: LoopGroup, flow: Flow, ended: State) -> GraphTensor:
    if group.collect == "sequence":
        parts = [ended[f"written{d}"] for d in range(group.directions)]
        return merge_directions(group.top, parts)
    if group.collect == "marks":
        rows = more.transpose(ended["picked"], (1, 0, 2))
        return joined_marks(op.reshape(rows, (len(group.marks), group.top.features)))
    final = group.collect == "final"
    values = ended[f"h{len(group.layers) - 1}" if final else "pooled"]
    if group.collect == "mean":
        values = op.elementwise("DIV", values, op.cast(flow.length, "float32"))
    if group.directions == 1:
        return values
    if group.top.merge == "concat":
        return op.reshape(values, (1, group.top.features))
    return merge_directions(group.top, op.split(values, 2, 0))


def merge_directions(layer: Recurrent, parts: Sequence[GraphTensor]) -> GraphTensor:
    """The directions' values [n, H] as the layer's merge says: [n, features]."""
    if len(parts) == 1:
        return parts[0]
    if layer.merge == "concat":
        return op.concatenate(parts, 1)
    forward, backward = parts
    if layer.merge == "mul":
        return op.multiply(forward, backward)
    total = op.add(forward, backward)
    if layer.merge == "sum":
        return total
    half = total.graph.constant("half", np.asarray([0.5], np.float32))
    return op.multiply(total, half)
