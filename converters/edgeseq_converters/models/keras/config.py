"""Keras' description of a model's layers, from its JSON, as a list of layers with their inputs.

Read as data: no class is looked up by name and nothing is called, so a file cannot run code here.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeseq.errors import CheckpointError

_MODELS = ("Sequential", "Functional", "Model")
_BUILT_IN = ("keras", "tf_keras")
_MAX_SHOWN = 160
_MAX_DEPTH = 200
"""Of nested JSON, which readers go through by recursion; Keras' own files have a tenth of it."""


@dataclass(frozen=True)
class KerasLayer:
    """One layer: its class, its own name, its configuration, and the layers it is applied to.

    `keywords` are the call's, with a `KerasTensor` wherever another layer's output is given;
    `keras_version` is the version that wrote the file, where the file says it.
    """

    where: str
    class_name: str
    name: str
    config: Mapping[str, Any]
    inputs: tuple[str, ...] = ()
    constants: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    keras_version: str | None = None

    def refuse(self, what: str, **details: Any) -> CheckpointError:
        """An error that names this layer; what a file says is cut to a line's length."""
        short = {
            key: str(value)[:_MAX_SHOWN] for key, value in details.items() if value is not None
        }
        name = f"{self.name[:_MAX_SHOWN]} ({self.class_name[:_MAX_SHOWN]})"
        return CheckpointError(f"layer {name} {what}", where=self.where, **short)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A setting that is true or false."""
        value = self.config.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(f"has a strange {key}", found=value, expected="true or false")
        return value

    def integer(self, key: str) -> int:
        """A setting that is a positive whole number."""
        value = self.config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.refuse(f"has a strange {key}", found=value, expected="a whole number >= 1")
        return value

    def number(self, key: str) -> float:
        """A setting that is a number."""
        value = self.config.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.refuse(f"has a strange {key}", found=value, expected="a number")
        return float(value)

    def inner(self, key: str) -> KerasLayer:
        """The layer that a wrapper wraps."""
        return _layer(self.where, self.config.get(key), self.keras_version)


@dataclass(frozen=True)
class KerasTensor:
    """A layer's output as an argument."""

    layer: str


@dataclass(frozen=True)
class KerasModel:
    """Layers in the file's order, `input` and `output` by name; a Sequential model is a chain.
    `other_inputs` are those of a model with several."""

    name: str
    where: str
    layers: tuple[KerasLayer, ...]
    input: str
    output: str
    other_inputs: tuple[str, ...] = ()


def with_one_input(model: KerasModel) -> KerasModel:
    """The model in which all inputs are one, for a model that is given the same in each.

    Raises `CheckpointError` for inputs of different shapes.
    """
    entries = {layer.name: layer for layer in model.layers}
    first = entries.get(model.input)
    for name in model.other_inputs:
        other = entries.get(name)
        if other is None or first is None:
            raise CheckpointError("has an input without a layer", where=model.where, found=name)
        if _shape(other) != _shape(first):
            raise other.refuse(
                "takes something else than the first input",
                found=_shape(other),
                expected=_shape(first),
            )
    layers = tuple(
        replace(
            layer,
            inputs=tuple(
                model.input if name in model.other_inputs else name for name in layer.inputs
            ),
        )
        for layer in model.layers
        if layer.name not in model.other_inputs
    )
    return replace(model, layers=layers, other_inputs=())


def _shape(layer: KerasLayer) -> object:
    return layer.config.get("batch_shape", layer.config.get("batch_input_shape"))


