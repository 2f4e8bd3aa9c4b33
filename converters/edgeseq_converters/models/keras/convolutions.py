"""Keras' convolutions and pooling along time."""

from __future__ import annotations

from typing import cast

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.checks import check_settings, check_shape
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.functions import function_of
from edgeseq_converters.models.keras.weights import KerasWeights
from edgeseq_converters.models.network_layers import Convolution, WindowPool
from edgeseq_converters.models.windows import Border, spread_groups

_BORDERS = ("valid", "same", "causal")
_CONVOLUTION_SETTINGS = (
    *("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "groups"),
    *("activation", "use_bias", "depth_multiplier", "rank"),
)


def convolution_of(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Convolution:
    """Conv1D, with groups as zeros in its kernel; SeparableConv1D and DepthwiseConv1D as the kernel
    that gives the same."""
    _check_windows(layer, sequence)
    check_settings(layer, *_CONVOLUTION_SETTINGS)
    depthwise = layer.class_name in ("DepthwiseConv1D", "SeparableConv1D", "SeparableConvolution1D")
    pointwise = depthwise and layer.class_name != "DepthwiseConv1D"
    names = ["depthwise_kernel" if depthwise else "kernel"]
    names += ["pointwise_kernel"] * pointwise + ["bias"] * layer.flag("use_bias", default=True)
    kernel, *rest = _arrays(layer, weights, names)
    size = _single(layer, "kernel_size")
    check_shape(layer, names[0], kernel, size, None, None)
    if depthwise:
        # Each feature is a group by itself.
        _, features, multiplier = kernel.shape
        kernel = spread_groups(
            kernel.reshape(size, 1, features * multiplier), max(features, 1), layer.where
        )
        if pointwise:
            mixing = rest.pop(0)
            check_shape(layer, names[1], mixing, 1, kernel.shape[2], layer.integer("filters"))
            kernel = np.asarray(kernel @ mixing[0], np.float32)
    else:
        check_shape(layer, names[0], kernel, size, None, layer.integer("filters"))
        kernel = _spread_groups(layer, kernel)
    bias = rest[0] if rest else np.zeros(kernel.shape[2], np.float32)
    check_shape(layer, "bias", bias, kernel.shape[2])
    return Convolution(
        layer.name,
        np.ascontiguousarray(kernel),
        bias,
        _single(layer, "strides"),
        _single(layer, "dilation_rate", 1),
        _border(layer),
        function_of(layer),
    )


def _arrays(layer: KerasLayer, weights: KerasWeights, names: list[str]) -> list[FloatArray]:
    if layer.class_name == "DepthwiseConv1D":
        try:
            return weights.arrays(layer, [("", name) for name in names])
        except CheckpointError:
            names = ["kernel", *names[1:]]  # its name since Keras 3
    return weights.arrays(layer, [("", name) for name in names])


def _spread_groups(layer: KerasLayer, kernel: FloatArray) -> FloatArray:
    groups, outputs = layer.config.get("groups", 1), kernel.shape[2]
    if not isinstance(groups, int) or groups < 1 or outputs % groups:
        raise layer.refuse("has strange groups", found=groups, expected=f"a divisor of {outputs}")
    return spread_groups(kernel, groups, layer.where)


def window_pool_of(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> WindowPool:
    """MaxPooling1D or AveragePooling1D."""
    del weights
    _check_windows(layer, sequence)
    check_settings(layer, "pool_size", "strides", "padding", "data_format")
    size = _single(layer, "pool_size")
    stride = size if layer.config.get("strides") is None else _single(layer, "strides")
    border = _border(layer)
    if border == "causal":
        raise layer.refuse("has a strange padding", found="causal", expected="valid or same")
    return WindowPool(
        layer.name, "max" if "Max" in layer.class_name else "mean", size, stride, border
    )


def _check_windows(layer: KerasLayer, sequence: bool) -> None:
    if not sequence:
        raise layer.refuse("needs a sequence and gets one vector a text")
    data_format = layer.config.get("data_format", "channels_last")
    if data_format != "channels_last":
        raise layer.refuse(
            "runs over the features", found=f"data_format {data_format}", expected="channels_last"
        )


def _border(layer: KerasLayer) -> Border:
    border = layer.config.get("padding", "valid")
    if border not in _BORDERS:
        raise layer.refuse("has a strange padding", found=border, expected=", ".join(_BORDERS))
    return cast(Border, border)


def _single(layer: KerasLayer, key: str, default: int | None = None) -> int:
    """A setting of one axis: a positive whole number, alone or in a list of one."""
    value = layer.config.get(key, default)
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise layer.refuse(f"has a strange {key}", found=value, expected="a whole number >= 1")
    return value
