"""One step of an LSTM or a GRU, for one direction or several side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network import Cell

Product = Callable[[GraphTensor, int, int], GraphTensor]


def lstm(gates: GraphTensor, state: GraphTensor) -> tuple[GraphTensor, GraphTensor]:
    """`gates` [d, 4H] before activation (i, f, c, o) and `state` [d, H] → new h and c [d, H].

    c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c) (Hochreiter and Schmidhuber 1997, Gers et al.
    2000). One wider operator for several gates was measured and gains nothing.
    """
    i, f, g, o = op.split(gates, 4, 1)
    forget = op.multiply(op.unary("LOGISTIC", f), state)
    state = op.add(forget, op.multiply(op.unary("LOGISTIC", i), op.unary("TANH", g)))
    return op.multiply(op.unary("LOGISTIC", o), op.unary("TANH", state)), state


def gru(projected: GraphTensor, hidden: GraphTensor, product: Product, cell: Cell) -> GraphTensor:
    """`projected` [d, 3H] (z, r, h) and `hidden` [d, H] → the new state [d, H].

    h = z·h + (1 − z)·c with c = tanh(x_h + r·u_h) (Cho et al. 2014, in cuDNN's form) when there is
    a recurrent bias, and with c = tanh(x_h + (r·h)·U_h), the original, when there is none.
    `product(state, begin, end)` multiplies states [d, H] by these columns of the recurrent kernel.
    """
    size = cell.hidden_size
    x_z, x_r, x_h = op.split(projected, 3, 1)
    if cell.recurrent_bias is not None:
        u_z, u_r, u_h = op.split(product(hidden, 0, 3 * size), 3, 1)
    else:
        u_z, u_r = op.split(product(hidden, 0, 2 * size), 2, 1)
    z = op.unary("LOGISTIC", op.add(x_z, u_z))
    r = op.unary("LOGISTIC", op.add(x_r, u_r))
    if cell.recurrent_bias is not None:
        past = op.multiply(r, u_h)
    else:
        past = product(op.multiply(r, hidden), 2 * size, 3 * size)
    candidate = op.unary("TANH", op.add(x_h, past))
    # z·h + (1 − z)·c = c + z·(h − c)
    return op.add(candidate, op.multiply(z, op.elementwise("SUB", hidden, candidate)))


def zeros_like_columns(rows: GraphTensor, size: int) -> GraphTensor:
    """float32 [n, size] of zeros for `rows` [n, ≥ size]; n may be open.

    By a product with 0: a FILL would have a size known only while running, and everything that
    reads it would leave XNNPACK.
    """
    zero = rows.graph.constant("zero", np.zeros(1, np.float32))
    return op.multiply(op.columns(rows, 0, size), zero)
