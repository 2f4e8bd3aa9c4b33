"""One step of an LSTM, a GRU or a simple RNN, for one direction or several side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeseq_converters.convert.lower.recurrent.layers import function
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network_layers import Cell

Product = Callable[[GraphTensor, int, int], GraphTensor]


def lstm(gates: GraphTensor, state: GraphTensor, cell: Cell) -> tuple[GraphTensor, GraphTensor]:
    """`gates` [d, 4H] before activation (i, f, c, o) and `state` [d, H] → new h and c [d, H].

    c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c) (Hochreiter and Schmidhuber 1997, Gers et al.
    2000), with the cell's functions in the place of σ and tanh. One wider operator for several
    gates was measured and gains nothing.
    """

    def opened(gate: GraphTensor) -> GraphTensor:
        return function(gate, cell.gate_function)

    i, f, g, o = op.split(gates, 4, 1)
    forget = op.multiply(opened(f), state)
    state = op.add(forget, op.multiply(opened(i), function(g, cell.function)))
    return op.multiply(opened(o), function(state, cell.function)), state


def gru(projected: GraphTensor, hidden: GraphTensor, product: Product, cell: Cell) -> GraphTensor:
    """`projected` [d, 3H] (z, r, h) and `hidden` [d, H] → the new state [d, H].

    h = z·h + (1 − z)·c with c = tanh(x_h + r·u_h) (Cho et al. 2014, in cuDNN's form) when there is
    a recurrent bias, and with c = tanh(x_h + (r·h)·U_h), the original, when there is none; with
    the cell's functions.
    `product(state, begin, end)` multiplies states [d, H] by these columns of the recurrent kernel.
    """
    size = cell.hidden_size
    x_z, x_r, x_h = op.split(projected, 3, 1)
    if cell.recurrent_bias is not None:
        u_z, u_r, u_h = op.split(product(hidden, 0, 3 * size), 3, 1)
    else:
        u_z, u_r = op.split(product(hidden, 0, 2 * size), 2, 1)
    z = function(op.add(x_z, u_z), cell.gate_function)
    r = function(op.add(x_r, u_r), cell.gate_function)
    if cell.recurrent_bias is not None:
        past = op.multiply(r, u_h)
    else:
        past = product(op.multiply(r, hidden), 2 * size, 3 * size)
    candidate = function(op.add(x_h, past), cell.function)
    # z·h + (1 − z)·c = c + z·(h − c)
    return op.add(candidate, op.multiply(z, op.elementwise("SUB", hidden, candidate)))


def advance(gates: GraphTensor, state: GraphTensor, cell: Cell) -> tuple[GraphTensor, GraphTensor]:
    """`gates` x·W + h·U + b of an LSTM [d, 4H] with its `state` [d, H], or of a simple RNN (Elman
    1990) [d, H] → the new h and, of an LSTM, c."""
    if cell.kind == "lstm":
        return lstm(gates, state, cell)
    hidden = function(gates, cell.function)
    return hidden, hidden


def zeros_like_columns(rows: GraphTensor, size: int) -> GraphTensor:
    """float32 [n, size] of zeros for `rows` [n, ≥ size]; n may be open.

    By a product with 0: a FILL would have a size known only while running, and everything that
    reads it would leave XNNPACK.
    """
    zero = rows.graph.constant("zero", np.zeros(1, np.float32))
    return op.multiply(op.columns(rows, 0, size), zero)
