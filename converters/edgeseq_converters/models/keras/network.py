"""Keras' layers and weights, from any of its files, as a `Network`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.keras.attention import SCORERS, AttentionMatch, attention_after
from edgeseq_converters.models.keras.checks import check_dtype
from edgeseq_converters.models.keras.config import KerasLayer, KerasModel, with_one_input
from edgeseq_converters.models.keras.joins import JOINS, join_of
from edgeseq_converters.models.keras.layers import embedding_of, is_flatten, layer_of
from edgeseq_converters.models.keras.masks import MaskReader
from edgeseq_converters.models.keras.pair_scores import PairScores, attended_by, pair_scores_of
from edgeseq_converters.models.keras.recurrent import RECURRENT
from edgeseq_converters.models.keras.vocabularies import VECTORIZATION, vectorization_input
from edgeseq_converters.models.keras.weights import KerasWeights
from edgeseq_converters.models.layer_shapes import LayerShape, shape_after
from edgeseq_converters.models.network import Network, TextInput
from edgeseq_converters.models.network_layers import (
    Attention,
    Convolution,
    Embedding,
    FeatureSlice,
    Flatten,
    FloatInput,
    Layer,
    Recurrent,
)
from edgeseq_converters.models.windows import fixed_rows


def network_of(model: KerasModel, weights: KerasWeights, *, same_inputs: bool = False) -> Network:
    """The model as a network, whose answer to a text is Keras' own to it without padding.

    `same_inputs` says that all inputs of a model with several are given the same.

    Raises `CheckpointError` naming the layer and the reason for everything that is not made of
    embeddings of one input, or of one input of numbers, and of layers between that and one output.
    """
    if model.other_inputs and not same_inputs:
        raise CheckpointError(
            "has several inputs",
            where=model.where,
            found=", ".join((model.input, *model.other_inputs)),
            expected="one",
            fix="save a model with one input, or add --same-inputs if all are given the same",
        )
    return _Reader(with_one_input(model), weights).network()


class _Reader:
    def __init__(self, model: KerasModel, weights: KerasWeights) -> None:
        self._model = model
        self._weights = weights
        self._layers = {layer.name: layer for layer in model.layers}
        self._ids = _ids_after(model)
        """The layer that gives token ids."""
        self._masks = MaskReader(model, ids=self._ids)
        self._consumers: dict[str, list[KerasLayer]] = {name: [] for name in self._layers}
        for layer in model.layers:
            for name in layer.inputs:
                if name not in self._layers:
                    raise layer.refuse("takes the output of a layer that is not there")
                if not self._masks.is_mask(layer):
                    self._consumers[name].append(layer)
        self._matches: dict[str, tuple[KerasLayer, AttentionMatch]] = {}
        self._broken_attention: dict[str, CheckpointError] = {}
        # What is read so far: the network's layers, and for each of Keras' the name of the one with
        # its output, which a dropout shares with the layer before it.
        self._made: list[Layer] = []
        self._inputs: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}
        self._shapes: dict[str, LayerShape] = {}
        self._pair_scores: dict[str, PairScores] = {}
        self._length: int | None = None
        """The one number of tokens, or of steps, that the model takes."""

    def network(self) -> Network:
        first = self._layers.get(self._model.input)
        if first is None or self._layers.get(self._model.output) is None:
            raise self._model.layers[0].refuse("is not joined to the input and the output")
        at = self._layers[self._ids]
        _check_input(first, is_text=at is not first)
        for candidate in self._model.layers:
            fed = len(candidate.inputs) > 1 or candidate.keywords.get("initial_state") is not None
            if candidate.class_name in RECURRENT and fed:
                raise candidate.refuse("is fed an initial state")
        entry = self._read_input(at) if at is first else self._read_embeddings(at)
        text_input = self._text_input(first, entry)
        self._length = text_input.length
        self._match_attention(entry)
        used = {first.name, at.name}
        for layer in self._in_order():
            used |= {layer.name}
            if layer.name in self._matches:
                used |= {part.name for part in self._matches[layer.name][1].used}
            if layer.name not in self._names:
                self._read(layer, entry)
        self._check_strays(used)
        if not self._made:
            raise first.refuse("is followed by no layer that computes anything")
        if self._model.output in self._pair_scores:
            raise self._layers[self._model.output].refuse(
                "answers with the scores of pairs of tokens", expected="values weighted by them"
            )
        layers = tuple(self._made)
        self._check_repeated()
        if isinstance(entry, FloatInput):
            return Network(self._model.name, entry, layers, fed_by=self._inputs)
        entry = self._masks.as_seen(entry)
        tied = [layer for layer in layers if isinstance(layer, Flatten)]
        if tied and entry.mask_zero:
            raise self._layers[tied[0].name].refuse(
                "flattens a sequence with masked padding, whose rows depend on the padding",
                fix="pool over time instead, or train without mask_zero",
            )
        return Network(self._model.name, entry, layers, text_input, fed_by=self._inputs)

    def _check_repeated(self) -> None:
        """Refuses an answer of another number of rows than the input has."""
        count = fixed_rows(self._shapes[self._made[-1].name].rows or ())
        if count is not None and self._length not in (None, count):
            raise self._layers[self._model.output].refuse(
                "answers for another number of steps than the input has",
                found=count,
                expected=self._length,
            )

    def _text_input(self, first: KerasLayer, entry: Embedding | FloatInput) -> TextInput:
        """What the model says of its texts. Keras 2 names their length at the Embedding layer,
        too."""
        if self._ids != first.name and isinstance(entry, Embedding):
            return vectorization_input(self._layers[self._ids], entry.vocabulary_size)
        layers = (first, *self._consumers[first.name][:1])
        shapes = (
            layer.config.get(key)
            for layer in layers
            for key in ("batch_shape", "batch_input_shape")
        )
        axes = 2 if isinstance(entry, Embedding) else 3
        lengths = [shape[1] for shape in shapes if isinstance(shape, list) and len(shape) == axes]
        lengths += [layer.config.get("input_length") for layer in layers]
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
            if isinstance(bottom, Convolution):
                return FloatInput("input", int(bottom.kernel.shape[1]))
            return None
        if len(shape) != 3:
            return None
        features = shape[-1]
        if not isinstance(features, int) or features < 1:
            raise first.refuse(
                "has an open number of features", found=shape, expected="[sequences, steps, 3]"
            )
        return FloatInput("input", features)

    def _read_input(self, first: KerasLayer) -> Embedding | FloatInput:
        """The input of numbers, or the embedding behind one of token ids."""
        entry = self._float_input(first)
        if entry is None:
            return self._read_embeddings(first)
        self._names[first.name] = entry.name
        self._shapes[entry.name] = LayerShape(entry.size)
        return entry

    def _read_embeddings(self, first: KerasLayer) -> Embedding:
        """The table of the model's embedding; several of one input side by side, each with a layer
        that takes its own columns."""
        found = self._consumers[first.name]
        if not found:
            raise first.refuse("is not followed by a layer")
        embeddings = []
        for layer in found:
            if layer.class_name != "Embedding":
                raise layer.refuse(
                    "was found in place of an Embedding layer",
                    expected="an Embedding layer after the input",
                    fix="save a model of token ids, or of numbers [sequences, steps, features]",
                )
            self._masks.check_call(layer, None)
            embeddings.append(embedding_of(layer, self._weights))
        embedding = embeddings[0]
        if len(found) > 1:
            embedding = _side_by_side(found, embeddings)
        else:
            embedding = self._masked(found[0], embedding)
        self._shapes[embedding.name] = LayerShape(embedding.size)
        if len(found) == 1:
            self._names[found[0].name] = embedding.name
            return embedding
        begin = 0
        for layer, part in zip(found, embeddings, strict=True):
            end = begin + part.size
            self._add(layer, FeatureSlice(layer.name, begin, end), (embedding.name,))
            begin = end
        return embedding

    def _masked(self, layer: KerasLayer, embedding: Embedding) -> Embedding:
        """The embedding with the Masking layer that is the only one behind it, if there is one."""
        behind = self._consumers[layer.name]
        if len(behind) != 1 or behind[0].class_name != "Masking":
            return embedding
        self._names[behind[0].name] = embedding.name
        return _masked(behind[0], embedding)

    def _match_attention(self, entry: Embedding | FloatInput) -> None:
        """Finds the attention poolings, which are made of several of Keras' layers."""
        for name, consumers in self._consumers.items():
            joins = [layer for layer in consumers if layer.class_name in ("Dot", "Multiply")]
            if len(consumers) != 2 or len(joins) != 1:
                continue
            try:
                match = attention_after(
                    self._layers[name],
                    self._consumers,
                    self._weights,
                    masked=isinstance(entry, Embedding) and entry.mask_zero,
                )
            except CheckpointError as refusal:
                for join in joins:
                    self._broken_attention[join.name] = refusal
            else:
                self._matches[match.last.name] = (self._layers[name], match)

    def _in_order(self) -> Iterator[KerasLayer]:
        """The layers that the output depends on, each behind its inputs."""
        done: set[str] = {self._ids}
        pending = [self._layers[self._model.output]]
        while pending:
            layer = pending[-1]
            missing = [name for name in self._fed_by(layer) if name not in done]
            if any(self._layers[name] in pending for name in missing):
                raise layer.refuse("depends on its own output")
            if missing:
                pending.append(self._layers[missing[0]])
                continue
            pending.pop()
            done.add(layer.name)
            yield layer

    def _fed_by(self, layer: KerasLayer) -> tuple[str, ...]:
        if layer.name in self._matches:
            return (self._matches[layer.name][0].name,)
        return layer.inputs

    def _read(self, layer: KerasLayer, entry: Embedding | FloatInput) -> None:
        """Adds the network's layer for one of Keras'."""
        if layer.name in self._matches:
            states, match = self._matches[layer.name]
            for part in match.used:
                self._masks.check_call(part, entry)
            self._masks.note(layer, (states.name,), uses=True)
            self._add(layer, match.pool, (self._names[states.name],))
            return
        if layer.class_name == "InputLayer":
            raise layer.refuse("is a second input", expected="one input of token ids")
        if self._read_pairs(layer, entry):
            return
        if layer.name in self._broken_attention and layer.class_name == "Dot":
            raise self._broken_attention[layer.name]
        self._masks.check_call(layer, entry)
        self._masks.note(layer, layer.inputs)
        sources = tuple(self._names[name] for name in layer.inputs)
        if layer.class_name in JOINS:
            self._add(layer, join_of(layer, self._weights, self._shapes[sources[0]]), sources)
            return
        if not sources:
            raise layer.refuse("is not fed by the input")
        sequence = self._shapes[sources[0]].rows is not None
        if sequence and self._length is not None and is_flatten(layer):
            self._add(layer, Flatten(layer.name, self._length), sources)
            return
        try:
            made = layer_of(layer, self._weights, sequence=sequence)
        except CheckpointError:
            if layer.class_name in SCORERS and self._broken_attention:
                raise next(iter(self._broken_attention.values())) from None
            raise
        if made is None:
            self._names[layer.name] = sources[0]
        else:
            self._add(layer, made, sources)

    def _read_pairs(self, layer: KerasLayer, entry: Embedding | FloatInput) -> bool:
        """Whether the layer is part of an attention over pairs, whose last one adds it."""
        attended = attended_by(layer, self._pair_scores)
        if attended is not None:
            self._masks.check_call(layer, entry)
            # Keras' Dot does not look at masks: only a network without one answers as it does.
            if isinstance(entry, Embedding) and entry.mask_zero:
                raise layer.refuse(
                    "gives padding a share of the attention",
                    fix="use Attention, or train without mask_zero",
                )
            made = Attention(layer.name, "dot")
            self._add(layer, made, tuple(self._names[name] for name in attended))
            return True
        scores = pair_scores_of(layer, self._pair_scores)
        if scores is None or not self._are_sequences(scores.query, scores.key):
            return False
        self._masks.check_call(layer, entry)
        self._pair_scores[layer.name] = scores
        return True

    def _are_sequences(self, *names: str) -> bool:
        return all(self._shapes[self._names[name]].rows is not None for name in names)

    def _add(self, layer: KerasLayer, made: Layer, sources: tuple[str, ...]) -> None:
        shapes = [self._shapes[name] for name in sources]
        self._shapes[made.name] = shape_after(layer.where, made, shapes)
        before = self._made[-1].name if self._made else None
        if sources != (before,) and (before is not None or len(sources) > 1):
            self._inputs[made.name] = sources
        self._made.append(made)
        self._names[layer.name] = made.name

    def _check_strays(self, used: set[str]) -> None:
        for layer in self._model.layers:
            if layer.name not in used and not self._masks.is_mask(layer):
                raise layer.refuse("is not between the input and the output")


