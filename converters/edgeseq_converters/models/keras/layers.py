"""Keras layers, one at a time, as the layers of a `Network`.

Weights keep Keras' order and layout, which are the network's own. What acts only while training
is dropped; what changes the answer and the network cannot say is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeseq_converters.models.keras.checks import (
    check_dtype,
    check_settings,
    check_shape,
    unknown,
)
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.convolutions import convolution_of, window_pool_of
from edgeseq_converters.models.keras.functions import function_of
from edgeseq_converters.models.keras.recurrent import RECURRENT, recurrent_of
from edgeseq_converters.models.keras.weights import KerasWeights, Slot
from edgeseq_converters.models.network_layers import (
    Activation,
    Convolution,
    Dense,
    Embedding,
    Layer,
    LayerNorm,
    Pool,
    Pooling,
    Repeat,
    Scale,
)

IDENTITIES = (
    *("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout"),
    "ActivityRegularization",
)
"""They change nothing when the model answers."""


_NORMALIZATION_IN_TRAINING = ("momentum", "renorm_momentum", "renorm_clipping", "fused")
"""Settings of a batch normalization that change nothing once its mean and variance are known."""


def embedding_of(layer: KerasLayer, weights: KerasWeights) -> Embedding:
    """The table [vocabulary, size] and whether id 0 is padding."""
    check_dtype(layer)
    check_settings(layer, "output_dim", "mask_zero")
    (table,) = weights.arrays(layer, [("", "embeddings")])
    check_shape(layer, "embeddings", table, layer.integer("input_dim"), layer.integer("output_dim"))
    return Embedding(layer.name, table, mask_zero=layer.flag("mask_zero"))


def layer_of(layer: KerasLayer, weights: KerasWeights, *, sequence: bool) -> Layer | None:
    """The network's layer for one of Keras, None for one that changes nothing.

    `sequence` says whether it is given a sequence or one vector a text. Raises `CheckpointError`
    naming the layer and the setting that the network cannot express.
    """
    check_dtype(layer)
    if layer.class_name in IDENTITIES:
        return None
    if layer.class_name in RECURRENT:
        return recurrent_of(layer, weights)
    read = _LAYER_READERS.get(layer.class_name)
    if read is None:
        raise unknown(layer)
    return read(layer, weights, sequence)


def dense_of(
    layer: KerasLayer, weights: KerasWeights, sequence: bool, *, owner: KerasLayer | None = None
) -> Dense:
    """A dense layer; `owner` is the TimeDistributed around it."""
    del sequence  # it acts on the last axis of either
    check_settings(layer, "units", "activation", "use_bias")
    use_bias = layer.flag("use_bias", default=True)
    part = "layer" if owner else ""
    slots: list[Slot] = [(part, "kernel")] + ([(part, "bias")] if use_bias else [])
    kernel, *rest = weights.arrays(owner or layer, slots)
    units = layer.integer("units")
    check_shape(layer, "kernel", kernel, None, units)
    bias = rest[0] if rest else np.zeros(units, np.float32)
    check_shape(layer, "bias", bias, units)
    return Dense((owner or layer).name, kernel, bias, function_of(layer))


def _time_distributed(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Layer | None:
    if not sequence:
        raise layer.refuse("needs a sequence and gets one vector a text")
    inner = layer.inner("layer")
    check_dtype(inner)
    if inner.class_name in IDENTITIES:
        return None
    if inner.class_name == "Dense":
        return dense_of(inner, weights, sequence, owner=layer)
    if inner.class_name == "Activation":
        return Activation(layer.name, function_of(inner))
    raise layer.refuse(f"is around a layer of class {inner.class_name}", expected="Dense")


def _activation(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Activation:
    del weights, sequence
    check_settings(layer, "activation")
    return Activation(layer.name, function_of(layer))


def _softmax(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Activation:
    del weights
    if _axis(layer, "axis") not in (-1, 2 if sequence else 1):
        raise layer.refuse("does not run over the feature axis", found=layer.config["axis"])
    return Activation(layer.name, "softmax")


def _relu(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Activation:
    del weights, sequence
    for key in ("negative_slope", "threshold", "max_value"):
        if layer.config.get(key):
            raise layer.refuse(f"has a {key}", found=layer.config[key], expected="none")
    if layer.config.get("max_value") is not None:
        raise layer.refuse("is 0 everywhere", found="max_value 0")
    return Activation(layer.name, "relu")


def _normalization(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Scale:
    """γ·(x − μ)/√(σ² + ε) + β with the moving mean μ and variance σ² (Ioffe and Szegedy 2015)."""
    check_settings(layer, "axis", "epsilon", "center", "scale", *_NORMALIZATION_IN_TRAINING)
    if _axis(layer, "axis") not in (-1, 2 if sequence else 1):
        raise layer.refuse("does not run over the feature axis", found=layer.config["axis"])
    scale, center = layer.flag("scale", default=True), layer.flag("center", default=True)
    names = ["gamma"] * scale + ["beta"] * center + ["moving_mean", "moving_variance"]
    arrays = weights.arrays(layer, [("", name) for name in names])
    by_name = dict(zip(names, arrays, strict=True))
    for name, array in by_name.items():
        check_shape(layer, name, array, arrays[0].size)
    wide = {name: np.asarray(array, np.float64) for name, array in by_name.items()}
    variance = wide["moving_variance"] + layer.number("epsilon")
    if not (variance > 0).all():
        raise layer.refuse("has a variance that is not positive")
    factor = wide.get("gamma", 1.0) / np.sqrt(variance)
    offset = wide.get("beta", 0.0) - wide["moving_mean"] * factor
    return Scale(layer.name, factor.astype(np.float32), offset.astype(np.float32))


def _pool(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Pool:
    del weights
    if not sequence:
        raise layer.refuse("needs a sequence and gets one vector a text")
    check_settings(layer, "data_format", "keepdims")
    if layer.config.get("data_format", "channels_last") != "channels_last":
        raise layer.refuse("pools over the features", found="data_format channels_first")
    if layer.flag("keepdims"):
        raise layer.refuse("keeps a sequence of one", found="keepdims=True", expected="False")
    return Pool(layer.name, "max" if "Max" in layer.class_name else "mean")


def _convolution(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Convolution:
    return convolution_of(layer, weights, sequence)


def _layer_norm(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> LayerNorm:
    check_settings(layer, "axis", "epsilon", "center", "scale", "rms_scaling")
    if _axis(layer, "axis") not in (-1, 2 if sequence else 1):
        raise layer.refuse("does not run over the feature axis", found=layer.config["axis"])
    if layer.flag("rms_scaling"):
        raise layer.refuse("divides by the root mean square", found="rms_scaling=True")
    scale, center = layer.flag("scale", default=True), layer.flag("center", default=True)
    names = ["gamma"] * scale + ["beta"] * center
    if not names:
        raise layer.refuse("has neither scale nor center", expected="one of them")
    arrays = dict(zip(names, weights.arrays(layer, [("", name) for name in names]), strict=True))
    size = next(iter(arrays.values())).size
    for name, array in arrays.items():
        check_shape(layer, name, array, size)
    return LayerNorm(
        layer.name,
        arrays.get("gamma", np.ones(size, np.float32)),
        arrays.get("beta", np.zeros(size, np.float32)),
        layer.number("epsilon"),
    )


def _reduce(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Pool:
    """A sum, mean or maximum over the tokens, written as an operation."""
    del weights
    settings = layer.keywords if layer.class_name == "TFOpLambda" else layer.config
    operation = layer.config.get("function", layer.class_name)
    how = _REDUCTIONS.get(operation) if isinstance(operation, str) else None
    if how is None:
        raise unknown(layer)
    axis = settings.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if not sequence or axis not in (1, -2) or settings.get("keepdims") or settings.get("initial"):
        raise layer.refuse("does not run over the tokens", found=f"axis {axis}", expected="axis 1")
    return Pool(layer.name, how)


def is_flatten(layer: KerasLayer) -> bool:
    """Whether the layer makes one vector of a text of all that it is given."""
    target = layer.config.get("target_shape")
    flat = isinstance(target, list) and len(target) == 1
    channels_last = layer.config.get("data_format") in (None, "channels_last")
    return (layer.class_name == "Flatten" and channels_last) or (
        layer.class_name == "Reshape" and flat
    )


def _reshape(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> None:
    """Flatten, or Reshape to one axis: it changes nothing about a vector."""
    del weights
    target = layer.config.get("target_shape")
    if sequence or (
        layer.class_name == "Reshape" and not (isinstance(target, list) and len(target) == 1)
    ):
        raise layer.refuse(
            "reshapes a sequence, which ties the model to one length",
            fix="pool over time instead (GlobalMaxPooling1D, or return_sequences=False)",
        )


def _repeat(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> Repeat:
    del weights, sequence
    check_settings(layer, "n")
    return Repeat(layer.name, layer.integer("n"))


def _permute(layer: KerasLayer, weights: KerasWeights, sequence: bool) -> None:
    """An attention that goes around permutes axes into the order that they have."""
    del weights, sequence
    check_settings(layer, "dims")
    if layer.config.get("dims") != [1, 2]:
        raise layer.refuse(
            "turns steps into features", found=layer.config.get("dims"), expected="[1, 2]"
        )


def _axis(layer: KerasLayer, key: str) -> object:
    """An axis, alone or as a list of one."""
    value = layer.config.get(key, -1)
    return value[0] if isinstance(value, list) and len(value) == 1 else value


_REDUCTIONS: dict[str, Pooling] = {
    "Sum": "sum",
    "Mean": "mean",
    "Max": "max",
    "math.reduce_sum": "sum",
    "math.reduce_mean": "mean",
    "math.reduce_max": "max",
}
_LAYER_READERS: dict[str, Callable[[KerasLayer, KerasWeights, bool], Layer | None]] = {
    "Dense": dense_of,
    "TimeDistributed": _time_distributed,
    "Activation": _activation,
    "Softmax": _softmax,
    "ReLU": _relu,
    "BatchNormalization": _normalization,
    "GlobalMaxPooling1D": _pool,
    "GlobalMaxPool1D": _pool,
    "GlobalAveragePooling1D": _pool,
    "GlobalAvgPool1D": _pool,
    "RepeatVector": _repeat,
    "Permute": _permute,
    "Flatten": _reshape,
    "Reshape": _reshape,
    "LayerNormalization": _layer_norm,
    **dict.fromkeys(("Sum", "Mean", "Max", "TFOpLambda"), _reduce),
    **dict.fromkeys(("Conv1D", "Convolution1D", "DepthwiseConv1D"), _convolution),
    **dict.fromkeys(("SeparableConv1D", "SeparableConvolution1D"), _convolution),
    **dict.fromkeys(("MaxPooling1D", "MaxPool1D"), window_pool_of),
    **dict.fromkeys(("AveragePooling1D", "AvgPool1D"), window_pool_of),
}
