"""A network of any form as a trained-model folder, and back: what makes a foreign file an
ordinary model of edgeseq."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import NetworkConfig, NetworkLayer, TrainedModel
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import (
    Activation,
    Attention,
    AttentionPool,
    Cell,
    Convolution,
    Dense,
    Embedding,
    FeatureSlice,
    Flatten,
    FloatInput,
    Join,
    Layer,
    LayerNorm,
    Pool,
    Recurrent,
    Repeat,
    Scale,
    WindowPool,
)

_KINDS: dict[str, type[Any]] = {
    "recurrent": Recurrent,
    "dense": Dense,
    "scale": Scale,
    "pool": Pool,
    "attention": AttentionPool,
    "activation": Activation,
    "layer_norm": LayerNorm,
    "convolution": Convolution,
    "window_pool": WindowPool,
    "join": Join,
    "pairwise_attention": Attention,
    "columns": FeatureSlice,
    "flatten": Flatten,
    "repeat": Repeat,
}
_OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    "dense": {"function": str},
    "pool": {"how": str},
    "attention": {"function": str},
    "activation": {"function": str},
    "layer_norm": {"epsilon": float},
    "convolution": {"stride": int, "dilation": int, "border": str, "function": str},
    "window_pool": {"how": str, "size": int, "stride": int, "border": str},
    "join": {"how": str},
    "pairwise_attention": {"how": str, "scale": float},
    "columns": {"begin": int, "end": int},
    "flatten": {"tokens": int},
    "repeat": {"rows": int},
}
"""The fields of a kind of layer besides its arrays, each with what reads it from its text."""
_CELL_FUNCTIONS = ("gate_function", "function")
"""Options of a recurrent layer whose cells differ from the published ones in their functions."""
_RECURRENT_OPTIONS = {"cell", "directions", "merge", "sequences", "inputs", *_CELL_FUNCTIONS}
_TABLE = "embedding.weight"
_INPUTS = "inputs"
"""An option of a layer that is not fed by the one before it: the places of the layers that feed it,
0 for the first, -1 for the embedding."""
_TIED = "tied"
"""An option of a dense layer: its kernel is the embedding's table, turned, and stored once."""


def network_to_folder(network: Network) -> tuple[NetworkConfig, dict[str, FloatArray]]:
    """The network's description and its arrays by name (see `NetworkConfig`)."""
    entry = network.input
    table = entry.table if isinstance(entry, Embedding) else None
    arrays = {} if table is None else {_TABLE: table}
    places = {layer.name: place for place, layer in enumerate(network.layers)}
    places[entry.name] = -1
    layers = []
    for index, layer in enumerate(network.layers):
        kind = next(name for name, type_ in _KINDS.items() if isinstance(layer, type_))
        options = {name: str(getattr(layer, name)) for name in _OPTIONS.get(kind, {})}
        if isinstance(layer, Recurrent):
            options = {
                "cell": layer.forward.kind,
                "directions": str(len(layer.cells)),
                "merge": layer.merge,
                "sequences": "yes" if layer.sequences else "no",
            }
            if not layer.forward.is_published:
                options |= {name: getattr(layer.forward, name) for name in _CELL_FUNCTIONS}
            for direction, cell in zip(("forward", "backward"), layer.cells, strict=False):
                arrays |= _arrays(cell, f"{index}.{direction}")
        else:
            layer_arrays = _arrays(layer, str(index))
            if (
                isinstance(layer, Dense)
                and table is not None
                and np.array_equal(layer.kernel.T, table)
            ):
                options[_TIED] = "yes"
                del layer_arrays[f"{index}.kernel"]
            arrays |= layer_arrays
        if layer.name in network.fed_by:
            options[_INPUTS] = ",".join(str(places[name]) for name in network.fed_by[layer.name])
        layers.append(NetworkLayer(layer.name, kind, options))  # type: ignore[arg-type]
    if isinstance(entry, FloatInput):
        return NetworkConfig(0, entry.name, False, tuple(layers), entry.features), arrays
    config = NetworkConfig(entry.vocabulary_size, entry.name, entry.mask_zero, tuple(layers))
    return config, arrays


def network_from_folder(model: TrainedModel) -> Network:
    """The network of a model whose manifest has `network`.

    Raises `CheckpointError` for arrays that are missing or do not fit, and for options that no
    layer has.
    """
    config = model.manifest.network
    where = model.manifest.name
    if config is None:
        raise CheckpointError("is not a network", where=where)
    arrays = {name: np.asarray(array, np.float32) for name, array in model.weights.items()}
    try:
        layers = tuple(_layer(arrays, index, entry) for index, entry in enumerate(config.layers))
        entry = _input(config, arrays)
        fed_by = _fed_by(config)
    except (LookupError, TypeError, ValueError, msgspec.ValidationError) as failure:
        raise CheckpointError(
            "model.json and weights.safetensors do not go together",
            where=where,
            found=failure,
            fix="import the model again",
        ) from failure
    return Network(where, entry, layers, fed_by=fed_by)


def _input(config: NetworkConfig, arrays: dict[str, FloatArray]) -> Embedding | FloatInput:
    if config.features is not None:
        return FloatInput(config.embedding, config.features)
    return Embedding(config.embedding, arrays[_TABLE], config.mask_zero)


def _fed_by(config: NetworkConfig) -> dict[str, tuple[str, ...]]:
    """The names of the layers that feed those that are not fed by the one before them."""
    names = (*(entry.name for entry in config.layers), config.embedding)
    return {
        entry.name: tuple(names[int(place)] for place in entry.options[_INPUTS].split(","))
        for entry in config.layers
        if _INPUTS in entry.options
    }


def _arrays(part: Any, prefix: str) -> dict[str, FloatArray]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {f"{prefix}.{n}": v for n, v in values.items() if isinstance(v, np.ndarray)}


def _layer(arrays: dict[str, FloatArray], index: int, entry: NetworkLayer) -> Layer:
    def arrays_of(prefix: str) -> dict[str, FloatArray]:
        start = f"{prefix}."
        return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}

    options = _OPTIONS.get(entry.kind, {})
    if entry.kind != "recurrent":
        layer_arrays = arrays_of(str(index))
        if entry.options.get(_TIED) == "yes":
            layer_arrays["kernel"] = np.ascontiguousarray(arrays[_TABLE].T)
        layer: Layer = _KINDS[entry.kind](
            name=entry.name,
            **layer_arrays,
            **{name: read(entry.options[name]) for name, read in options.items()},
        )
        return layer
    unknown = set(entry.options) - _RECURRENT_OPTIONS
    if unknown:
        raise KeyError(f"{entry.name}: unknown {', '.join(sorted(unknown))}")
    kind: Any = entry.options["cell"]
    functions = {name: entry.options[name] for name in _CELL_FUNCTIONS if name in entry.options}
    parts: dict[str, Any] = {**arrays_of(f"{index}.forward"), **functions}
    forward = Cell(kind, **parts)
    layer = Recurrent(entry.name, forward, sequences=entry.options["sequences"] == "yes")
    if entry.options["directions"] == "2":
        merge: Any = entry.options["merge"]
        parts = {**arrays_of(f"{index}.backward"), **functions}
        layer = replace(layer, backward=Cell(kind, **parts), merge=merge)
    return layer
