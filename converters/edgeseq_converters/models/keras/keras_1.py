"""What Keras 1 wrote, in Keras 2's words: the settings of layers, and their arrays by gate.

Keras 1.2.2's own source tells what a setting means (keras/layers/); tf_keras' loader of its weights
says where an array belongs (tf_keras/src/saving/legacy/hdf5_format.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.hdf5 import Hdf5
from edgeseq_converters.models.keras.weights import Slot

_CLASSES = {"Convolution1D": "Conv1D"}
_RECURRENT = ("SimpleRNN", "GRU", "LSTM")
_RENAMED: dict[str, dict[str, str]] = {
    "Dense": {"output_dim": "units", "bias": "use_bias"},
    "Conv1D": {
        "nb_filter": "filters",
        "filter_length": "kernel_size",
        "border_mode": "padding",
        "subsample_length": "strides",
        "bias": "use_bias",
    },
    "MaxPooling1D": {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"},
    "AveragePooling1D": {"pool_length": "pool_size", "stride": "strides", "border_mode": "padding"},
    "Dropout": {"p": "rate"},
    **{
        name: {"output_dim": "units", "inner_activation": "recurrent_activation"}
        for name in _RECURRENT
    },
}
_TRAINING = re.compile(
    r"(inner_|forget_bias_)?init|[WUb]_regularizer|[Wb]_constraint|(gamma|beta)_(init|regularizer)"
    r"|dropout_[WU]|consume_less|input_dtype|activity_regularizer"
)
"""Settings that only training looks at, or how the same was computed."""
_GATES = {"LSTM": "ifco", "GRU": "zrh", "SimpleRNN": ""}
_ARRAYS = {
    "kernel": "W",
    "recurrent_kernel": "U",
    "bias": "b",
    "embeddings": "W",
    "moving_mean": "running_mean",
    "moving_variance": "running_std",  # it holds the variance
}
_DIRECTIONS = {"forward_layer": "forward_", "backward_layer": "backward_"}


def is_keras_1(version: str | None) -> bool:
    """Whether a file of this version (None: it names none) has Keras 1's settings."""
    return version is not None and version.split(".")[0] == "1"


def in_keras_2(value: Any) -> Any:
    """A model's description with every layer's settings in Keras 2's words."""
    if isinstance(value, list):
        return [in_keras_2(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    entry = {key: in_keras_2(inside) for key, inside in value.items()}
    if isinstance(entry.get("class_name"), str) and isinstance(entry.get("config"), dict):
        entry["class_name"] = _CLASSES.get(entry["class_name"], entry["class_name"])
        entry["config"] = _settings(entry["class_name"], entry["config"])
    return entry


def _settings(class_name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    names = _RENAMED.get(class_name, {})
    settings = {
        names.get(key, key): value for key, value in config.items() if not _TRAINING.fullmatch(key)
    }
    if class_name == "Embedding":  # a share of words that training leaves out
        settings.pop("dropout", None)
    if class_name == "BatchNormalization" and settings.get("mode") == 0:
        settings.pop("mode")
    return settings


class Keras1Weights:
    """The groups of a `.h5` file of Keras 1, with an array for each gate or one for all."""

    def __init__(self, file: Hdf5, root: str = "model_weights") -> None:
        self._file = file
        self._root = root

    def arrays(self, layer: KerasLayer, slots: Sequence[Slot]) -> list[FloatArray]:
        """The layer's arrays in the slots' order; `CheckpointError` when one is missing, or when
        the file has others."""
        group = f"{self._root}/{layer.name}"
        names = self._file.texts(group, "weight_names") or ()
        left = {re.sub(r":\d+$", "", name): f"{group}/{name}" for name in names}
        inner = layer.inner("layer") if "layer" in layer.config else layer
        gates = _GATES.get(inner.class_name, "")
        arrays = [self._array(layer, left, slot, gates) for slot in slots]
        if left:
            raise layer.refuse(
                "has arrays that its settings do not speak of", found=", ".join(left)
            )
        if inner.class_name == "Conv1D":
            arrays[0] = _kernel(inner, arrays[0])
        return arrays

    def _array(self, layer: KerasLayer, left: dict[str, str], slot: Slot, gates: str) -> FloatArray:
        """The array of a slot, its gates side by side in Keras 2's order; takes those that it
        consists of out of `left`, paths by name."""
        part, variable = slot
        stem = _ARRAYS.get(variable, variable)
        prefix = _DIRECTIONS.get(part.split("/")[0], "")
        endings = [f"_{stem}_{gate}" for gate in gates]
        found = [_matching(left, prefix, ending) for ending in (*endings, f"_{stem}")]
        paths = [left.pop(name) for name in found if name is not None]
        if len(paths) not in (1, len(gates)):
            raise layer.refuse(f"has no array {variable}", found=", ".join(paths) or "none")
        arrays = [self._file.array(path) for path in paths]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)


def _matching(names: Iterable[str], prefix: str, ending: str) -> str | None:
    return next((name for name in names if name.startswith(prefix) and name.endswith(ending)), None)


def _kernel(layer: KerasLayer, kernel: FloatArray) -> FloatArray:
    """[size, 1, in, out] → [size, in, out]. TensorFlow and Theano read it in opposite directions,
    and the file does not say which of them had learnt it."""
    size = layer.config.get("kernel_size")
    if kernel.ndim != 4 or kernel.shape[:2] != (1, 1) or size != 1:
        raise layer.refuse(
            "was saved by Keras 1, which does not say in which direction its kernel runs",
            found=f"a kernel_size of {size}",
            expected="1",
            fix="save it with Keras 2",
        )
    return np.ascontiguousarray(kernel[:, 0])
