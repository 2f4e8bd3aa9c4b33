"""Keras' layers and weights, from any of its files, as a `Network`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.attention import attention_after
from edgeseq_converters.models.keras.checks import check_dtype
from edgeseq_converters.models.keras.config import KerasLayer, KerasModel, KerasTensor
from edgeseq_converters.models.keras.layers import IDENTITIES, embedding_of, layer_of
from edgeseq_converters.models.keras.recurrent import RECURRENT
from edgeseq_converters.models.keras.vocabularies import VECTORIZATION, vectorization_input
from edgeseq_converters.models.keras.weights import KerasWeights
from edgeseq_converters.models.network import (
    Embedding,
    FloatInput,
    Layer,
    Network,
    Pool,
    Recurrent,
    TextInput,
)

_MASK = ("NotEqual", "Any")
"""What a functional model of Keras 3 computes masks with, as layers beside the chain."""


def network_of(model: KerasModel, weights: KerasWeights) -> Network:
    """The model as a network, whose answer to a text is Keras' own to it without padding.

    Raises `CheckpointError` naming the layer and the reason for everything that is not a chain
    from one Embedding, or an input of numbers, over recurrent layers to one output.
    """
    return _Reader(model, weights).network()


class _Reader:
    def __init__(self, model: KerasModel, weights: KerasWeights) -> None:
        self._model = model
        self._weights = weights
        self._layers = {layer.name: layer for layer in model.layers}
        self._ids = model.input
        """The layer that gives token ids."""
        self._consumers: dict[str, list[KerasLayer]] = {name: [] for name in self._layers}
        for layer in model.layers:
            if layer.class_name not in _MASK:
                for name in layer.inputs:
                    if name not in self._layers:
                        raise layer.refuse("takes the output of a layer that is not there")
                    self._consumers[name].append(layer)

    def network(self) -> Network:
        first = self._layers.get(self._model.input)
        if first is None or self._layers.get(self._model.output) is None:
            raise self._model.layers[0].refuse("is not joined to the input and the output")
        at = self._ids_after(first)
        _check_input(first, is_text=at is not first)
        entry: Embedding | FloatInput | None = self._float_input(first) if at is first else None
        for candidate in self._model.layers:
            fed = len(candidate.inputs) > 1 or candidate.keywords.get("initial_state") is not None
            if candidate.class_name in RECURRENT and fed:
                raise candidate.refuse("is fed an initial state")
        used = {first.name, at.name}
        layers: list[Layer] = []
        sequence = True
        while at.name != self._model.output:
            consumers = self._consumers[at.name]
            if len(consumers) > 1 and entry is not None and sequence:
                masked = isinstance(entry, Embedding) and entry.mask_zero
                match = attention_after(at, self._consumers, self._weights, masked=masked)
                for part in match.used:
                    self._check_call(part, entry)
                used |= {part.name for part in match.used}
                layers.append(match.pool)
                sequence, at = False, match.last
                continue
            if len(consumers) != 1:
                raise at.refuse("is not followed by one layer", found=len(consumers), expected=1)
            (at,) = consumers
            used.add(at.name)
            if entry is None:
                entry = self._embedding(at)
                self._check_call(at, entry)
            elif at.class_name == "Masking" and not layers and isinstance(entry, Embedding):
                entry = _masked(at, entry)
            else:
                self._check_call(at, entry)
                layer = layer_of(at, self._weights, sequence=sequence)
                layers += [] if layer is None else [layer]
                sequence = sequence and not _ends_sequence(layer)
        self._check_strays(used)
        if entry is None:
            raise at.refuse(
                "is not an Embedding layer", expected="an Embedding layer after the input"
            )
        if isinstance(entry, FloatInput):
            return Network(self._model.name, entry, tuple(layers))
        text_input = self._text_input(first, entry)
        return Network(self._model.name, entry, tuple(layers), text_input)

    def _ids_after(self, first: KerasLayer) -> KerasLayer:
        """The layer that gives token ids: the input itself, or a TextVectorization behind it."""
        consumers = self._consumers[first.name]
        if [layer.class_name for layer in consumers] == [VECTORIZATION]:
            self._ids = consumers[0].name
            return consumers[0]
        return first

    def _text_input(self, first: KerasLayer, table: Embedding) -> TextInput:
        """What the model says of its texts. Keras 2 names their length at the Embedding layer,
        too."""
        if self._ids != first.name:
            return vectorization_input(self._layers[self._ids], table.vocabulary_size)
        embedding = self._consumers[first.name][0]
        shapes = (
            layer.config.get(key)
            for layer in (first, embedding)
            for key in ("batch_shape", "batch_input_shape")
        )
        lengths = [shape[1] for shape in shapes if isinstance(shape, list) and len(shape) == 2]
        lengths.append(embedding.config.get("input_length"))
        return TextInput(next((length for length in lengths if isinstance(length, int)), None))

    def _float_input(self, first: KerasLayer) -> FloatInput | None:
        """The input of numbers [sequences, steps, features]; None for one of token ids."""
        consumers = self._consumers[first.name]
        shapes = [_input_shape(layer) for layer in (first, *consumers)]
        shape = next((shape for shape in shapes if shape is not None), None)
        if any(layer.class_name == "Embedding" for layer in consumers):
            return None
        if shape is None:  # of a Sequential model that was never told it: the weights know
            bottom = layer_of(consumers[0], self._weights, sequence=True) if consumers else None
            if isinstance(bottom, Recurrent):
                return FloatInput("input", bottom.forward.inputs)
            return None
        if len(shape) != 3:
            return None
        features = shape[-1]
        if not isinstance(features, int) or features < 1:
            raise first.refuse(
                "has an open number of features", found=shape, expected="[sequences, steps, 3]"
            )
        return FloatInput("input", features)

    def _embedding(self, layer: KerasLayer) -> Embedding:
        if layer.class_name != "Embedding":
            raise layer.refuse(
                "was found in place of an Embedding layer",
                fix="save a model that takes token ids, or numbers [sequences, steps, features]",
            )
        return embedding_of(layer, self._weights)

    def _check_call(self, layer: KerasLayer, entry: Embedding | FloatInput) -> None:
        """Refuses arguments that change the answer: a fed state, another mask, training mode."""
        joins = layer.class_name in ("Dot", "Multiply")
        if not joins and (len(layer.inputs) != 1 or layer.constants):
            raise layer.refuse(
                "takes several inputs",
                found=len(layer.inputs) + len(layer.constants),
                expected=1,
            )
        for key, value in layer.keywords.items():
            if layer.class_name == "TFOpLambda" and not isinstance(value, KerasTensor):
                continue  # the settings of a function, which its reader looks at
            if key == "mask" and isinstance(value, KerasTensor):
                self._check_mask(layer, value, entry)
            elif (
                key == "training"
                and value is True
                and layer.class_name in (*IDENTITIES, *RECURRENT, "BatchNormalization")
            ):
                raise layer.refuse("acts as in training when the model answers (training=True)")
            elif value is not None and key not in ("training", "mask"):
                raise layer.refuse(f"is called with {key}", expected="its input alone")

    def _check_mask(
        self, layer: KerasLayer, value: KerasTensor, entry: Embedding | FloatInput
    ) -> None:
        """The mask must be the embedding's own: ids that are not 0; or a Masking layer's."""
        node = self._layers.get(value.layer)
        if node is not None and node.class_name == "Any":
            # A Masking layer's: any(inputs != mask_value, axis=-1); `_masked` looks at the value.
            last_axis = node.config.get("axis") == -1 and not node.config.get("keepdims")
            node = self._layers.get(node.inputs[0]) if node.inputs else None
            source = node.inputs[0] if node is not None and node.inputs else ""
            masks_itself = last_axis and any(
                consumer.class_name == "Masking"
                and node is not None
                and node.constants == (consumer.number("mask_value"),)
                for consumer in self._consumers.get(source, ())
            )
        else:
            masks_itself = (
                isinstance(entry, Embedding)
                and entry.mask_zero
                and node is not None
                and node.inputs == (self._ids,)
            )
            masks_itself = masks_itself and node is not None and node.constants == (0,)
        if node is None or node.class_name != "NotEqual" or not masks_itself:
            raise layer.refuse("is given a mask that is not its embedding's (mask_zero)")

    def _check_strays(self, used: set[str]) -> None:
        for layer in self._model.layers:
            if layer.name not in used and layer.class_name not in _MASK:
                raise layer.refuse("is not on the chain of layers from input to output")


def _check_input(layer: KerasLayer, *, is_text: bool) -> None:
    if layer.class_name != "InputLayer":
        raise layer.refuse("is not an input")
    shape = _input_shape(layer)
    if not is_text and shape is not None and len(shape) not in (2, 3):
        raise layer.refuse(
            "takes something else than token ids or numbers",
            found=shape,
            expected="[texts, tokens] or [sequences, steps, features]",
        )


def _input_shape(layer: KerasLayer) -> list[object] | None:
    """The shape of the input that a layer states, the number of examples first."""
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    return shape if isinstance(shape, list) else None


def _ends_sequence(layer: Layer | None) -> bool:
    return isinstance(layer, Pool) or (isinstance(layer, Recurrent) and not layer.sequences)


def _masked(layer: KerasLayer, embedding: Embedding) -> Embedding:
    """A Masking layer on an embedding: it masks the tokens whose whole row is `mask_value`."""
    check_dtype(layer)
    table: FloatArray = embedding.table
    rows = np.flatnonzero((table == np.float32(layer.number("mask_value"))).all(axis=1)).tolist()
    if rows not in ([], [0]):
        raise layer.refuse("masks a token id that is not 0", found=f"ids {rows[:5]}")
    # What it masks it also sets to 0, and a masked token is never read.
    return replace(embedding, mask_zero=rows == [0])
