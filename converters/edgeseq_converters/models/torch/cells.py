"""PyTorch's recurrent weights in a network's layout.

torch.nn.LSTM keeps weights [gates·H, in] with the gates i, f, g, o and two biases that are added;
torch.nn.GRU has r, z, n and applies the reset gate after the recurrent product; torch.nn.RNN has
one gate, two biases, and tanh or relu (the formulas of the classes' documentation). A network has
[in, gates·H], i, f, c, o and z, r, h.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import (
    GATES,
    Cell,
    Dense,
    ElementFunction,
    Function,
    Kind,
    Recurrent,
)


def cell_of(
    kind: Kind, arrays: Sequence[FloatArray], where: str, function: ElementFunction = "tanh"
) -> Cell:
    """One direction of one layer: weight_ih [g·H, in], weight_hh [g·H, H] and, unless `bias=False`,
    bias_ih [g·H] and bias_hh [g·H]. `function` is an RNN's `nonlinearity`.

    Raises `CheckpointError` when the shapes do not fit each other (`where` names the layer), as
    with `proj_size`.
    """
    gates = GATES[kind]
    if len(arrays) not in (2, 4) or arrays[0].ndim != 2 or arrays[1].ndim != 2:
        raise _shapes(arrays, where)
    rows, hidden = arrays[1].shape
    if rows != gates * hidden or arrays[0].shape[0] != rows:
        raise _shapes(arrays, where)
    if any(bias.shape != (rows,) for bias in arrays[2:]):
        raise _shapes(arrays, where)
    biases = list(arrays[2:]) or [np.zeros(rows, np.float32), np.zeros(rows, np.float32)]
    kernel, recurrent, bias_ih, bias_hh = (
        _in_order(kind, np.ascontiguousarray(array.T)) for array in (*arrays[:2], *biases)
    )
    if kind != "gru":
        return Cell(kind, kernel, recurrent, bias_ih + bias_hh, function=function)
    return Cell(kind, kernel, recurrent, bias_ih, bias_hh)


def recurrent_layers(
    kind: Kind,
    cells: Sequence[Sequence[FloatArray]],
    *,
    bidirectional: bool,
    name: str,
    function: ElementFunction = "tanh",
) -> tuple[Recurrent, ...]:
    """A stack `{name}.0`, `{name}.1`, … of layers that give sequences, forward before backward."""
    step = 2 if bidirectional else 1
    cells_of_layer = [cell_of(kind, arrays, name, function) for arrays in cells]
    return tuple(
        Recurrent(
            name=f"{name}.{number // step}",
            forward=cells_of_layer[number],
            backward=cells_of_layer[number + 1] if bidirectional else None,
            sequences=True,
        )
        for number in range(0, len(cells_of_layer), step)
    )


def dense_of(
    name: str, weight: FloatArray, bias: FloatArray | None, function: Function = "linear"
) -> Dense:
    """torch.nn.Linear: weight [out, in], bias [out] or None."""
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise CheckpointError(
            "weights of a linear layer do not fit", where=name, found=list(weight.shape)
        )
    if bias is None:
        bias = np.zeros(weight.shape[0], np.float32)
    return Dense(name, np.ascontiguousarray(weight.T), bias, function)


def _in_order(kind: Kind, array: FloatArray) -> FloatArray:
    """Gates on the last axis: r, z, n become z, r, h."""
    if kind != "gru":
        return array
    reset, update, new = np.split(array, 3, axis=-1)
    return np.concatenate([update, reset, new], axis=-1)


def _shapes(arrays: Sequence[FloatArray], where: str) -> CheckpointError:
    return CheckpointError(
        "weights are not those of a plain LSTM, GRU or RNN",
        where=where,
        found=", ".join(str(list(array.shape)) for array in arrays),
        expected="[gates·H, in], [gates·H, H] and two biases or none",
        fix="a projection (proj_size) cannot be converted",
    )
