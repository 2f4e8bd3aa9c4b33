"""A Keras file of weights with its layers in another file: `model.to_json()`'s text, or a
description as for PyTorch weights."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeseq.errors import CheckpointError
from edgeseq.formats.storage import read_bytes
from edgeseq_converters.models.description import (
    ActivationPart,
    BatchNormPart,
    Description,
    EmbeddingPart,
    LinearPart,
    NormPart,
    Part,
    PoolPart,
    RecurrentPart,
    RnnPart,
    known,
    read_description,
)
from edgeseq_converters.models.keras.config import (
    KerasLayer,
    KerasModel,
    parse_json,
    parse_model,
)
from edgeseq_converters.models.keras.hdf5 import Hdf5
from edgeseq_converters.models.keras.keras_1 import Keras1Weights, in_keras_2, is_keras_1
from edgeseq_converters.models.keras.network import network_of
from edgeseq_converters.models.keras.weight_layers import WeightLayer, is_legacy, weight_layers
from edgeseq_converters.models.keras.weights import (
    KerasFileWeights,
    KerasWeights,
    LegacyWeights,
    folders_of,
)
from edgeseq_converters.models.network import Network

_LIMIT_BYTES = 64 << 20
_EPSILON = 1e-3
"""Keras' own of both normalizations."""
_BEFORE_SIGMOID = re.compile(r"2\.[0-2](\.|$)")
"""Versions of Keras whose LSTM and GRU have other functions by default than those since."""
_CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
_POOLS = {"max": "GlobalMaxPooling1D", "mean": "GlobalAveragePooling1D"}


def network_of_weights(file: Hdf5, description: Path, *, same_inputs: bool = False) -> Network:
    """The network of a file of weights whose layers `description` has; `same_inputs` as in
    `network_of`.

    Raises `CheckpointError` for a description that does not fit the weights, and for what
    `network_of` refuses.
    """
    if description.suffix.lower() == ".json":
        content = read_bytes(description, error=CheckpointError, limit_bytes=_LIMIT_BYTES)
        config = parse_json(content, str(description))
        if "class_name" in config:
            version = config.get("keras_version")
            version = version if isinstance(version, str) and version else _noted_version(file)
            if is_legacy(file) and is_keras_1(version):
                model = parse_model(in_keras_2(config), str(file.where), version)
                return network_of(model, Keras1Weights(file, ""), same_inputs=same_inputs)
            model = parse_model(config, str(file.where), version)
            weights = _weights_in_order(file, model)
            return network_of(model, weights, same_inputs=same_inputs)
    return network_of_description(file, read_description(description))


def network_of_description(file: Hdf5, described: Description) -> Network:
    """The network of weights whose layers are `described` by their groups' names.

    Raises `CheckpointError` for arrays that are missing, do not fit or are not described.
    """
    layers = {layer.name: layer for layer in weight_layers(file)}
    model = _DescribedModel(file, layers).model(described)
    names = {layer.name for layer in model.layers}
    unread = [
        name
        for name, layer in layers.items()
        if layer.arrays and name not in names and not name.startswith(described.ignore)
    ]
    if unread:
        raise CheckpointError(
            "holds weights that the description names no layer for",
            where=file.where,
            found=", ".join(unread[:4]),
            fix="describe their layers, or list the names under ignore",
        )
    weights: KerasWeights = (
        LegacyWeights(file, "")
        if is_legacy(file)
        else KerasFileWeights(file, {name: f"layers/{name}" for name in names}, checks_names=False)
    )
    return network_of(model, weights)


def _noted_version(file: Hdf5) -> str | None:
    """The version of Keras that wrote a file of weights, where the file says it."""
    return "".join(file.texts("", "keras_version") or ()) or None


