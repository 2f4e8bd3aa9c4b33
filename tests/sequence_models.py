"""An LSTM that reads numeric sequences: weights as PyTorch names them, and their description."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

WEIGHTS, DESCRIPTION = "m.safetensors", "network.toml"
_DESCRIPTION = """
[input]
features = {features}
[[layer]]
kind = "lstm"
prefix = "reader"
[[layer]]
kind = "pool"
how = "last"
[[layer]]
kind = "linear"
prefix = "head"
activation = "{activation}"
"""


def write_sequence_model(
    folder: Path, rng: Any, *, sizes: tuple[int, int, int], scale: float, activation: str = "linear"
) -> tuple[Path, Path]:
    """Writes random weights of this scale, and what describes them; returns both paths.

    `sizes` are those of the features, the state and the outputs.
    """
    features, hidden, outputs = sizes
    shapes = {
        "reader.weight_ih_l0": (4 * hidden, features),
        "reader.weight_hh_l0": (4 * hidden, hidden),
        "reader.bias_ih_l0": (4 * hidden,),
        "reader.bias_hh_l0": (4 * hidden,),
        "head.weight": (outputs, hidden),
        "head.bias": (outputs,),
    }
    weights = {
        name: rng.normal(size=shape, scale=scale).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / WEIGHTS)
    description = _DESCRIPTION.format(features=features, activation=activation)
    (folder / DESCRIPTION).write_text(description)
    return folder / WEIGHTS, folder / DESCRIPTION