def _ids_after(model: KerasModel) -> str:
    """The layer that gives token ids: the input itself, or a TextVectorization behind it."""
    consumers = [layer for layer in model.layers if model.input in layer.inputs]
    if [layer.class_name for layer in consumers] == [VECTORIZATION]:
        return consumers[0].name
    return model.input


def _side_by_side(found: list[KerasLayer], embeddings: list[Embedding]) -> Embedding:
    """The tables of several embeddings of one input as one, as long as the shortest."""
    if len({embedding.mask_zero for embedding in embeddings}) > 1:
        raise found[0].refuse("masks padding (mask_zero), and another Embedding layer does not")
    rows = min(embedding.vocabulary_size for embedding in embeddings)
    table = np.concatenate([embedding.table[:rows] for embedding in embeddings], axis=1)
    name = "+".join(embedding.name for embedding in embeddings)
    return Embedding(name, table, embeddings[0].mask_zero)


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


def _masked(layer: KerasLayer, embedding: Embedding) -> Embedding:
    """A Masking layer on an embedding: it masks the tokens whose whole row is `mask_value`."""
    check_dtype(layer)
    table: FloatArray = embedding.table
    rows = np.flatnonzero((table == np.float32(layer.number("mask_value"))).all(axis=1)).tolist()
    if rows not in ([], [0]):
        raise layer.refuse("masks a token id that is not 0", found=f"ids {rows[:5]}")
    # What it masks it also sets to 0, and a masked token is never read.
    return replace(embedding, mask_zero=rows == [0])
