"""A network of any form as a trained-model folder, and back: what makes a foreign file an
ordinary model of edgeseq."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import NetworkConfig, NetworkLayer, TrainedModel
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import (
    Activation,
    AttentionPool,
    Cell,
    Dense,
    Embedding,
    FloatInput,
    Layer,
    Network,
    Pool,
    Recurrent,
    Scale,
)

_KINDS: dict[str, type[Any]] = {
    "recurrent": Recurrent,
    "dense": Dense,
    "scale": Scale,
    "pool": Pool,
    "attention": AttentionPool,
    "activation": Activation,
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    "dense": ("function",),
    "pool": ("how",),
    "attention": ("function",),
    "activation": ("function",),
}
_CELL_FUNCTIONS = ("gate_function", "function")
"""Options of a recurrent layer whose cells have other functions than the published ones."""
_RECURRENT_OPTIONS = {"cell", "directions", "merge", "sequences", *_CELL_FUNCTIONS}
_TABLE = "embedding.weight"
_TIED = "tied"
"""An option of a dense layer: its kernel is the embedding's table, turned, and stored once."""


def network_to_folder(network: Network) -> tuple[NetworkConfig, dict[str, FloatArray]]:
    """The network's description and its arrays by name (see `NetworkConfig`)."""
    entry = network.input
    table = entry.table if isinstance(entry, Embedding) else None
    arrays = {} if table is None else {_TABLE: table}
    layers = []
    for index, layer in enumerate(network.layers):
        kind = next(name for name, type_ in _KINDS.items() if isinstance(layer, type_))
        options = {name: str(getattr(layer, name)) for name in _OPTIONS.get(kind, ())}
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
    except (KeyError, TypeError, msgspec.ValidationError) as failure:
        raise CheckpointError(
            "model.json and weights.safetensors do not go together",
            where=where,
            found=failure,
            fix="import the model again",
        ) from failure
    return Network(where, entry, layers)


def _input(config: NetworkConfig, arrays: dict[str, FloatArray]) -> Embedding | FloatInput:
    if config.features is not None:
        return FloatInput(config.embedding, config.features)
    return Embedding(config.embedding, arrays[_TABLE], config.mask_zero)


def _arrays(part: Any, prefix: str) -> dict[str, FloatArray]:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return {f"{prefix}.{n}": v for n, v in values.items() if isinstance(v, np.ndarray)}


def _layer(arrays: dict[str, FloatArray], index: int, entry: NetworkLayer) -> Layer:
    def arrays_of(prefix: str) -> dict[str, FloatArray]:
        start = f"{prefix}."
        return {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}

    if entry.kind != "recurrent":
        layer_arrays = arrays_of(str(index))
        if entry.options.get(_TIED) == "yes":
            layer_arrays["kernel"] = np.ascontiguousarray(arrays[_TABLE].T)
        layer: Layer = _KINDS[entry.kind](
            name=entry.name,
            **layer_arrays,
            **{name: entry.options[name] for name in _OPTIONS.get(entry.kind, ())},
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
