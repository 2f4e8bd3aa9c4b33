"""A recurrent network as data: what every source is read into and every lowering starts from.

An embedding or an input of numbers, then layers in order, each fed by the one before it or by those
that the network names.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq.formats.padding import Padding
from edgeseq.tasks.word_features import WORD_FEATURES
from edgeseq_converters.models.layer_shapes import LayerShape, check_numbers, shape_after
from edgeseq_converters.models.network_layers import (
    Activation,
    AttentionPool,
    Dense,
    Embedding,
    Flatten,
    FloatInput,
    Layer,
    Pool,
    Recurrent,
    Scale,
)
from edgeseq_converters.models.windows import count_rows, fixed_rows, required_tokens


@dataclass(frozen=True)
class TextInput:
    """What a source says of its texts besides its layers.

    `length` is the one number of tokens that it takes, None: any. `tokenizer_json` and `padding`
    are set where it holds its own vocabulary (Keras' TextVectorization).
    """

    length: int | None = None
    tokenizer_json: str | None = None
    padding: Padding | None = None


@dataclass(frozen=True)
class Network:
    """An input and layers, checked to fit each other when made.

    A layer is fed by the one before it (the first by the embedding), or by those whose names
    `fed_by` gives for its own, which come before it; the last layer's output is the network's.

    Raises `CheckpointError` naming the layer whose arrays do not fit or hold NaN or infinity, a
    layer that needs a sequence and gets a vector, and a network without layers.
    """

    name: str
    input: Embedding | FloatInput
    layers: tuple[Layer, ...]
    text_input: TextInput = TextInput()
    fed_by: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers:
            raise CheckpointError("has no layers behind its embedding", where=self.name)
        self.shapes()
        lengths = {layer.tokens for layer in self.layers if isinstance(layer, Flatten)}
        if len(lengths) > 1 or min(lengths, default=1) < 1:
            raise CheckpointError("is tied to two lengths, or to none", where=self.name)

    def sources(self, layer: Layer) -> tuple[str, ...]:
        """The names of the layers, or of the input, that feed a layer."""
        names = self.fed_by.get(layer.name)
        if names is not None:
            return names
        position = next(i for i, other in enumerate(self.layers) if other is layer)
        return (self.layers[position - 1].name if position else self.input.name,)

    def shapes(self) -> tuple[LayerShape, ...]:
        """What the input and each layer give."""
        return self._shapes

    @functools.cached_property
    def _shapes(self) -> tuple[LayerShape, ...]:
        """The same, with a check of every array: computed when the network is made."""
        if isinstance(self.input, Embedding):
            check_numbers(self.name, self.input.name, self.input.table)
            if self.input.word_features is not None:
                check_numbers(self.name, WORD_FEATURES, self.input.word_features)
        flows = [LayerShape(self.input.size)]
        named = {self.input.name: flows[0]}
        for layer in self.layers:
            fed = self.fed_by.get(layer.name)
            missing = [name for name in fed or () if name not in named]
            if missing:
                raise CheckpointError(
                    f"layer {layer.name} is fed by a layer that does not come before it",
                    where=self.name,
                    found=missing[0],
                )
            inputs = [flows[-1]] if fed is None else [named[name] for name in fed]
            flows.append(shape_after(self.name, layer, inputs))
            if self.fed_by and layer.name in named:
                raise CheckpointError(f"has two layers called {layer.name}", where=self.name)
            named[layer.name] = flows[-1]
        return tuple(flows)

    @property
    def embedding(self) -> Embedding:
        """The input of a network that takes token ids; raises `CheckpointError` for another."""
        if isinstance(self.input, Embedding):
            return self.input
        raise CheckpointError("takes numbers, not token ids", where=self.name)

    def shape_of(self, layer: Layer) -> LayerShape:
        """What one of the network's layers gives."""
        pairs = zip(self.layers, self.shapes()[1:], strict=True)
        return next(shape for other, shape in pairs if other is layer)

    @property
    def outputs(self) -> int:
        """Features of the last layer: classes, or tags, or words."""
        return self.shapes()[-1].features

    @property
    def arch(self) -> Literal["bag", "lstm"]:
        """`bag` where the order of the tokens is nothing to any layer, `lstm` for all others."""
        without_order = (Dense, Scale, Activation, AttentionPool)
        if isinstance(self.input, Embedding) and all(
            isinstance(layer, without_order) or (isinstance(layer, Pool) and layer.how != "last")
            for layer in self.layers
        ):
            return "bag"
        return "lstm"

    @property
    def per_token(self) -> bool:
        """Whether the network answers for each token, or for each window of tokens."""
        return self.shapes()[-1].rows is not None

    def output_rows(self, tokens: int) -> int:
        """Rows of the answer to a text of `tokens`; for `per_token` alone."""
        return count_rows(self.shapes()[-1].rows or (), tokens)

    @property
    def required_tokens(self) -> int:
        """Tokens of the shortest text that has a row at each layer."""
        shortest = max(required_tokens(shape.rows or ()) for shape in self.shapes())
        return max(shortest, self.only_tokens or 1)

    @property
    def only_tokens(self) -> int | None:
        """The one number of tokens that the network takes, None where it takes any.

        An answer that is repeated has so many rows, one for each token.
        """
        tied = (layer.tokens for layer in self.layers if isinstance(layer, Flatten))
        return next(tied, self.repeated_rows)

    @property
    def repeated_rows(self) -> int | None:
        """Rows of an answer that has as many for every text; None: rows follow the text's."""
        return fixed_rows(self.shapes()[-1].rows or ())

    @property
    def bidirectional(self) -> bool:
        return any(
            isinstance(layer, Recurrent) and layer.backward is not None for layer in self.layers
        )

    @property
    def parameters(self) -> int:
        """Number of weights in all arrays."""
        total = 0
        if isinstance(self.input, Embedding):
            words = self.input.word_features
            total = self.input.table.size + (0 if words is None else words.size)
        for layer in self.layers:
            parts = layer.cells if isinstance(layer, Recurrent) else (layer,)
            for part in parts:
                total += sum(a.size for a in vars(part).values() if isinstance(a, np.ndarray))
        return int(total)


def tied_decoder(network: Network) -> str | None:
    """The name of the dense layer that multiplies by the table of words, None if there is none."""
    if isinstance(network.input, FloatInput):
        return None
    table = network.input.table
    for layer in network.layers:
        if isinstance(layer, Dense) and np.array_equal(layer.kernel.T, table):
            return layer.name
    return None
