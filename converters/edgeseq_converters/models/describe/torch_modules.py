"""The modules of a PyTorch state dict.

torch.nn names the arrays of a module: `weight_ih_l0`, … of LSTM, GRU and RNN (of the cells without
`_l0`), `weight` and `bias` of Linear and Embedding, `running_mean` of BatchNorm1d.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.describe.modules import FoundModule, FoundWeights, ModuleKind
from edgeseq_converters.models.torch.files import find_arrays

_RECURRENT = re.compile(r"(?:weight|bias)_(?:ih|hh|hr)(?:_l(\d+))?(_reverse)?$")
_PLAIN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_GATES: dict[int, ModuleKind] = {4: "lstm", 3: "gru", 1: "rnn"}


def torch_weights(path: Path) -> tuple[FoundWeights, Mapping[str, FloatArray]]:
    """The modules and the arrays of a state dict, or of the one within a checkpoint.

    Raises `CheckpointError` for a file that holds more than weights.
    """
    arrays, key = find_arrays(path)
    return FoundWeights(torch_modules(arrays), state_dict=key), arrays


def torch_modules(arrays: Mapping[str, FloatArray]) -> tuple[FoundModule, ...]:
    """The modules in the order of their first array."""
    groups: dict[str, dict[str, FloatArray]] = {}
    for name, array in arrays.items():
        prefix, _, variable = name.rpartition(".")
        is_own = not (prefix and (variable in _PLAIN or _RECURRENT.match(variable)))
        groups.setdefault(name if is_own else prefix, {})[variable] = array
    return tuple(_module(prefix, group) for prefix, group in groups.items())


def _module(prefix: str, group: Mapping[str, FloatArray]) -> FoundModule:
    if any(_RECURRENT.match(name) for name in group):
        return _recurrent(prefix, group)
    names = set(group) - {"num_batches_tracked"}
    weight = group.get("weight")
    if "running_mean" in names:
        return FoundModule("batch_norm", prefix, group["running_mean"].size)
    if weight is None:
        return _single(prefix, next(iter(group.values())))
    if weight.ndim != 2:
        if weight.ndim == 1:
            return FoundModule("layer_norm", prefix, weight.size)
        kind = "a convolution" if weight.ndim == 3 else "no known layer"
        return FoundModule("other", prefix, note=f"looks like {kind}")
    return _matrix(prefix, weight, has_bias="bias" in names)


def _single(prefix: str, array: FloatArray) -> FoundModule:
    if array.size and array.size == max(array.shape, default=0):
        return FoundModule("vector", prefix, array.size, 1)
    return FoundModule("other", prefix, note=f"is an array of shape {list(array.shape)}")


def _matrix(prefix: str, weight: FloatArray, *, has_bias: bool) -> FoundModule:
    rows, size = (int(length) for length in weight.shape)
    if not weight.size:
        return FoundModule("other", prefix, note="has an empty weight")
    if has_bias:
        return FoundModule("linear", prefix, size, rows)
    return FoundModule("table", prefix, rows, size, zero_row=not np.any(weight[0]))


def _recurrent(prefix: str, group: Mapping[str, FloatArray]) -> FoundModule:
    matches = [match for name in group if (match := _RECURRENT.match(name))]
    if len(matches) != len(group):
        return FoundModule("other", prefix, note="holds more than a recurrent layer")
    if any(name.startswith("weight_hr") for name in group):
        return FoundModule("other", prefix, note="has a projection (proj_size)")
    layers = {match[1] for match in matches}
    is_cell = layers == {None}
    end = "" if is_cell else "_l0"
    weight, states = group.get(f"weight_ih{end}"), group.get(f"weight_hh{end}")
    if weight is None or states is None or weight.ndim != 2 or states.ndim != 2:
        return FoundModule("other", prefix, note="lacks arrays of a recurrent layer")
    hidden = int(states.shape[1])
    kind = _GATES.get(int(states.shape[0]) // max(hidden, 1))
    if kind is None:
        return FoundModule("other", prefix, note="has another number of gates than known cells")
    directions = 2 if any(match[2] for match in matches) else 1
    return FoundModule(
        kind, prefix, int(weight.shape[1]), hidden * directions, directions, len(layers)
    )
