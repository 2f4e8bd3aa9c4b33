"""Keras' LSTM, GRU, SimpleRNN and Bidirectional as a `Recurrent` layer."""

from __future__ import annotations

from typing import Any, cast, get_args

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.checks import (
    check_dtype,
    check_settings,
    check_shape,
    unknown,
)
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.functions import element_function_of
from edgeseq_converters.models.keras.weights import KerasWeights, Slot
from edgeseq_converters.models.network_layers import GATES, Cell, Kind, Merge, Recurrent

_KINDS: dict[str, Kind] = {
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "rnn",
    "CuDNNLSTM": "lstm",
    "CuDNNGRU": "gru",
}
RECURRENT = (*_KINDS, "Bidirectional")
"""The classes that `recurrent_of` reads."""
_SETTINGS = (
    *("units", "activation", "recurrent_activation", "use_bias", "reset_after"),
    *("return_sequences", "return_state", "go_backwards", "time_major"),
    # Without effect: how it is computed, and what the framework keeps between calls.
    *("implementation", "unroll", "use_cudnn", "stateful", "zero_output_for_mask"),
)


def recurrent_of(layer: KerasLayer, weights: KerasWeights) -> Recurrent:
    """An LSTM, GRU or SimpleRNN, in one direction or both."""
    if layer.class_name != "Bidirectional":
        cell = _cell(layer, layer, "", weights, backwards=False)
        return Recurrent(layer.name, cell, sequences=layer.flag("return_sequences"))
    inner = layer.inner("layer")
    backward = layer.inner("backward_layer") if layer.config.get("backward_layer") else inner
    merge = layer.config.get("merge_mode", "concat")
    if merge not in get_args(Merge):
        raise layer.refuse(
            "has a strange merge_mode", found=merge, expected=", ".join(get_args(Merge))
        )
    sequences = inner.flag("return_sequences")
    kinds = {_KINDS.get(cell.class_name) for cell in (inner, backward)}
    if len(kinds) > 1 or sequences != backward.flag("return_sequences"):
        raise layer.refuse("has two directions that differ")
    if inner.integer("units") != backward.integer("units"):
        raise layer.refuse("has two directions of different units")
    # One call for both directions: a file names a layer's arrays all together.
    slots = [*_slots(inner, "forward_layer"), *_slots(backward, "backward_layer")]
    arrays = weights.arrays(layer, slots)
    half = len(_slots(inner, "forward_layer"))
    has_backward_layer = backward is not inner
    return Recurrent(
        layer.name,
        _cell_of(inner, arrays[:half], backwards=False),
        _cell_of(backward, arrays[half:], backwards=has_backward_layer),
        cast(Merge, merge),
        sequences,
    )


def _cell(
    owner: KerasLayer, layer: KerasLayer, part: str, weights: KerasWeights, *, backwards: bool
) -> Cell:
    arrays = weights.arrays(owner, _slots(layer, part))
    return _cell_of(layer, arrays, backwards=backwards)


def _slots(layer: KerasLayer, part: str) -> list[Slot]:
    names = ["kernel", "recurrent_kernel"]
    if layer.class_name.startswith("CuDNN") or layer.flag("use_bias", default=True):
        names.append("bias")
    path = f"{part}/cell" if part else "cell"
    return [(path, name) for name in names]


def _cell_of(layer: KerasLayer, arrays: list[FloatArray], *, backwards: bool) -> Cell:
    """One direction's cell."""
    kind = _KINDS.get(layer.class_name)
    if kind is None:
        raise unknown(layer)
    check_dtype(layer)
    cudnn = layer.class_name.startswith("CuDNN")
    functions: dict[str, Any] = {}
    if not cudnn:
        functions["function"] = element_function_of(layer, "activation")
    if not cudnn and kind != "rnn":
        functions["gate_function"] = element_function_of(layer, "recurrent_activation")
    check_settings(layer, *_SETTINGS)
    layer.flag("return_state")  # the states are further outputs, and who takes one is refused
    if layer.flag("time_major"):
        raise layer.refuse("has time_major=True, which a network of layers cannot say")
    if layer.flag("go_backwards") != backwards:
        raise layer.refuse(
            "reads the text from its end (go_backwards)", fix="use Bidirectional, or retrain"
        )
    units, gates = layer.integer("units"), GATES[kind]
    kernel, recurrent, *rest = arrays
    check_shape(layer, "kernel", kernel, None, gates * units)
    check_shape(layer, "recurrent_kernel", recurrent, units, gates * units)
    bias = rest[0] if rest else np.zeros(gates * units, np.float32)
    if cudnn:
        kernel, recurrent = _from_cudnn(kernel, gates), _by_gate(recurrent, gates)
        check_shape(layer, "bias", bias, 2 * gates * units)
        bias = bias.reshape(2, -1)
        bias = bias.sum(axis=0) if kind == "lstm" else bias
    if kind != "gru" or not (cudnn or layer.flag("reset_after")):
        check_shape(layer, "bias", bias, gates * units)
        return Cell(kind, kernel, recurrent, bias, **functions)
    if not rest:
        return Cell(kind, kernel, recurrent, bias, np.zeros_like(bias), **functions)
    check_shape(layer, "bias", bias, 2, gates * units)
    return Cell(kind, kernel, recurrent, bias[0], bias[1], **functions)


def _from_cudnn(kernel: FloatArray, gates: int) -> FloatArray:
    """cuDNN keeps each gate's matrix as [units, in] and Keras' file only wrote its numbers in
    the shape [in, units] (tf_keras/src/saving/legacy/hdf5_format.py)."""
    parts = [part.reshape(part.shape[::-1]).T for part in np.split(kernel, gates, axis=1)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def _by_gate(recurrent: FloatArray, gates: int) -> FloatArray:
    parts = [part.T for part in np.split(recurrent, gates, axis=1)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1))
