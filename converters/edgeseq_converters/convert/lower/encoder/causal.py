"""A causal transformer of the next word as TFLite operators, for batch 1 and any number of words.

In the lowering `encoder` it keeps nothing: for every word it is given the last words again. In
`cached` each layer's keys and values go in and come out, so that a word is computed once; that
costs a copy of them at every word, and when the window is full the words that are still to be seen
have other positions, so all of theirs are computed again.

`logit_positions` are the positions to compute logits at, so that one more word does not pay for the
whole vocabulary at every place of the window, and a document is scored many words at a time. The
last layer computes states for these places alone; before it, every word needs its own.

What a word may not see gets −10,000 times its distance added to its attention scores: exp of that
is 0 in float32, so a later word changes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgeseq.formats.trained_model import TrainedModel
from edgeseq_converters.convert.lower.encoder.layers import Encoder, QuerySelection
from edgeseq_converters.convert.lower.encoder.weights import Arrays
from edgeseq_converters.convert.quantize.encoder_moments import input_moments
from edgeseq_converters.convert.quantize.weights import WeightFormat
from edgeseq_converters.convert.recipes import Recipe
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor, Writer
from edgeseq_converters.models.encoder import bert_arrays, bert_config, inner_size, layer_sources

SIGNATURE = "stream"
INPUT, LOGIT_POSITIONS, OUTPUT, NEXT = "input_ids", "logit_positions", "logits", "_next"
MASK_PER_POSITION = 1e4


def lower_next(
    model: TrainedModel,
    recipe: Recipe,
    texts: Sequence[Sequence[int]] = (),
    *,
    cached: bool = False,
    row_scales: bool = True,
) -> bytes:
    """The .tflite content: `input_ids` int32 [1, −1] and `logit_positions` int32 [−1] to
    `logits` float32 [1, −1, vocabulary], one row for each position.

    `cached`: also `cache_length` float32 [1], how many words the cache holds, and each layer's
    `keys0`, `values0`, … float32 [heads, window, head size], to `cache_length_next`, …; the words
    are those behind them, and no more than the window has room for. int4 weights are rounded for
    what flows through the model on `texts` (token ids), if there are any. Raises `CheckpointError`
    when an array is missing or has the wrong shape. Without `row_scales` the file has no operator
    that tflite-runtime 2.14 lacks.
    """
    config = bert_config(model)
    moments = input_moments(model, texts) if recipe.weights == "int4" and texts else {}
    weight_format = WeightFormat.of(recipe, row_scales=row_scales, moments=moments)
    arrays = Arrays(bert_arrays(model), weight_format)
    encoder = Encoder(config, arrays, model.manifest.max_tokens)
    writer = Writer(f"{model.manifest.name}: a causal transformer")
    graph = writer.graph(SIGNATURE)
    ids = graph.input(INPUT, "int32", (1, -1))
    logit_positions = graph.input(LOGIT_POSITIONS, "int32", (-1,))
    flat = op.reshape(ids, (-1,))
    cache = _Cache(encoder, flat) if cached else None
    query_positions = op.arange_like(flat) if cache is None else cache.positions
    key_positions = query_positions if cache is None else cache.rows
    states = encoder.embeddings(flat, query_positions)
    *lower_layers, last = layer_sources(config)
    for number in lower_layers:
        kv_cache = None if cache is None else cache.kv_cache(number)
        states = encoder.layer(
            states,
            number,
            QuerySelection(
                attention_bias=causal_bias(query_positions, key_positions), kv_cache=kv_cache
            ),
        )
    selection = QuerySelection(
        select=lambda rows: op.gather(rows, logit_positions),
        attention_bias=causal_bias(
            logit_positions if cache is None else op.gather(query_positions, logit_positions),
            key_positions,
        ),
        kv_cache=None if cache is None else cache.kv_cache(last),
    )
    logits = next_logits(encoder, encoder.layer(states, last, selection))
    inputs, outputs = {INPUT: ids, LOGIT_POSITIONS: logit_positions}, {OUTPUT: logits}
    if cache is not None:
        inputs |= cache.inputs
        outputs |= cache.outputs
    graph.outputs = list(outputs.values())
    writer.add_signature(SIGNATURE, inputs, outputs)
    return writer.pack()


class _Cache:
    """Keys and values of the words before, in and out of the graph."""

    def __init__(self, encoder: Encoder, ids: GraphTensor) -> None:
        """`ids` int32 [n] are the words that are new."""
        graph, config = ids.graph, encoder.config
        heads = config.attention_heads
        self._shape = (heads, encoder.max_tokens, inner_size(config) // heads)
        used = graph.input("cache_length", "float32", (1,))
        self.inputs = {"cache_length": used}
        before = op.cast(used, "int32")
        self.positions = op.add(op.arange_like(ids), before)
        self.rows = graph.constant("rows", np.arange(encoder.max_tokens, dtype=np.int32))
        self._begin = op.concatenate([graph.ints(0), before, graph.ints(0)], 0)
        num_new = op.reduce("SUM", op.cast(op.equal(ids, ids), "float32"), 0)
        self.outputs = {f"cache_length{NEXT}": op.add(used, num_new)}

    def kv_cache(
        self, number: int
    ) -> Callable[[GraphTensor, GraphTensor], tuple[GraphTensor, GraphTensor]]:
        """For the layer `number`: the new keys and values behind the ones before."""

        def extended(key: GraphTensor, value: GraphTensor) -> tuple[GraphTensor, GraphTensor]:
            return self._appended(f"keys{number}", key), self._appended(f"values{number}", value)

        return extended

    def _appended(self, name: str, new: GraphTensor) -> GraphTensor:
        before = new.graph.input(name, "float32", self._shape)
        after = op.write_rows(before, new, self._begin)
        self.inputs[name], self.outputs[f"{name}{NEXT}"] = before, after
        return after


def next_logits(encoder: Encoder, states: GraphTensor) -> GraphTensor:
    """States [n, hidden] → logits [1, n, vocabulary], by the table of words itself."""
    arrays = encoder.arrays
    features = arrays.linear(states, "transform.dense")
    table = arrays.arrays["embeddings.word_embeddings.weight"]
    rows = arrays.product(features, "decoder", table, arrays.arrays["decoder.bias"])
    return op.reshape(rows, (1, -1, encoder.config.vocabulary_size))


def causal_bias(query_positions: GraphTensor, key_positions: GraphTensor) -> GraphTensor:
    """[queries, keys]: 0 where the key is at or before the query, else −10,000 times
    the distance; both are positions int32 [n]."""
    graph = query_positions.graph
    rows = op.reshape(op.cast(query_positions, "float32"), (-1, 1))
    columns = op.reshape(op.cast(key_positions, "float32"), (1, -1))
    behind = op.elementwise("MINIMUM", op.elementwise("SUB", rows, columns), _number(graph, 0))
    return op.multiply(behind, _number(graph, MASK_PER_POSITION))


def _number(graph: Graph, value: float) -> GraphTensor:
    return graph.constant("number", np.asarray([[value]], np.float32))
