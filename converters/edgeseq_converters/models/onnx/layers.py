"""ONNX operations that are a layer, change nothing, or pool: what they make of known values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.attention_scores import pool_by_scores, split_scorers
from edgeseq_converters.models.network_layers import (
    HARD_SIGMOID_SLOPES,
    Activation,
    Convolution,
    Dense,
    Embedding,
    Function,
    Joining,
    LayerNorm,
    Pool,
    Recurrent,
    Scale,
)
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.shapes import both_directions, join_states
from edgeseq_converters.models.onnx.tensors import OnnxTensors, axis_number, same_layers
from edgeseq_converters.models.onnx.values import (
    FEATURES,
    Direction,
    Shares,
    Stack,
    States,
    TextLengths,
    TokenIds,
    WeightedStates,
)

Operation = Callable[[OnnxTensors, OnnxNode], object]
"""What an operation's first output means, given the tensors that are known."""


def gather_rows(tensors: OnnxTensors, node: OnnxNode) -> States:
    """The look-up of the text's ids in a table, once."""
    ids = tensors.get(node, 1)
    table = tensors.weights(node, 0)
    if not isinstance(ids, TokenIds) or tensors.entry is not None or node.integer("axis", 0):
        raise node.refuse("looks up something else than the text's ids, once")
    if table.ndim != 2 or not table.size:
        raise node.refuse("has no table", found=list(table.shape))
    tensors.entry = Embedding("embedding", table)
    return States((), (*ids.axes, (FEATURES,)), int(table.shape[1]))


def unchanged(tensors: OnnxTensors, node: OnnxNode) -> object:
    """The input."""
    return tensors.get(node, 0)


def dropout(tensors: OnnxTensors, node: OnnxNode) -> object:
    """The input; refused in training mode."""
    training = tensors.array(node, 2)
    if training is not None and training.any():
        raise node.refuse("is in training mode", fix="export model.eval()")
    return tensors.get(node, 0)