def _weights_in_order(file: Hdf5, model: KerasModel) -> KerasWeights:
    """The weights of a model, by its layers' names or, as Keras itself does, by their order."""
    if not is_legacy(file):
        return KerasFileWeights(file, folders_of(model), checks_names=False)
    groups = [layer for layer in weight_layers(file) if not layer.name.startswith("input")]
    layers = [layer for layer in model.layers if layer.class_name != "InputLayer"]
    names = {group.name for group in groups}
    if all(layer.name in names for layer in layers):
        return LegacyWeights(file, "")
    if len(groups) != len(layers):
        raise CheckpointError(
            "holds weights that are not those of the described model",
            where=file.where,
            found=f"{len(groups)} layers: {', '.join(sorted(names))[:160]}",
            expected=f"{len(layers)}: {', '.join(layer.name for layer in layers)[:160]}",
        )
    pairs = zip(layers, groups, strict=True)
    return LegacyWeights(file, "", {layer.name: group.name for layer, group in pairs})


class _DescribedModel:
    """A description as the layers that Keras' own description would have."""

    def __init__(self, file: Hdf5, layers: dict[str, WeightLayer]) -> None:
        self._where = str(file.where)
        self._version = _noted_version(file) or ""
        self._layers = layers

    def model(self, described: Description) -> KerasModel:
        if described.input is None:
            first = self._layer("InputLayer", "the input", {})
            chain = [first, self._embedding(described.embedding or EmbeddingPart())]
        else:
            shape = [None, None, described.input.features]
            first = self._layer("InputLayer", "the input", {"batch_shape": shape})
            chain = [first]
        for number, part in enumerate(described.layer):
            before = described.layer[number - 1] if number else None
            after = described.layer[number + 1] if number + 1 < len(described.layer) else None
            if isinstance(part, PoolPart) and part.how == "last":
                self._check_last(before, number)
                continue  # the recurrent layer before it gives its last state
            chain.append(self._layer_of(part, after, number))
        linked = (first, *(replace(b, inputs=(a.name,)) for a, b in itertools.pairwise(chain)))
        name = described.name or Path(self._where).name.partition(".")[0]
        return KerasModel(name, self._where, linked, first.name, linked[-1].name)

    def _check_last(self, before: Part | None, number: int) -> None:
        """Refuses a last state of what has none: Keras has no layer that takes it."""
        if not isinstance(before, RecurrentPart):
            raise CheckpointError(
                f"pool `last` of layer {number + 1} is not right after a recurrent layer",
                where=self._where,
                fix="put it right after the lstm, gru or rnn, or give model.to_json()'s text with "
                "--description model.json",
            )

    def _layer_of(self, part: Part, after: Part | None, number: int) -> KerasLayer:
        if isinstance(part, PoolPart):
            how = known(part.how)
            if how not in _POOLS:
                raise CheckpointError(
                    f"pool `{how}` of layer {number + 1} is not one of Keras' layers",
                    where=self._where,
                    expected="last, max or mean",
                )
            return self._layer(_POOLS[how], f"pool.{number}", {})
        if isinstance(part, RecurrentPart):
            ends = isinstance(after, PoolPart) and after.how == "last"
            return self._recurrent(part, sequences=not ends)
        if isinstance(part, LinearPart):
            return self._linear(part)
        if isinstance(part, NormPart):
            return self._normalization(part)
        if isinstance(part, ActivationPart):
            function = known(part.activation)
            return self._layer("Activation", f"activation.{number}", {"activation": function})
        raise CheckpointError(
            f"attention (layer {number + 1}) is not described for Keras weights",
            where=self._where,
            fix="give model.to_json()'s text with --description model.json",
        )

    def _embedding(self, part: EmbeddingPart) -> KerasLayer:
        name = part.weight
        shapes = self._arrays(name, "embedding").shapes
        if len(shapes) != 1 or len(shapes[0]) != 2:
            raise self._misfit(name, "embedding")
        rows, size = shapes[0]
        config = {"input_dim": rows, "output_dim": size, "mask_zero": part.padding_idx == 0}
        return self._layer("Embedding", name, config)

    def _recurrent(self, part: RecurrentPart, *, sequences: bool) -> KerasLayer:
        kind = type(part).__struct_config__.tag
        arrays = self._arrays(part.prefix, str(kind))
        count = len(arrays.shapes)
        if count not in (2, 3, 4, 6) or len(arrays.shapes[1]) != 2:
            raise self._misfit(part.prefix, str(kind))
        both = count > 3
        if part.layers not in (None, 1) or part.bidirectional not in (None, both):
            raise self._misfit(part.prefix, f"{kind} of one layer, bidirectional = {both}")
        unsaid = "reset_after" if kind == "gru" and count in (2, 4) else None
        if kind != "rnn" and _BEFORE_SIGMOID.match(self._version):
            unsaid = "recurrent_activation (hard_sigmoid by default before Keras 2.3)"
        if unsaid is not None:
            raise CheckpointError(
                f"does not say layer {part.prefix}'s {unsaid}",
                where=self._where,
                fix="give model.to_json()'s text with --description model.json",
            )
        config: dict[str, Any] = {
            "units": arrays.shapes[1][0],
            "use_bias": count in (3, 6),
            "return_sequences": sequences,
            "activation": known(part.nonlinearity) if isinstance(part, RnnPart) else "tanh",
        }
        if kind != "rnn":
            config["recurrent_activation"] = "sigmoid"
        if kind == "gru":
            config["reset_after"] = len(arrays.shapes[2]) == 2
        if not both:
            return self._layer(_CLASSES[str(kind)], part.prefix, config)
        inner = {"class_name": _CLASSES[str(kind)], "config": {"name": part.prefix, **config}}
        return self._layer("Bidirectional", part.prefix, {"layer": inner, "merge_mode": "concat"})

    def _normalization(self, part: NormPart) -> KerasLayer:
        by_batch = isinstance(part, BatchNormPart)
        kind = "batch normalization" if by_batch else "layer normalization"
        if len(self._arrays(part.prefix, kind).shapes) != (4 if by_batch else 2):
            raise self._misfit(part.prefix, f"{kind} with gamma and beta")
        epsilon = _EPSILON if part.eps is None else part.eps
        class_name = "BatchNormalization" if by_batch else "LayerNormalization"
        return self._layer(class_name, part.prefix, {"epsilon": epsilon, "axis": -1})

    def _linear(self, part: LinearPart) -> KerasLayer:
        arrays = self._arrays(part.prefix, "linear")
        if len(arrays.shapes) not in (1, 2) or len(arrays.shapes[0]) != 2:
            raise self._misfit(part.prefix, "linear")
        config = {
            "units": arrays.shapes[0][1],
            "use_bias": len(arrays.shapes) == 2,
            "activation": known(part.activation),
        }
        if arrays.part != "layer":
            return self._layer("Dense", part.prefix, config)
        inner = {"class_name": "Dense", "config": {"name": part.prefix, **config}}
        return self._layer("TimeDistributed", part.prefix, {"layer": inner})

    def _arrays(self, name: str, kind: str) -> WeightLayer:
        if name not in self._layers:
            raise CheckpointError(
                f"has no layer {name}",
                where=self._where,
                found=", ".join(n for n, layer in self._layers.items() if layer.arrays)[:160],
                fix="correct the name in the description",
            )
        if not self._layers[name].arrays:
            raise self._misfit(name, kind)
        return self._layers[name]

    def _misfit(self, name: str, kind: str) -> CheckpointError:
        shapes = self._layers[name].shapes
        return CheckpointError(
            f"layer {name} does not have the arrays of the description",
            where=self._where,
            found=", ".join(str(list(shape)) for shape in shapes) or "none",
            expected=kind,
        )

    def _layer(self, class_name: str, name: str, config: dict[str, Any]) -> KerasLayer:
        return KerasLayer(self._where, class_name, name, config)
