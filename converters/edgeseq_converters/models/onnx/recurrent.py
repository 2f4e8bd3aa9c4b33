"""ONNX' LSTM, GRU and RNN operators as layers (onnx.ai/onnx/operators, LSTM, GRU and RNN).

Weights are [directions, gates·H, in] with the gates i, o, f, c of an LSTM and z, r, h of a GRU; an
RNN has one;
the bias [directions, 2·gates·H] holds that of the input and that of the state. A network has
[in, gates·H], i, f, c, o and z, r, h.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import (
    GATES,
    Cell,
    ElementFunction,
    Kind,
    Recurrent,
)
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.tensors import OnnxTensors
from edgeseq_converters.models.onnx.values import (
    FEATURES,
    STACKED,
    Axis,
    Direction,
    Stack,
    States,
    TextLengths,
    ZeroTensor,
)

_KINDS: dict[str, Kind] = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
_ORDER: dict[Kind, tuple[int, ...]] = {"lstm": (0, 2, 3, 1), "gru": (0, 1, 2), "rnn": (0,)}
"""Where ONNX has each gate of a network."""
_ACTIVATIONS: dict[Kind, tuple[str, ...]] = {
    "lstm": ("sigmoid", "tanh", "tanh"),
    "gru": ("sigmoid", "tanh"),
    "rnn": ("tanh",),
}


def recurrent(tensors: OnnxTensors, node: OnnxNode) -> tuple[object, ...]:
    """The states of each token, the last states, and the last cells (which nothing may use)."""
    kind = _KINDS[node.operator]
    flow = tensors.flow(node)
    texts, tokens = (0, 1) if node.integer("layout", 0) else (1, 0)
    if len(flow.axes) != 3 or flow.axes[2] != (FEATURES,) or not tensors.sizes:
        raise node.refuse("does not read a sequence of features", found=len(flow.axes))
    tensors.tokens_axis(node, flow.axes[tokens])
    _check_settings(node, kind)
    _check_states(tensors, node, kind)
    cells = _cells(tensors, node, kind)
    direction = node.attributes.get("direction", "forward")
    expected = {"forward": 1, "reverse": 1, "bidirectional": 2}.get(str(direction))
    if expected != len(cells):
        raise node.refuse("has weights of another number of directions", found=direction)
    name = tensors.named(node)
    batch, time = flow.axes[texts], flow.axes[tokens]
    layout = bool(node.integer("layout", 0))
    each: tuple[Axis, ...] = (
        (batch, time, (STACKED,), (FEATURES,)) if layout else (time, (STACKED,), batch, (FEATURES,))
    )
    last: tuple[Axis, ...] = (
        (batch, (STACKED,), (FEATURES,)) if layout else ((STACKED,), batch, (FEATURES,))
    )
    if direction == "forward":
        layer = Recurrent(name, cells[0], sequences=True)
        width = layer.features
        states: States | Direction = flow.then(layer, axes=each, width=width)
        last_layer = replace(layer, sequences=False)
        end: States | Direction = flow.then(last_layer, axes=last, width=width)
        return Stack((states,), each), Stack((end,), last), None
    # A network has no layer that reads from the end alone: the other direction is computed too.
    pair = Recurrent(name, cells[0], cells[-1], sequences=True)
    backwards = (True,) if direction == "reverse" else (False, True)

    def directions(axes: tuple[Axis, ...], *, sequences: bool) -> Stack:
        parts = [Direction(flow, pair, backward, sequences, axes) for backward in backwards]
        return Stack(tuple(parts), axes)

    return directions(each, sequences=True), directions(last, sequences=False), None


def _check_settings(node: OnnxNode, kind: Kind) -> None:
    """Refuses what changes the cell."""
    if node.attributes.get("clip") is not None:
        raise node.refuse("clips its gates (clip)", fix="export it without clip")
    if node.integer("input_forget", 0):
        raise node.refuse("couples its gates (input_forget)", expected="separate gates")
    for key in ("activation_alpha", "activation_beta"):
        if node.attributes.get(key):
            raise node.refuse(f"has {key}, which its functions do not take")
    functions = node.strings("activations") or _ACTIVATIONS[kind]
    directions = 2 if node.attributes.get("direction") == "bidirectional" else 1
    names = tuple(name.lower() for name in functions)
    if kind == "rnn" and set(names) == {"relu"}:
        return
    if names not in (_ACTIVATIONS[kind], _ACTIVATIONS[kind] * directions):
        raise node.refuse(
            "has functions that the runtime's cell lacks",
            found=", ".join(names),
            expected=", ".join(_ACTIVATIONS[kind]),
            fix="retrain with the framework's default activations",
        )


def _check_states(tensors: OnnxTensors, node: OnnxNode, kind: Kind) -> None:
    """Refuses initial states and peepholes that are not zero, and lengths that are computed."""
    lengths = tensors.get(node, 4)
    if lengths is not None and not isinstance(lengths, TextLengths):
        raise node.refuse(
            "is given lengths that are computed",
            fix="export it without a mask, or with the lengths as its second input",
        )
    for index, what in ((5, "an initial state"), (6, "an initial cell"), (7, "peepholes")):
        if index == 6 and kind != "lstm":
            break
        value = tensors.get(node, index)
        is_zero = value is None or isinstance(value, ZeroTensor)
        is_zero = is_zero or (isinstance(value, np.ndarray) and not np.any(value))
        if not is_zero:
            raise node.refuse(f"is given {what}, not zero", fix="export it to start from zeros")


def _cells(tensors: OnnxTensors, node: OnnxNode, kind: Kind) -> list[Cell]:
    weights, states = tensors.weights(node, 1), tensors.weights(node, 2)
    gates = GATES[kind]
    both_biases = tensors.array(node, 3)
    if states.ndim != 3 or weights.ndim != 3:
        raise _shapes(node, weights, states)
    directions, rows, hidden = states.shape
    bias = np.zeros((directions, 2 * rows), np.float32) if both_biases is None else both_biases
    fits = rows == gates * hidden and weights.shape[:2] == (directions, rows)
    if not fits or bias.shape != (directions, 2 * rows):
        raise _shapes(node, weights, states, bias)
    if node.integer("hidden_size", hidden) != hidden:
        raise node.refuse("has weights of another hidden_size", found=hidden)
    reset_after = bool(node.integer("linear_before_reset", 0))
    functions = [name.lower() for name in node.strings("activations")]
    function: ElementFunction = "relu" if "relu" in functions else "tanh"
    cells = []
    for number in range(directions):
        kernel, recurrent, of_input, of_state = (
            _in_order(kind, array)
            for array in (
                np.asarray(weights[number], np.float32).T,
                np.asarray(states[number], np.float32).T,
                np.asarray(bias[number, :rows], np.float32),
                np.asarray(bias[number, rows:], np.float32),
            )
        )
        if kind == "gru" and reset_after:
            cells.append(Cell(kind, kernel, recurrent, of_input, of_state))
        else:
            cells.append(Cell(kind, kernel, recurrent, of_input + of_state, function=function))
    return cells


def _in_order(kind: Kind, array: FloatArray) -> FloatArray:
    """Gates on the last axis in a network's order."""
    parts = np.split(array, GATES[kind], axis=-1)
    return np.concatenate([parts[position] for position in _ORDER[kind]], axis=-1)


def _shapes(node: OnnxNode, *arrays: FloatArray) -> Exception:
    return node.refuse(
        "has weights that do not fit each other",
        found=", ".join(str(list(array.shape)) for array in arrays),
        expected="[directions, gates·H, in], [directions, gates·H, H], [directions, 2·gates·H]",
    )
