"""What a layer gives for what it gets, and whether its arrays and settings fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network_layers import (
    GATES,
    Activation,
    Attention,
    AttentionPool,
    Convolution,
    Dense,
    ElementFunction,
    FeatureSlice,
    Flatten,
    Join,
    Joining,
    Layer,
    LayerNorm,
    MarkedPool,
    Pool,
    Pooling,
    Recurrent,
    Repeat,
    Scale,
    Scoring,
    WindowPool,
    WindowPooling,
    marked_features,
)
from edgeseq_converters.models.windows import Border, Rows, count_rows, fixed_rows


@dataclass(frozen=True)
class LayerShape:
    """What a layer gives: `rows` of a sequence as `windows.Rows`, None of a vector."""

    features: int
    rows: Rows | None = ()


def shape_after(where: str, layer: Layer, inputs: Sequence[LayerShape]) -> LayerShape:
    """What `layer` makes of its inputs.

    Raises `CheckpointError` about `where` naming the layer when it does not fit them.
    """
    _check_choices(where, layer)
    joins = isinstance(layer, Join | Attention)
    if joins != (len(inputs) > 1):
        raise CheckpointError(f"layer {layer.name} does not take {len(inputs)} inputs", where=where)
    if joins:
        return _joined(where, layer, inputs)
    first = inputs[0]
    if first.rows is None and isinstance(layer, _OF_SEQUENCES):
        raise CheckpointError(
            f"layer {layer.name} needs a sequence and gets one vector a text", where=where
        )
    if isinstance(layer, Flatten | Repeat):
        return _reshaped(where, layer, first)
    _check_arrays(where, layer, first.features)
    features, rows = first.features, first.rows
    if isinstance(layer, Recurrent):
        if len({cell.form for cell in layer.cells}) > 1:
            raise CheckpointError(
                f"layer {layer.name} has two directions that differ in more than their weights",
                where=where,
                found=" and ".join(str(cell.form) for cell in layer.cells),
                expected="cells of one kind, with the same functions",
            )
        return LayerShape(layer.features, rows if layer.sequences else None)
    if isinstance(layer, Convolution | WindowPool):
        rows = layer.window.after(rows or ())
        count = fixed_rows(rows)
        if count is not None and count < 1:
            raise CheckpointError(
                f"layer {layer.name} has windows of more rows than it gets", where=where
            )
    if isinstance(layer, Dense | Convolution):
        features = int(layer.bias.size)
    if isinstance(layer, Pool | AttentionPool | MarkedPool):
        rows = None
    if isinstance(layer, MarkedPool):
        features = marked_features(features, len(layer.marks))
    if isinstance(layer, FeatureSlice):
        features = layer.end - layer.begin
    return LayerShape(features, rows)


def _reshaped(where: str, layer: Flatten | Repeat, before: LayerShape) -> LayerShape:
    """A sequence as one vector, or a vector as a sequence of equal rows."""
    if isinstance(layer, Flatten):
        rows = count_rows(before.rows or (), layer.tokens)
        return LayerShape(before.features * max(rows, 0), None)
    if before.rows is not None:
        raise CheckpointError(
            f"layer {layer.name} repeats a vector and gets a sequence", where=where
        )
    return LayerShape(before.features, ((layer.rows, 0),))


def _joined(where: str, layer: Layer, inputs: Sequence[LayerShape]) -> LayerShape:
    """The shape of several inputs as one."""
    first = inputs[0]

    def refuse(what: str) -> CheckpointError:
        return CheckpointError(f"layer {layer.name} {what}", where=where)

    if isinstance(layer, Attention):
        if len(inputs) > 3 or any(shape.rows is None for shape in inputs):
            raise refuse("needs two or three sequences: query, value and key")
        key = inputs[-1]
        if key.features != first.features or key.rows != inputs[1].rows:
            raise refuse("has a query, a value and a key that do not fit each other")
        _check_arrays(where, layer, first.features)
        return LayerShape(inputs[1].features, first.rows)
    if any(shape.rows != first.rows for shape in inputs):
        raise refuse("joins sequences of different lengths, or a sequence with a vector")
    if isinstance(layer, Join) and layer.how == "concat":
        return LayerShape(sum(shape.features for shape in inputs), first.rows)
    features = max(shape.features for shape in inputs)
    if any(shape.features not in (1, features) for shape in inputs):
        raise refuse("joins layers of different numbers of features")
    return LayerShape(features, first.rows)


def _check_arrays(where: str, layer: Layer, features: int) -> None:
    """Raises `CheckpointError` for arrays that do not fit inputs of `features`."""
    for array, *shape in _EXPECTED_SHAPES[type(layer)](layer, features):
        if array.shape != tuple(shape):
            raise CheckpointError(
                f"layer {layer.name} has an array whose shape does not fit its inputs",
                where=where,
                found=list(array.shape),
                expected=shape,
            )
        check_numbers(where, layer.name, array)
    if isinstance(layer, LayerNorm) and not 0 <= layer.epsilon < math.inf:
        raise CheckpointError(
            f"layer {layer.name} has an epsilon that is negative or not a number",
            where=where,
            found=layer.epsilon,
        )
    if isinstance(layer, FeatureSlice) and not 0 <= layer.begin < layer.end <= features:
        raise CheckpointError(
            f"layer {layer.name} takes features that its inputs do not have",
            where=where,
            found=f"{layer.begin} to {layer.end}",
            expected=f"within 0 to {features}",
        )


def _recurrent_shapes(layer: Recurrent, features: int) -> list[tuple[Any, ...]]:
    shapes: list[tuple[Any, ...]] = []
    for cell in layer.cells:
        hidden, gates = layer.forward.hidden_size, GATES[cell.kind] * cell.hidden_size
        shapes += [
            (cell.kernel, features, gates),
            (cell.recurrent_kernel, hidden, gates),
            (cell.bias, gates),
        ]
        if cell.recurrent_bias is not None:
            shapes.append((cell.recurrent_bias, gates))
    return shapes


def _no_arrays(_layer: Layer, _features: int) -> list[tuple[Any, ...]]:
    return []


_EXPECTED_SHAPES: dict[type[Any], Callable[[Any, int], list[tuple[Any, ...]]]] = {
    Recurrent: _recurrent_shapes,
    Dense: lambda layer, features: [
        (layer.kernel, features, layer.bias.size),
        (layer.bias, layer.kernel.shape[1]),
    ],
    Scale: lambda layer, features: [(layer.factor, features), (layer.offset, features)],
    LayerNorm: lambda layer, features: [(layer.scale, features), (layer.offset, features)],
    Attention: lambda layer, features: [] if layer.weights is None else [(layer.weights, features)],
    AttentionPool: lambda layer, features: [
        (layer.kernel, features, layer.query.size),
        (layer.bias, layer.query.size),
        (layer.query, layer.kernel.shape[1]),
    ],
    Convolution: lambda layer, features: [
        (layer.kernel, layer.window.size, features, layer.bias.size),
        (layer.bias, layer.kernel.shape[2]),
    ],
    **dict.fromkeys((Pool, MarkedPool, Activation, WindowPool, Join, FeatureSlice), _no_arrays),
}
"""The arrays of a layer, each followed by the shape that it must have for inputs of so many
features."""
_OF_SEQUENCES = (Recurrent, Pool, AttentionPool, MarkedPool, Convolution, WindowPool, Flatten)
_HOWS: dict[type[Any], tuple[str, ...]] = {
    Pool: get_args(Pooling),
    WindowPool: get_args(WindowPooling),
    Join: get_args(Joining),
    Attention: get_args(Scoring),
}


def _check_choices(where: str, layer: Layer) -> None:
    """Refuses a kind of cell, a function or another setting that there is none of."""
    elements = get_args(ElementFunction)
    choices: list[tuple[str, tuple[str, ...]]] = []
    if isinstance(layer, Recurrent):
        for cell in layer.cells:
            choices.append((cell.kind, tuple(GATES)))
            choices += [(cell.gate_function, elements), (cell.function, elements)]
    if isinstance(layer, Dense | Activation | Convolution):
        choices.append((layer.function, (*elements, "softmax")))
    if isinstance(layer, Convolution | WindowPool):
        choices.append((layer.border, get_args(Border)))
    if isinstance(layer, Pool | WindowPool | Join | Attention):
        choices.append((layer.how, _HOWS[type(layer)]))
    for found, known in choices:
        if found not in known:
            raise CheckpointError(
                f"layer {layer.name} has an unknown function, kind of cell or other setting",
                where=where,
                found=found,
                expected=", ".join(known),
            )
    if isinstance(layer, Convolution | WindowPool):
        window = layer.window
        if min(window.size, window.stride, window.dilation) < 1:
            raise CheckpointError(
                f"layer {layer.name} has windows of no size, stride or dilation", where=where
            )


def check_numbers(where: str, layer: str, array: FloatArray) -> None:
    """Raises `CheckpointError` for an array of a layer that is empty, or holds NaN or infinity."""
    if not array.size:
        raise CheckpointError(
            f"layer {layer} has an empty array", where=where, found=list(array.shape)
        )
    if not np.isfinite(array).all():
        raise CheckpointError(f"layer {layer} holds a value that is not a number", where=where)