def parse_json(content: str | bytes, where: str) -> Mapping[str, Any]:
    """A JSON object; raises `CheckpointError` for anything else."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as failure:
        raise CheckpointError("is not JSON", where=where, found=failure) from failure
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for entry in level for inner in _inside(entry)]
    if level:
        raise CheckpointError("is JSON nested too deep", where=where, expected=f"<= {_MAX_DEPTH}")
    return _mapping(value, where)


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def parse_model(
    config: Mapping[str, Any], where: str, keras_version: str | None = None
) -> KerasModel:
    """The layers of a Sequential or functional model.

    `keras_version` is what the file around the configuration says of its writer; Keras 2's
    `to_json` notes it in the configuration itself.
    Raises `CheckpointError` for a subclassed model, which has no description of its layers, for
    models in models, shared layers, several outputs, and custom layers.
    """
    kind = config.get("class_name")
    if kind not in _MODELS:
        raise CheckpointError(
            "has no description of its layers",
            where=where,
            found=f"a model of class {kind}",
            expected="a Sequential or functional model",
            fix="build the same layers as keras.Sequential, set its weights and save that",
        )
    inside = config.get("config")
    # Keras before 2.2.3 wrote a Sequential model's layers without a name around them.
    inside = {"layers": inside} if isinstance(inside, list) else _mapping(inside, where)
    version = keras_version or config.get("keras_version")
    version = version if isinstance(version, str) else None
    layers = [_layer(where, entry, version) for entry in _list(inside.get("layers"), where)]
    name = str(inside.get("name", "network"))
    if not layers:
        raise CheckpointError("has no layers", where=where)
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise CheckpointError("has two layers of one name", where=where)
    if kind == "Sequential":
        if layers[0].class_name != "InputLayer":
            first = KerasLayer(where, "InputLayer", "the input", {})
            layers.insert(0, first)
        linked = [layers[0]] + [
            replace(layer, inputs=(before.name,)) for before, layer in itertools.pairwise(layers)
        ]
        return KerasModel(name, where, tuple(linked), linked[0].name, linked[-1].name)
    inputs = _entry_names(inside.get("input_layers"), where)
    return KerasModel(
        name,
        where,
        tuple(layers),
        inputs[0],
        _only(inside.get("output_layers"), "output", where),
        tuple(inputs[1:]),
    )


def _layer(where: str, entry: Any, keras_version: str | None) -> KerasLayer:
    entry = _mapping(entry, where)
    config = _mapping(entry.get("config"), where)
    class_name = str(entry.get("class_name"))
    name = str(entry.get("name") or config.get("name") or class_name)
    layer = KerasLayer(where, class_name, name, config, keras_version=keras_version)
    module = entry.get("module")
    registered = entry.get("registered_name")
    is_custom = module is not None and str(module).split(".")[0] not in _BUILT_IN
    if is_custom or registered not in (None, class_name):
        raise layer.refuse("is not one of Keras' own layers", found=registered or module)
    nodes = _list(entry.get("inbound_nodes", []), where)
    if len(nodes) > 1:
        raise layer.refuse("is used more than once", fix="use a separate layer in each position")
    if not nodes:
        return layer
    return _call(layer, nodes[0])


def _call(layer: KerasLayer, node: Any) -> KerasLayer:
    """The layer with the arguments of its one call, in Keras 3's form or in Keras 2's."""
    if isinstance(node, dict):
        arguments = [_tensors(layer, argument) for argument in _list(node.get("args"), layer.where)]
        flat = [
            tensor
            for value in arguments
            for tensor in (value if isinstance(value, list) else [value])
        ]
        keywords = _mapping(node.get("kwargs") or {}, layer.where)
        keywords = {key: _tensors(layer, value) for key, value in keywords.items()}
    else:
        # [[layer, node, tensor, keywords], …], or one of them alone for a function.
        entries = _list(node, layer.where)
        entries = [entries] if entries and isinstance(entries[0], str) else entries
        flat, keywords = [], {}
        for entry in entries:
            flat.append(_history(layer, entry))
            last = entry[3] if len(entry) > 3 else {}
            keywords |= {
                key: _history(layer, value) if _is_history(value) else value
                for key, value in _mapping(last, layer.where).items()
            }
    return replace(
        layer,
        inputs=tuple(tensor.layer for tensor in flat if isinstance(tensor, KerasTensor)),
        constants=tuple(tensor for tensor in flat if not isinstance(tensor, KerasTensor)),
        keywords=keywords,
    )


def _tensors(layer: KerasLayer, value: Any) -> Any:
    """Keras 3's arguments with a `KerasTensor` for each description of one."""
    if isinstance(value, list):
        return [_tensors(layer, entry) for entry in value]
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return _history(layer, _mapping(value.get("config"), layer.where).get("keras_history"))
    return value


def _is_history(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and all(isinstance(part, int) for part in value[1:3])
    )


def _history(layer: KerasLayer, value: Any) -> KerasTensor:
    if not _is_history(value):
        raise layer.refuse("has inputs of an unknown form", found=type(value).__name__)
    if value[1] or value[2]:
        raise layer.refuse(
            f"takes another output of layer {value[0]} than its first",
            fix="use a separate layer in each position",
        )
    return KerasTensor(value[0])


def _entry_names(value: Any, where: str) -> list[str]:
    """The inputs by name: ["name", 0, 0], alone or several in a list."""
    entries = [value] if _is_history(value) else _list(value, where)
    if not entries or not all(_is_history(entry) for entry in entries):
        raise CheckpointError("has no inputs of a known form", where=where, found=len(entries))
    return [str(entry[0]) for entry in entries]


def _only(value: Any, what: str, where: str) -> str:
    """The one input or output: ["name", 0, 0], alone or in a list."""
    entries = [value] if _is_history(value) else _list(value, where)
    if len(entries) != 1 or not _is_history(entries[0]):
        raise CheckpointError(
            f"has several {what}s",
            where=where,
            found=len(entries),
            expected="one",
            fix=f"save a model with one {what}",
        )
    name, *place = entries[0][:3]
    if any(place):
        raise CheckpointError(
            f"takes another output of layer {name} than its first as its {what}", where=where
        )
    return str(name)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckpointError(
            "is not a description of Keras layers", where=where, found=type(value).__name__
        )
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise CheckpointError(
            "is not a description of Keras layers", where=where, found=type(value).__name__
        )
    return value
