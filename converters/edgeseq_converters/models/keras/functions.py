"""Keras' names of functions as a network's."""

from __future__ import annotations

from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.network_layers import ElementFunction, Function

_ELEMENT_FUNCTIONS: dict[str, ElementFunction] = {
    "linear": "linear",
    "relu": "relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softsign": "softsign",
}
_HARD_SIGMOID = "hard_sigmoid"


def function_of(layer: KerasLayer, key: str = "activation") -> Function:
    """The function that the setting `key` names; None is linear.

    Raises `CheckpointError` for a function that there is none of.
    """
    if layer.config.get(key) == "softmax":
        return "softmax"
    return _known(layer, key, ("softmax",))


def element_function_of(layer: KerasLayer, key: str) -> ElementFunction:
    """The same of a cell, where a softmax has no meaning."""
    return _known(layer, key, ())


def _known(layer: KerasLayer, key: str, others: tuple[str, ...]) -> ElementFunction:
    name = layer.config.get(key)
    if name is None:
        return "linear"
    if name == _HARD_SIGMOID:
        return _hard_sigmoid(layer, key)
    if not isinstance(name, str) or name not in _ELEMENT_FUNCTIONS:
        raise layer.refuse(
            f"has an unknown {key}",
            found=name,
            expected=", ".join((*_ELEMENT_FUNCTIONS, _HARD_SIGMOID, *others)),
        )
    return _ELEMENT_FUNCTIONS[name]


def _hard_sigmoid(layer: KerasLayer, key: str) -> ElementFunction:
    """One name, two functions: Keras 3 changed the slope from 1/5 to 1/6
    (keras/src/activations/activations.py; tf_keras/src/backend.py)."""
    major = (layer.keras_version or "").split(".")[0]
    if not major.isdigit():
        raise layer.refuse(
            f"has the {key} hard_sigmoid, whose slope depends on the version of Keras",
            found="a file that does not say which version wrote it",
            fix="save the whole model: model.save('model.keras')",
        )
    return "hard_sigmoid_fifth" if int(major) < 3 else "hard_sigmoid_sixth"
