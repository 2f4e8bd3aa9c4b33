"""What flows into a recurrent network's products on real texts: int4 weights are rounded for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeseq_converters.convert.quantize.gptq import Moments, Sums, first_tokens
from edgeseq_converters.models.arrays import FloatArray, ModelInput
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import AttentionPool, Dense, Layer, Recurrent
from edgeseq_converters.models.reference_recurrent import answers


def input_moments(network: Network, texts: Sequence[ModelInput]) -> Moments:
    """The moments of every product's inputs over the first tokens of `texts`, by the names that
    the lowerings give their products."""
    sums = Sums()
    layers: dict[str, Layer] = {f"{layer.name}/output": layer for layer in network.layers}
    states: dict[str, FloatArray] = {}
    outputs: dict[str, FloatArray] = {}

    def observe(name: str, values: FloatArray) -> None:
        if name.endswith("/hidden"):
            states[name] = values[:, :-1]  # a state is multiplied in the step after its own
        elif name.endswith("/reset"):
            sums.add(name.replace("/reset", "/candidate"), values)
        elif name.endswith("/windows"):
            sums.add(name.removesuffix("/windows"), values)
        elif name in layers:
            layer = layers[name]
            _add(sums, layer, outputs[network.sources(layer)[0]], states)
            outputs[layer.name] = values
        elif name == f"{network.input.name}/output":
            outputs[network.input.name] = values

    answers(network, first_tokens(texts), observe)
    return sums.moments()


def _add(sums: Sums, layer: Layer, reaching: FloatArray, states: dict[str, FloatArray]) -> None:
    """Counts what flows into the products of one layer, which `reaching` goes into."""
    if isinstance(layer, Dense | AttentionPool):
        sums.add(layer.name, reaching)
    if not isinstance(layer, Recurrent):
        return
    sums.add(f"{layer.name}/kernel", reaching)
    for direction in ("forward", "backward")[: len(layer.cells)]:
        state = states[f"{layer.name}/{direction}/hidden"]
        sums.add(f"{layer.name}/{direction}/kernel", reaching)
        sums.add(f"{layer.name}/{direction}/recurrent", state)
    if layer.backward is None:
        forward = states[f"{layer.name}/forward/hidden"]
        sums.add(f"{layer.name}/both", np.concatenate([reaching, forward], axis=-1))
