"""ONNX' convolutions and pooling by windows along the tokens: [texts, features, tokens].

Axes of one beside the tokens are allowed, as tf2onnx writes a convolution of one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeseq_converters.models.network_layers import (
    Convolution,
    Pool,
    WindowPool,
    WindowPooling,
)
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.tensors import OnnxTensors
from edgeseq_converters.models.onnx.values import FEATURES, Axis, States
from edgeseq_converters.models.windows import Border, RowWindow, count_rows, spread_groups


@dataclass(frozen=True)
class _Windows:
    """A node's window along the tokens, and its axes before and after."""

    window: RowWindow
    axes: tuple[Axis, ...]


def convolve(tensors: OnnxTensors, node: OnnxNode) -> States:
    """A convolution: weight [out, in / group, size], bias [out] or none."""
    flow = tensors.flow(node)
    weight = tensors.weights(node, 1)
    groups = node.integer("group", 1)
    if weight.ndim < 3 or weight.shape[0] % max(groups, 1):
        raise node.refuse("has no kernel of one axis", found=list(weight.shape))
    windows = _windows(tensors, node, flow, tuple(weight.shape[2:]))
    outputs, inputs = weight.shape[:2]
    kernel = weight.reshape(outputs, inputs, -1).transpose(2, 1, 0)
    bias = np.zeros(outputs, np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        bias = tensors.weights(node, 2)
    if inputs * groups != flow.width or bias.shape != (outputs,):
        raise node.refuse("does not fit its inputs", found=inputs * groups, expected=flow.width)
    window = windows.window
    layer = Convolution(
        tensors.named(node),
        spread_groups(np.ascontiguousarray(kernel), groups, node.where),
        bias,
        window.stride,
        window.dilation,
        window.border,
    )
    return flow.then(layer, axes=windows.axes, width=int(outputs))


def pool_windows(tensors: OnnxTensors, node: OnnxNode, how: WindowPooling) -> States:
    """MaxPool and AveragePool; one whose window is the whole text of fixed length pools it."""
    flow = tensors.flow(node)
    sizes = node.integers("kernel_shape") or ()
    if node.integer("ceil_mode", 0) or node.integer("count_include_pad", 0):
        raise node.refuse("counts windows beyond the text")
    position = _tokens_place(tensors, node, flow)
    length = tensors.size(flow.axes[position], 1)
    is_padded = node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if len(sizes) == len(flow.axes) - 2 and sizes[position - 2] == length and not is_padded:
        if any(node.integers("pads") or ()):
            raise node.refuse("has zeros around the text")
        axes = (*flow.axes[:position], (), *flow.axes[position + 1 :])
        return flow.then(Pool(tensors.named(node), how), axes=axes)
    windows = _windows(tensors, node, flow, sizes)
    window = windows.window
    if window.dilation != 1 or (how == "mean" and window.border != "valid"):
        raise node.refuse("leaves tokens out, or counts zeros around the text")
    layer = WindowPool(tensors.named(node), how, window.size, window.stride, window.border)
    return flow.then(layer, axes=windows.axes)


def _tokens_place(tensors: OnnxTensors, node: OnnxNode, flow: States) -> int:
    """The position of the token axis behind texts and features."""
    positions = [position for position, axis in enumerate(flow.axes) if position > 1 and axis]
    if len(flow.axes) < 3 or flow.axes[1] != (FEATURES,) or len(positions) != 1:
        raise node.refuse("does not run over the tokens", expected="[texts, features, tokens]")
    tensors.tokens_axis(node, flow.axes[positions[0]])
    return positions[0]


def _windows(
    tensors: OnnxTensors, node: OnnxNode, flow: States, sizes: tuple[int, ...]
) -> _Windows:
    position = _tokens_place(tensors, node, flow)
    at, count = position - 2, len(flow.axes) - 2
    strides = node.integers("strides") or (1,) * count
    dilations = node.integers("dilations") or (1,) * count
    pads = node.integers("pads") or (0,) * (2 * count)
    if not len(sizes) == len(strides) == len(dilations) == len(pads) / 2 == count:
        raise node.refuse("has windows of another number of axes", found=sizes)
    others = [number for number in range(count) if number != at]
    if any(sizes[n] != 1 or strides[n] != 1 or pads[n] or pads[n + count] for n in others):
        raise node.refuse("has windows over an axis of one", found=sizes)
    plain = RowWindow(int(sizes[at]), int(strides[at]), int(dilations[at]))
    border = _border(node, plain, (pads[at], pads[at + count]))
    window = RowWindow(plain.size, plain.stride, plain.dilation, border)
    tokens = flow.axes[position]
    if not window.keeps_rows:
        tokens = tensors.windowed(tokens, lambda rows: count_rows(window.after(()), rows))
    return _Windows(window, (*flow.axes[:position], tokens, *flow.axes[position + 1 :]))


def _border(node: OnnxNode, window: RowWindow, pads: tuple[int, int]) -> Border:
    """What a window sees beyond the ends, in a network's words."""
    automatic = node.attributes.get("auto_pad", "NOTSET")
    missing = window.span - 1
    if automatic == "SAME_UPPER":
        return "same"
    if automatic == "VALID" or (automatic == "NOTSET" and pads == (0, 0)):
        return "valid"
    if automatic == "NOTSET" and window.stride == 1:
        if pads == (missing // 2, missing - missing // 2):
            return "same"
        if pads == (missing, 0):
            return "causal"
    raise node.refuse(
        "has zeros around the text that do not keep the number of tokens",
        found=f"{automatic} {list(pads)} of windows of {window.span}, stride {window.stride}",
        expected="none, or as many as keep it with a stride of 1",
    )