def cast(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Ids and lengths are whole numbers in any type; states are float32 in any type of float."""
    value = tensors.get(node, 0)
    if isinstance(value, TokenIds | TextLengths):
        return value
    if node.integer("to", 0) not in (1, 10, 11, 16):
        raise node.refuse("changes states to another type", found=node.attributes.get("to"))
    return tensors.flow(node)


def matmul(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A dense layer, or attention's weights times states."""
    first, second = tensors.get(node, 0), tensors.get(node, 1)
    if isinstance(first, Shares):
        return _weighted_sum(tensors, node, first, second)
    flow = tensors.flow(node)
    kernel = tensors.weights(node, 1)
    if flow.axes[-1] != (FEATURES,) or kernel.ndim != 2:
        raise node.refuse("does not multiply the features by a matrix", found=list(kernel.shape))
    return _dense(tensors, node, flow, kernel, np.zeros(kernel.shape[1], np.float32))


def gemm(tensors: OnnxTensors, node: OnnxNode) -> States:
    """A dense layer: A·B + C with B turned by `transB`."""
    flow = tensors.flow(node)
    kernel = tensors.weights(node, 1)
    if node.integer("transA", 0) or flow.axes[-1] != (FEATURES,) or kernel.ndim != 2:
        raise node.refuse("does not multiply the features by a matrix", found=list(kernel.shape))
    kernel = (kernel.T if node.integer("transB", 0) else kernel) * np.float32(
        node.number("alpha", 1.0)
    )
    bias = np.zeros(kernel.shape[1], np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        addend = tensors.weights(node, 2) * np.float32(node.number("beta", 1.0))
        bias = bias + _by_feature(node, addend, bias.size)
    return _dense(tensors, node, flow, kernel, bias)


def _dense(
    tensors: OnnxTensors, node: OnnxNode, flow: States, kernel: FloatArray, bias: FloatArray
) -> States:
    if kernel.shape[0] != flow.width:
        raise node.refuse("does not fit its inputs", found=kernel.shape[0], expected=flow.width)
    dense = Dense(tensors.named(node), np.ascontiguousarray(kernel), bias)
    return flow.then(dense, width=int(kernel.shape[1]))


def _along_features(node: OnnxNode, flow: States, array: FloatArray) -> FloatArray:
    """The numbers of an array that lies beside states, of one or one for each feature."""
    lengths = (1,) * (len(flow.axes) - array.ndim) + array.shape
    allowed = [flow.width if axis == (FEATURES,) else 1 for axis in flow.axes]
    fits = len(lengths) == len(allowed) and all(
        length in (1, most) for length, most in zip(lengths, allowed, strict=False)
    )
    if array.size != 1 and not fits:
        raise node.refuse("is given an array that is not one number a feature", found=array.shape)
    return np.asarray(array, np.float32).reshape(-1)


def _by_feature(node: OnnxNode, array: FloatArray, width: int) -> FloatArray:
    """An array of one number, or one for each feature, which are last."""
    if array.size not in (1, width) or (array.ndim and array.shape[-1] not in (1, width)):
        raise node.refuse("is given an array that is not one number a feature", found=array.shape)
    return np.broadcast_to(array.reshape(-1), (width,)).astype(np.float32)


def add(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A bias or an offset, or the sum of two directions."""
    parts = _merged(tensors, node, "sum") or _joined(tensors, node, "add")
    if parts is not None:
        return parts
    flow, array, _ = _flow_and_array(tensors, node)
    last = flow.layers[-1] if flow.layers else None
    offset = _by_feature(node, array, flow.width)
    if isinstance(last, Dense | Convolution) and last.function == "linear":
        return replace(flow, layers=(*flow.layers[:-1], replace(last, bias=last.bias + offset)))
    return _scaled(tensors, node, flow, np.ones(flow.width, np.float32), offset)


def subtract(tensors: OnnxTensors, node: OnnxNode) -> States:
    """A constant, or other states, taken away."""
    joined = _joined(tensors, node, "subtract")
    if joined is not None:
        return joined
    flow, array, first = _flow_and_array(tensors, node)
    if first != 0:
        raise node.refuse("subtracts states from something")
    offset = -_by_feature(node, array, flow.width)
    return _scaled(tensors, node, flow, np.ones(flow.width, np.float32), offset)


def divide(tensors: OnnxTensors, node: OnnxNode) -> States:
    """States over a constant."""
    flow, array, first = _flow_and_array(tensors, node)
    if first != 0 or not np.all(array != 0):
        raise node.refuse("divides by states or by 0")
    factor = np.float32(1) / _by_feature(node, array, flow.width)
    return _scaled(tensors, node, flow, factor, np.zeros(flow.width, np.float32))


def multiply(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A factor, states times attention's weights, or the product of two directions."""
    pair = [tensors.get(node, index) for index in (0, 1)]
    for shares, states in (pair, pair[::-1]):
        if isinstance(shares, Shares):
            is_flow = isinstance(states, States) and same_layers(shares.flow.layers, states.layers)
            if not is_flow or len(shares.axes) != len(states.axes):
                raise node.refuse("multiplies attention's weights by something else than states")
            pairs = zip(shares.axes, states.axes, strict=True)
            if any(a != b for a, b in pairs if a and b != (FEATURES,)):
                raise node.refuse("multiplies states by weights of another shape")
            return WeightedStates(shares, states.axes, states.width)
    parts = _merged(tensors, node, "mul") or _joined(tensors, node, "multiply")
    if parts is not None:
        return parts
    flow, array, _ = _flow_and_array(tensors, node)
    factor = _by_feature(node, array, flow.width)
    return _scaled(tensors, node, flow, factor, np.zeros(flow.width, np.float32))


def _merged(tensors: OnnxTensors, node: OnnxNode, merge: Literal["sum", "mul"]) -> States | None:
    """Two directions added or multiplied; None for other inputs."""
    first, second = tensors.get(node, 0), tensors.get(node, 1)
    if isinstance(first, Direction) and first.backward:
        first, second = second, first
    if not isinstance(first, States | Direction) or not isinstance(second, Direction):
        return None
    joined = both_directions(first, second)
    if joined is None or first.axes != second.axes:
        return None
    layer = joined.layers[-1]
    if not isinstance(layer, Recurrent):
        return None
    return joined.without_last().then(replace(layer, merge=merge), width=first.width)


def _joined(tensors: OnnxTensors, node: OnnxNode, how: Joining) -> States | None:
    """Two states by element; None where one of them is a constant."""
    if not all(isinstance(tensors.get(node, n), States | Direction | Stack) for n in (0, 1)):
        return None
    return join_states(tensors, node, [tensors.flow(node, 0), tensors.flow(node, 1)], how)


def layer_norm(tensors: OnnxTensors, node: OnnxNode) -> States:
    """A layer normalization over the features, which are last."""
    flow = tensors.flow(node)
    position = axis_number(node, node.integer("axis", -1), len(flow.axes))
    if flow.axes[position:] != ((FEATURES,),) or node.integer("stash_type", 1) != 1:
        raise node.refuse("does not normalize over the features alone")
    scale = _by_feature(node, tensors.weights(node, 1), flow.width)
    offset = np.zeros(flow.width, np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        offset = _by_feature(node, tensors.weights(node, 2), flow.width)
    epsilon = node.number("epsilon", 1e-5)
    return flow.then(LayerNorm(tensors.named(node), scale, offset, epsilon))


def _flow_and_array(tensors: OnnxTensors, node: OnnxNode) -> tuple[States, FloatArray, int]:
    """States, the constant beside them, and which input the states are."""
    for index in (0, 1):
        other = tensors.get(node, 1 - index)
        if isinstance(other, np.ndarray) and other.dtype.kind == "f":
            flow = tensors.flow(node, index)
            return flow, _along_features(node, flow, other), index
    raise node.refuse(
        "joins something else than states or constants",
        fix="leave it out of the exported module",
    )


def _scaled(
    tensors: OnnxTensors, node: OnnxNode, flow: States, factor: FloatArray, offset: FloatArray
) -> States:
    layer = Scale(tensors.named(node), factor, offset)
    return replace(flow, layers=(*flow.layers, layer))


def normalize(tensors: OnnxTensors, node: OnnxNode) -> States:
    """Ioffe and Szegedy 2015, with the running mean and variance; features on axis 1."""
    flow = tensors.flow(node)
    if node.integer("training_mode", 0) or node.integer("spatial", 1) != 1:
        raise node.refuse("does not normalize by feature in eval mode", fix="export model.eval()")
    if len(flow.axes) < 2 or flow.axes[1] != (FEATURES,):
        raise node.refuse("does not normalize by feature")
    scale, bias, mean, variance = (
        _by_feature(node, tensors.weights(node, index), flow.width).astype(np.float64)
        for index in (1, 2, 3, 4)
    )
    variance = variance + node.number("epsilon", 1e-5)
    if not (variance > 0).all():
        raise node.refuse("has a variance that is not positive")
    factor = scale / np.sqrt(variance)
    offset = bias - mean * factor
    return _scaled(tensors, node, flow, factor.astype(np.float32), offset.astype(np.float32))


def function_of(function: Function) -> Operation:
    """A function by element, within the dense layer before it where there is one."""

    def apply_function(tensors: OnnxTensors, node: OnnxNode) -> States:
        flow = tensors.flow(node)
        last = flow.layers[-1] if flow.layers else None
        is_open = isinstance(last, Dense) or (
            isinstance(last, Convolution) and function != "softmax"
        )
        if isinstance(last, Dense | Convolution) and is_open and last.function == "linear":
            return replace(flow, layers=(*flow.layers[:-1], replace(last, function=function)))
        layer = Activation(tensors.named(node), function)
        return replace(flow, layers=(*flow.layers, layer))

    return apply_function


def hard_sigmoid(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A straight line cut off at 0 and 1, of one of the slopes that frameworks have."""
    slope, middle = node.number("alpha", 0.2), node.number("beta", 0.5)
    for function, known_slope in HARD_SIGMOID_SLOPES.items():
        if abs(slope - known_slope) < 1e-6 and middle == 0.5:
            return function_of(function)(tensors, node)
    raise node.refuse("has another slope", found=f"{slope}, {middle}", expected="1/5 or 1/6, 1/2")


def softmax(tensors: OnnxTensors, node: OnnxNode) -> object:
    """A softmax over the features, or attention's over the tokens."""
    flow = tensors.flow(node)
    # Before version 13 all axes from the given one on were one.
    default = -1 if tensors.opset >= 13 else 1
    position = axis_number(node, node.integer("axis", default), len(flow.axes))
    if tensors.opset < 13 and position != len(flow.axes) - 1:
        raise node.refuse("runs over several axes", fix="export it with opset_version=17")
    if flow.axes[position] == (FEATURES,):
        return function_of("softmax")(tensors, node)
    tensors.tokens_axis(node, flow.axes[position])
    parts = split_scorers(flow.layers)
    if parts is None:
        raise node.refuse("runs over the tokens of something else than one score each")
    states, scorers = parts
    return Shares(replace(flow, layers=states, width=0), scorers, flow.axes)


def _weighted_sum(tensors: OnnxTensors, node: OnnxNode, shares: Shares, states: Any) -> object:
    """[texts, 1, tokens] times [texts, tokens, features]."""
    is_flow = isinstance(states, States) and same_layers(shares.flow.layers, states.layers)
    if not is_flow or len(shares.axes) != 3 or shares.axes[1] not in ((), (FEATURES,)):
        raise node.refuse("multiplies attention's weights by something else than states")
    if states.axes != (shares.axes[0], shares.axes[2], (FEATURES,)):
        raise node.refuse("multiplies attention's weights by states of other axes")
    return _attention(tensors, node, shares, (shares.axes[0], (), (FEATURES,)), states.width)


def _attention(
    tensors: OnnxTensors, node: OnnxNode, shares: Shares, axes: Any, width: int
) -> States:
    pool = pool_by_scores(tensors.named(node), shares.scorers)
    if isinstance(pool, str):
        raise node.refuse(pool)
    return shares.flow.then(pool, axes=axes, width=width)


def reduction_of(how: Literal["max", "mean", "sum"]) -> Operation:
    """A maximum, mean or sum over the tokens."""

    def reduce_tokens(tensors: OnnxTensors, node: OnnxNode) -> object:
        value = tensors.get(node, 0)
        if not isinstance(value, WeightedStates):
            value = tensors.flow(node)
        listed = tensors.integers(node, 1, "axes")
        if not listed:
            raise node.refuse("does not name the token axis")
        positions = sorted(axis_number(node, axis, len(value.axes)) for axis in listed)
        over = [value.axes[position] for position in positions if value.axes[position]]
        if len(over) != 1:
            raise node.refuse("does not pool over the token axis alone")
        tensors.tokens_axis(node, over[0])
        keeps_axes = node.integer("keepdims", 1)
        pooled = [() if position in positions else axis for position, axis in enumerate(value.axes)]
        axes = tuple(
            a for position, a in enumerate(pooled) if keeps_axes or position not in positions
        )
        if isinstance(value, WeightedStates):
            if how != "sum":
                raise node.refuse("does not sum the weighted states")
            return _attention(tensors, node, value.shares, axes, value.width)
        return value.then(Pool(tensors.named(node), how), axes=axes)

    return reduce_tokens


def whole_pool_of(how: Literal["max", "mean"]) -> Operation:
    """GlobalMaxPool and GlobalAveragePool over [texts, features, tokens]."""

    def pool(tensors: OnnxTensors, node: OnnxNode) -> States:
        flow = tensors.flow(node)
        if len(flow.axes) < 3 or flow.axes[1] != (FEATURES,):
            raise node.refuse("does not pool over the token axis")
        over = [axis for axis in flow.axes[2:] if axis]
        if len(over) != 1:
            raise node.refuse("does not pool over the token axis alone")
        tensors.tokens_axis(node, over[0])
        axes = (*flow.axes[:2], *((),) * (len(flow.axes) - 2))
        return flow.then(Pool(tensors.named(node), how), axes=axes)

    return pool
