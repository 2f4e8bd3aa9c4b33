"""Embeddings and layers of an encoder as TFLite operators; states are float32 [n, hidden].

Query, key and value are one product, and the scale 1/√(head size) is folded into the query's
weights. One transpose of the three together saves 2 to 5 % over three (MiniLM, 32 and 128 tokens).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeseq.formats.trained_model import BertConfig
from edgeseq.tasks.word_features import FEATURES
from edgeseq_converters.convert.lower.encoder.weights import Arrays
from edgeseq_converters.convert.tflite import encoder_operators as more
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import (
    WORD_FEATURE_PROJECTION,
    WORD_FEATURE_TABLE,
    feed_forward_prefixes,
    has_tied_decoder,
    inner_size,
)


@dataclass(frozen=True)
class QuerySelection:
    """What a layer is asked for: `take` picks the `count` tokens that it answers for, all of them
    if None, and `bias` [tokens asked for, all tokens] is added to their attention scores. `recall`
    makes of the keys and values [heads, n, head size] those that are attended to."""

    select: Callable[[GraphTensor], GraphTensor] | None = None
    count: int = -1
    attention_bias: GraphTensor | None = None
    kv_cache: Callable[[GraphTensor, GraphTensor], tuple[GraphTensor, GraphTensor]] | None = None


ALL_TOKENS = QuerySelection()
FIRST_TOKEN = QuerySelection(select=lambda states: op.row(states, 0), count=1)
"""What a pooling of the first token needs alone."""


@dataclass(frozen=True)
class Encoder:
    """A configuration with its arrays; `max_tokens` is the longest text that is ever given."""

    config: BertConfig
    arrays: Arrays
    max_tokens: int

    def embeddings(
        self,
        ids: GraphTensor,
        positions: GraphTensor | None = None,
        word_rows: GraphTensor | None = None,
    ) -> GraphTensor:
        """States for `ids` int32 [n] at `positions` int32 [n] of a text, at its beginning if None;
        `word_rows` int32 [1, n, 3] are the rows of their words' features, if the model has any."""
        config = self.config
        positions = op.arange_like(ids) if positions is None else positions
        rest = self.arrays.lookup(positions, "embeddings.positions", self._positions())
        words = self.arrays.lookup_words(ids, "decoder" if has_tied_decoder(config) else None)
        if word_rows is not None:
            words = op.add(words, self._word_features(word_rows))
        if config.trigram:
            words = _with_neighbours(words, ids)
        projected_first = config.trigram or config.head == "causal_lm"
        if projected_first:
            words = self.arrays.linear(words, "embeddings.project")
        states = self._norm(op.add(words, rest), "embeddings.LayerNorm")
        if config.embedding_size is not None and not projected_first:
            states = self.arrays.linear(states, "embeddings.project")
        return states

    def _word_features(self, word_rows: GraphTensor) -> GraphTensor:
        """What is added to the tokens' embeddings: [n, embedding]."""
        table = self.arrays.arrays[WORD_FEATURE_TABLE]
        rows = self.arrays.lookup(op.reshape(word_rows, (-1,)), WORD_FEATURE_TABLE, table)
        joined = op.reshape(rows, (-1, len(FEATURES) * table.shape[1]))
        return self.arrays.linear(joined, WORD_FEATURE_PROJECTION)

    def layer(
        self, states: GraphTensor, number: int, selection: QuerySelection = ALL_TOKENS
    ) -> GraphTensor:
        """The layer whose arrays carry `number`: states [n, hidden] → those of the tokens that are
        asked for."""
        name = f"encoder.layer.{number}."
        residual = query_input = states
        if self.config.bottleneck_size is not None:
            residual, query_input = (self._narrowed(states, name + part) for part in _BOTTLENECKS)
        mixed = self._attention(name + "attention.self.", query_input, states, selection)
        if selection.select is not None:
            states, residual = selection.select(states), selection.select(residual)
        mixed = self.arrays.linear(mixed, name + "attention.output.dense")
        inner = self._norm(op.add(residual, mixed), name + "attention.output.LayerNorm")
        for part in feed_forward_prefixes(self.config):
            inner = self._feed_forward(inner, name + part)
        if self.config.bottleneck_size is None:
            return inner
        widened = self.arrays.linear(inner, name + "output.bottleneck.dense")
        return self._norm(op.add(states, widened), name + "output.bottleneck.LayerNorm")

    def activation(self, x: GraphTensor, name: str | None) -> GraphTensor:
        """`gelu` is the exact one (erf), `gelu_new` the tanh form, as in Hugging Face's names."""
        if name == "relu":
            return op.unary("RELU", x)
        if name == "tanh":
            return op.unary("TANH", x)
        return more.gelu(x, tanh_form=name == "gelu_new")

    def layer_norm(self, x: GraphTensor, name: str) -> GraphTensor:
        """Layer norm with the arrays `name`."""
        scale, shift = (
            self.arrays.vector(x.graph, f"{name}.{part}") for part in ("weight", "bias")
        )
        return more.layer_norm(x, scale, shift, self.config.layer_norm_eps)

    def _norm(self, x: GraphTensor, name: str) -> GraphTensor:
        if self.config.norm == "layer":
            return self.layer_norm(x, name)
        scale, shift = (
            self.arrays.vector(x.graph, f"{name}.{part}") for part in ("weight", "bias")
        )
        return op.add(op.multiply(x, scale), shift)

    def _positions(self) -> FloatArray:
        """Positions and segment 0 in one table [max_tokens, size]."""
        arrays = self.arrays.arrays
        positions = arrays["embeddings.position_embeddings.weight"][: self.max_tokens]
        if not self.config.type_vocabulary_size:
            return positions
        return np.asarray(positions + arrays["embeddings.token_type_embeddings.weight"][0])

    def _narrowed(self, states: GraphTensor, name: str) -> GraphTensor:
        return self._norm(self.arrays.linear(states, f"{name}.dense"), f"{name}.LayerNorm")

    def _feed_forward(self, inner: GraphTensor, name: str) -> GraphTensor:
        grown = self.arrays.linear(inner, name + "intermediate.dense")
        grown = self.activation(grown, self.config.hidden_act)
        shrunk = self.arrays.linear(grown, name + "output.dense")
        return self._norm(op.add(inner, shrunk), name + "output.LayerNorm")

    def _attention(
        self,
        name: str,
        query_input: GraphTensor,
        value_input: GraphTensor,
        selection: QuerySelection,
    ) -> GraphTensor:
        """Queries and keys of `keys`, values of `values`: [tokens asked for, inner]."""
        queries = query_input if selection.select is None else selection.select(query_input)
        # What is computed from the same rows is one product.
        if query_input is value_input and queries is query_input:
            query, key, value = self._heads(query_input, name, ("query", "key", "value"))
        elif query_input is value_input:
            (query,), (key, value) = (
                self._heads(queries, name, ("query",)),
                self._heads(query_input, name, ("key", "value")),
            )
        elif queries is not query_input:
            (query,), (key,), (value,) = (
                self._heads(queries, name, ("query",)),
                self._heads(query_input, name, ("key",)),
                self._heads(value_input, name, ("value",)),
            )
        else:
            (query, key), (value,) = (
                self._heads(query_input, name, ("query", "key")),
                self._heads(value_input, name, ("value",)),
            )
        if selection.kv_cache is not None:
            key, value = selection.kv_cache(key, value)
        scores = more.matmul(query, key, transpose_b=True)
        if selection.attention_bias is not None:
            scores = op.add(scores, selection.attention_bias)
        mixed = more.transpose(more.matmul(op.softmax(scores), value), (1, 0, 2))
        count = query_input.shape[0] if selection.select is None else selection.count
        return op.reshape(mixed, (count, inner_size(self.config)))

    def _heads(self, states: GraphTensor, name: str, parts: tuple[str, ...]) -> list[GraphTensor]:
        """Each of `parts` as [heads, n, head size]; one transpose for all. Static products have a
        separate scale for each part, so they are not joined."""
        if self.arrays.ranges and len(parts) > 1:
            return [self._heads(states, name, (part,))[0] for part in parts]
        heads = self.config.attention_heads
        head_size = inner_size(self.config) // heads
        scale = np.float32(head_size**-0.5)
        weights, biases = [], []
        for part in parts:
            factor = scale if part == "query" else np.float32(1)
            weights.append(self.arrays.arrays[f"{name}{part}.weight"] * factor)
            biases.append(self.arrays.arrays[f"{name}{part}.bias"] * factor)
        joined = self.arrays.product(
            states,
            name + "_".join(parts),
            np.concatenate(weights),
            np.concatenate(biases),
            inputs=name + parts[0],
            factor=float(scale) if parts == ("query",) else 1.0,
        )
        split = op.reshape(joined, (states.shape[0], len(parts) * heads, head_size))
        by_head = more.transpose(split, (1, 0, 2))
        return op.split(by_head, len(parts), 0) if len(parts) > 1 else [by_head]


_BOTTLENECKS = ("bottleneck.input", "bottleneck.attention")


def _with_neighbours(words: GraphTensor, ids: GraphTensor) -> GraphTensor:
    """words [n, e] → [n, 3e]: the next token's, its own, the previous token's; 0 beyond the ends.

    By GATHER from padded rows: a slice whose size follows the length keeps its first size inside
    XNNPACK when the length changes.
    """
    padded = more.pad_rows(words, 1, 1)
    before = op.arange_like(ids)
    after = op.add(before, ids.graph.ints(2))
    return op.concatenate([op.gather(padded, after), words, op.gather(padded, before)], 1)
