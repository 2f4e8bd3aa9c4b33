"""aten's convolutions and pooling along time: [texts, features, tokens]."""

from __future__ import annotations

import numpy as np

from edgeseq_converters.models.network_layers import Convolution, WindowPool, WindowPooling
from edgeseq_converters.models.torch.layers import Operation
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import LayerOutput, Node, Transposed
from edgeseq_converters.models.windows import Border, RowWindow, spread_groups


def convolve(tensors: Tensors, node: Node) -> Transposed:
    """torch.nn.Conv1d: weight [out, in / groups, size], bias [out] or None."""
    flow = _flow(tensors, node, "input")
    weight, bias = tensors.needed(node, "weight"), tensors.array(node, "bias")
    groups = _number(node, "groups", 1)
    if weight.ndim != 3 or groups < 1 or weight.shape[0] % groups:
        raise node.refuse("has no kernel of one axis", found=list(weight.shape))
    kernel = spread_groups(np.ascontiguousarray(weight.transpose(2, 1, 0)), groups, node.where)
    bias = np.zeros(kernel.shape[2], np.float32) if bias is None else bias
    window = RowWindow(kernel.shape[0], _number(node, "stride", 1), _number(node, "dilation", 1))
    border = _border(node, window)
    name = tensors.named("conv")
    layer = Convolution(name, kernel, bias, window.stride, window.dilation, border)
    return Transposed(flow.then(layer))


def pool_windows(how: WindowPooling) -> Operation:
    """torch.nn.MaxPool1d and AvgPool1d."""

    def apply_pool(tensors: Tensors, node: Node) -> Transposed:
        flow = _flow(tensors, node, "self")
        size = _number(node, "kernel_size", 0)
        stride = _number(node, "stride", size) if node.arguments.get("stride") else size
        for key, usual in (("dilation", 1), ("padding", 0), ("ceil_mode", 0)):
            if _number(node, key, usual) != usual:
                raise node.refuse(f"has a {key}", found=node.arguments[key], expected=usual)
        return Transposed(flow.then(WindowPool(tensors.named("pool"), how, size, stride)))

    return apply_pool


def _flow(tensors: Tensors, node: Node, key: str) -> LayerOutput:
    value = tensors.get(node, key)
    if not isinstance(value, Transposed) or not value.flow.sequence:
        raise node.refuse("does not run over the tokens", expected="[texts, features, tokens]")
    return value.flow


def _border(node: Node, window: RowWindow) -> Border:
    """What a window sees beyond the ends: PyTorch's zeros are as many on both sides."""
    padding = node.arguments.get("padding", 0)
    if isinstance(padding, str):
        if padding in ("valid", "same"):
            return "valid" if padding == "valid" else "same"
        raise node.refuse("has a strange padding", found=padding)
    count = _number(node, "padding", 0)
    if count == 0:
        return "valid"
    if window.stride == 1 and 2 * count == window.span - 1:
        return "same"
    raise node.refuse(
        "has zeros on both sides that do not keep the number of tokens",
        found=f"padding {count} of windows of {window.span}, stride {window.stride}",
        expected=f"padding 0, or {(window.span - 1) // 2} with a stride of 1",
    )


def _number(node: Node, key: str, default: int) -> int:
    value = node.arguments.get(key, default)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if value is None:
        return default
    if not isinstance(value, int):
        raise node.refuse(f"has a {key} that is not known before a text is read", found=value)
    return int(value)
