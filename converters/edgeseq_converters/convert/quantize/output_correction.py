"""Predicted numbers that quantization moved, moved back: the last dense layer is fitted anew.

Rounded weights change what a network predicts in a systematic way, which a regression shows and a
label hides. On calibration sequences it is known what the quantized layers give to the last one,
and what the float model predicts; the last layer that leads from one to the other is found by ridge
regression towards the layer's own weights (Hoerl & Kennard 1970). It costs nothing when the model
runs. Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
Correction", section 4.2, corrects the offset alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Dense, Scale
from edgeseq_converters.models.stored_network import network_to_folder

DAMPINGS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridges that are tried, as fractions of the features' mean variance."""
_Doubles = npt.NDArray[np.float64]


def network_of_features(model: TrainedModel) -> Network | None:
    """The network up to what its last dense layer reads, [1, features]; None where the last layer
    is not a linear one that reads the layer before it, which no correction is known for."""
    network = network_of(model)
    last = network.layers[-1]
    if len(network.layers) < 2 or not isinstance(last, Dense) or last.function != "linear":
        return None
    before = network.layers[-2]
    if tuple(network.sources(last)) != (before.name,):
        return None
    count = len(last.kernel)
    # It takes the last layer's place, so that every other one is stored as in the whole network.
    unchanged = Scale(last.name, np.ones(count, np.float32), np.zeros(count, np.float32))
    return replace(network, layers=(*network.layers[:-1], unchanged))


def correct_outputs(
    model: TrainedModel, features: Sequence[FloatArray], reference: Sequence[FloatArray]
) -> TrainedModel:
    """The model with the last layer that leads from the `features` [N][features] of a quantized
    file of `network_of_features` to `reference` [N][outputs]."""
    network = network_of(model)
    *layers, last = network.layers
    if not isinstance(last, Dense):
        raise TypeError(f"{last.name} is not a dense layer")
    given, expected = (np.asarray(rows, np.float64) for rows in (features, reference))
    missing = expected - (given @ last.kernel + last.bias)
    kernel, bias = _ridge(given, missing, _best_damping(given, missing))
    corrected = replace(
        last,
        kernel=(last.kernel + kernel).astype(np.float32),
        bias=(last.bias + bias).astype(np.float32),
    )
    _, arrays = network_to_folder(replace(network, layers=(*layers, corrected)))
    return msgspec.structs.replace(model, weights=dict(arrays))


def _best_damping(given: _Doubles, missing: _Doubles) -> float:
    """The damping that predicts one half of the sequences best from the other; infinity, which
    moves the offset alone, where none does better."""
    halves = [np.arange(len(given)) % 2 == half for half in (0, 1)]
    if len(given) < 4:
        return np.inf

    def error(damping: float) -> float:
        total = 0.0
        for fitted in halves:
            kernel, bias = _ridge(given[fitted], missing[fitted], damping)
            total += float(np.square(missing[~fitted] - given[~fitted] @ kernel - bias).sum())
        return total

    return min((np.inf, *DAMPINGS), key=error)


def _ridge(given: _Doubles, missing: _Doubles, damping: float) -> tuple[_Doubles, _Doubles]:
    """A kernel [features, outputs] and a bias [outputs] that give what is `missing`."""
    mean, offset = given.mean(axis=0), missing.mean(axis=0)
    centered = given - mean
    count = given.shape[1]
    variance = float(np.square(centered).sum()) / count
    if not np.isfinite(damping) or variance == 0:
        return np.zeros((count, missing.shape[1])), offset
    products = centered.T @ centered + damping * variance * np.eye(count)
    kernel = np.linalg.solve(products, centered.T @ (missing - offset))
    return kernel, offset - mean @ kernel
