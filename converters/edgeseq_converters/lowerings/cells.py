"""One step of an LSTM or a GRU, for one direction or several side by side."""

from __future__ import annotations

import numpy as np

from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Tensor


def lstm(gates: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """`gates` [d, 4H] before activation (i, f, c, o) and `state` [d, H] → new h and c [d, H].

    c = σ(f)·c + σ(i)·tanh(g), h = σ(o)·tanh(c) (Hochreiter and Schmidhuber 1997, Gers et al.
    2000). One wider operator for several gates was measured and gains nothing.
    """
    i, f, g, o = op.split(gates, 4, 1)
    kept = op.multiply(op.unary("LOGISTIC", f), state)
    state = op.add(kept, op.multiply(op.unary("LOGISTIC", i), op.unary("TANH", g)))
    return op.multiply(op.unary("LOGISTIC", o), op.unary("TANH", state)), state


def gru(projected: Tensor, recurrent: Tensor, hidden: Tensor) -> Tensor:
    """The reset gate after the product: `projected` and `recurrent` [d, 3H] (z, r, h) → h [d, H].

    h = z·h + (1 − z)·c with c = tanh(x_h + r·u_h) (Cho et al. 2014, in cuDNN's form).
    """
    x_z, x_r, x_h = op.split(projected, 3, 1)
    u_z, u_r, u_h = op.split(recurrent, 3, 1)
    z = op.unary("LOGISTIC", op.add(x_z, u_z))
    r = op.unary("LOGISTIC", op.add(x_r, u_r))
    return _mixed(z, hidden, op.unary("TANH", op.add(x_h, op.multiply(r, u_h))))


def gru_gates(projected: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The reset gate before the product, first half: `projected` [d, 3H] and `recurrent` [d, 2H]
    → z, r and the candidate's input x_h, all [d, H]."""
    x_z, x_r, x_h = op.split(projected, 3, 1)
    u_z, u_r = op.split(recurrent, 2, 1)
    return op.unary("LOGISTIC", op.add(x_z, u_z)), op.unary("LOGISTIC", op.add(x_r, u_r)), x_h


def gru_candidate(z: Tensor, x_h: Tensor, product: Tensor, hidden: Tensor) -> Tensor:
    """The second half: `product` [d, H] is (r·h) times its kernel → h [d, H]."""
    return _mixed(z, hidden, op.unary("TANH", op.add(x_h, product)))


def _mixed(z: Tensor, hidden: Tensor, candidate: Tensor) -> Tensor:
    """z·h + (1 − z)·c, as c + z·(h − c)."""
    return op.add(candidate, op.multiply(z, op.pair("SUB", hidden, candidate)))


def zeros_like_columns(rows: Tensor, size: int) -> Tensor:
    """float32 [n, size] of zeros for `rows` [n, ≥ size]; n may be open.

    By a product with 0: a FILL would have a size known only while running, and everything that
    reads it would leave XNNPACK.
    """
    zero = rows.graph.constant("zero", np.zeros(1, np.float32))
    return op.multiply(op.columns(rows, 0, size), zero)
