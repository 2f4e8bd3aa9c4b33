"""One direction of a layer of two, where a framework uses it alone."""

from __future__ import annotations

import numpy as np

from edgeseq_converters.models.network_layers import Dense, Recurrent


def backward_states(layer: Recurrent) -> Dense:
    """Of both directions' states side by side the backward ones: a product by ones and zeros.

    A network has no layer that reads from the end alone, so both directions are computed.
    """
    hidden = layer.forward.hidden_size
    kernel = np.concatenate([np.zeros((hidden, hidden)), np.eye(hidden)]).astype(np.float32)
    return Dense(f"{layer.name}.backward", kernel, np.zeros(hidden, np.float32))
