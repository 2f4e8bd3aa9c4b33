"""Operations on constants and on shapes, computed while reading: they do not depend on the text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.tensors import OnnxTensors, axis_number
from edgeseq_converters.models.onnx.values import Shaped, Stack, ZeroTensor

Array = np.ndarray[Any, Any]
MOST_AXES = 16
"""Sizes of a shape that is followed: networks of text have at most five."""
_LARGEST = 1 << 28
"""Values that folding may make of a constant: a file may claim any shape."""


def constant(_tensors: OnnxTensors, node: OnnxNode) -> Array:
    """The node's own value."""
    (value, *others) = node.attributes.values() or (None,)
    if others or value is None or isinstance(value, str):
        raise node.refuse("holds no array", found=", ".join(node.attributes))
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def shape_of(tensors: OnnxTensors, node: OnnxNode) -> Array:
    """The sizes of a tensor, open ones as `Size`."""
    value = tensors.get(node, 0)
    if isinstance(value, np.ndarray):
        sizes: list[object] = list(value.shape)
    elif isinstance(value, Shaped):
        width = getattr(value, "width", 1)
        stacked = len(value.elements) if isinstance(value, Stack) else 1
        sizes = [tensors.size(axis, width, stacked) for axis in value.axes]
    else:
        raise node.refuse("takes the shape of something that is not known")
    end = node.integer("end", len(sizes))
    return objects(sizes[node.integer("start", 0) : end])


def objects(values: list[object]) -> Array:
    """An array that may hold open sizes."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def zeros(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A constant of a shape, which may be open where it is zero."""
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if not np.any(value):
        return ZeroTensor()
    shape = tensors.integers(node, 0, "shape")
    if shape is None or np.size(value) != 1:
        raise node.refuse("makes a constant of no known shape or value")
    if min(shape, default=0) < 0 or math.prod(shape) > _LARGEST or len(shape) > MOST_AXES:
        raise node.refuse("makes a constant that is too large", found=list(shape))
    return np.full(shape, np.reshape(value, ())[()])


def fold(tensors: OnnxTensors, node: OnnxNode) -> object | None:
    """The result of an operation whose inputs are all constants, shapes or zeros; else None."""
    values = [tensors.get(node, index) for index in range(len(node.inputs))]
    arrays = [value for value in values if value is not None]
    if not arrays or not all(isinstance(value, np.ndarray | ZeroTensor) for value in arrays):
        return None
    if isinstance(arrays[0], ZeroTensor):
        # What moves zeros about gives zeros.
        moved = node.operator in (*_MOVES, "Cast", "Expand")
        return (
            ZeroTensor()
            if moved or all(isinstance(value, ZeroTensor) for value in arrays)
            else None
        )
    if any(isinstance(value, ZeroTensor) for value in arrays):
        return None
    if node.operator == "Expand":
        return ZeroTensor() if not np.any(arrays[0]) else None
    function = _FOLDS.get(node.operator)
    if function is None:
        return None
    if sum(value.size for value in arrays) > _LARGEST or _pairs(node, arrays) > _LARGEST:
        raise node.refuse("makes a constant that is too large")
    try:
        result: object = function(tensors, node, values)
    except (TypeError, ValueError, IndexError, AttributeError) as failure:
        # AttributeError: an input that it needs is left out.
        raise node.refuse("computes with shapes in a way that is not known") from failure
    return result


def _pairs(node: OnnxNode, values: list[Array]) -> int:
    """The values that an operation on two arrays makes, at most."""
    if len(values) != 2 or node.operator not in ("Add", "Sub", "Mul", "Div", "Gather"):
        return 0
    return int(values[0].size) * int(values[1].size) if min(v.ndim for v in values) else 0


def _cast(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    (array,) = values
    if array.dtype == object:
        return array
    kinds: dict[int, Any] = {
        **{1: np.float32, 10: np.float32, 11: np.float32},
        **{6: np.int64, 7: np.int64, 9: bool},
    }
    to = node.integer("to", 0)
    if to not in kinds:
        raise node.refuse("changes to a type that cannot be converted", found=to)
    return array.astype(kinds[to])


def _transpose(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    return values[0].transpose(node.integers("perm"))


def _reshape(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    array, shape = values
    sizes = [
        array.shape[position] if size == 0 and not node.integer("allowzero", 0) else size
        for position, size in enumerate(shape.tolist())
    ]
    return array.reshape(sizes)


def _unsqueeze(tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    axes = tensors.integers(node, 1, "axes") or ()
    return np.expand_dims(values[0], axes)


def _squeeze(tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    return np.squeeze(values[0], tensors.integers(node, 1, "axes"))


def _concat(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    return np.concatenate(values, axis=node.integer("axis", 0))


def _gather(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    return np.asarray(np.take(values[0], values[1].astype(np.int64), axis=node.integer("axis", 0)))


def slices(tensors: OnnxTensors, node: OnnxNode, rank: int) -> dict[int, slice]:
    """The slice of each axis that `Slice` cuts."""
    starts = tensors.integers(node, 1, "starts") or ()
    ends = tensors.integers(node, 2, "ends") or ()
    axes = tensors.integers(node, 3, "axes") or tuple(range(len(starts)))
    steps = tensors.integers(node, 4, "steps") or (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.refuse("has starts and ends that do not go together")
    entries = zip(axes, starts, ends, steps, strict=True)
    return {axis_number(node, axis, rank): slice(a, b, step) for axis, a, b, step in entries}


def _slice(tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    cuts = slices(tensors, node, values[0].ndim)
    return values[0][tuple(cuts.get(axis, slice(None)) for axis in range(values[0].ndim))]


def _of_two(function: Callable[..., Any]) -> Callable[[OnnxTensors, OnnxNode, list[Array]], Array]:
    return lambda _tensors, _node, values: np.asarray(function(*values))


def _divide(_tensors: OnnxTensors, node: OnnxNode, values: list[Array]) -> Array:
    first, second = values
    whole = first.dtype.kind in "iO"
    if not np.all(second != 0):
        raise node.refuse("divides by 0")
    return np.asarray(first // second if whole else first / second)


_MOVES: dict[str, Callable[[OnnxTensors, OnnxNode, list[Any]], Array]] = {
    "Identity": lambda _tensors, _node, values: np.asarray(values[0]),
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
}
_FOLDS = _MOVES | {
    "Cast": _cast,
    "Add": _of_two(np.add),
    "Sub": _of_two(np.subtract),
    "Mul": _of_two(np.multiply),
    "Div": _divide,
    "Neg": _of_two(np.negative),
    "Sqrt": _of_two(np.sqrt),
}
