"""A causal transformer of the next word as TFLite operators, for batch 1 and an open window.

It keeps nothing: for every word it is given the last words again. `places` says which of them
answers are wanted for, so that one more word does not pay for the whole vocabulary at every place
of the window, and a document is scored many words at a time. The last layer computes states for
these places alone; before it, every word needs its own.

What a word may not see gets −10,000 times its distance added to its attention scores: exp of that
is 0 in float32, so a later word changes nothing at all.
"""

from __future__ import annotations

import numpy as np

from edgeseq.model_folder import TrainedModel
from edgeseq_converters.bert_arrays import bert_arrays, bert_config, layer_sources
from edgeseq_converters.encoder.layers import Asked, Encoder
from edgeseq_converters.encoder.weights import Arrays
from edgeseq_converters.recipes import Recipe
from edgeseq_converters.tflite_writer import operators as op
from edgeseq_converters.tflite_writer.model import Graph, Tensor, Writer

SIGNATURE = "stream"
INPUT, PLACES, OUTPUT = "input_ids", "places", "logits"
_FAR = 1e4


def lower_next(model: TrainedModel, recipe: Recipe, *, row_scales: bool = True) -> bytes:
    """The .tflite content: `input_ids` int32 [1, −1] and `places` int32 [−1] to `logits` float32
    [1, −1, vocabulary], one row for each place.

    Raises `CheckpointError` when an array is missing or has the wrong shape. Without `row_scales`
    the file has no operator that tflite-runtime 2.14 lacks.
    """
    config = bert_config(model)
    arrays = Arrays(bert_arrays(model), recipe.weights, recipe.dynamic, row_scales=row_scales)
    encoder = Encoder(config, arrays, model.manifest.max_tokens)
    writer = Writer(f"{model.manifest.name}: a causal transformer")
    graph = writer.graph(SIGNATURE)
    ids = graph.input(INPUT, "int32", (1, -1))
    wanted = graph.input(PLACES, "int32", (-1,))
    flat = op.reshape(ids, (-1,))
    every = op.places(flat)
    states = encoder.embeddings(flat)
    *lower_layers, last = layer_sources(config)
    for number in lower_layers:
        states = encoder.layer(states, number, Asked(bias=_causal(every, every)))
    take = Asked(take=lambda rows: op.gather(rows, wanted), count=-1, bias=_causal(wanted, every))
    logits = next_logits(encoder, encoder.layer(states, last, take))
    graph.outputs = [logits]
    writer.sign(SIGNATURE, {INPUT: ids, PLACES: wanted}, {OUTPUT: logits})
    return writer.pack()


def next_logits(encoder: Encoder, states: Tensor) -> Tensor:
    """States [n, hidden] → logits [1, n, vocabulary], by the table of words itself."""
    arrays = encoder.arrays
    features = arrays.linear(states, "transform.dense")
    table = arrays.arrays["embeddings.word_embeddings.weight"]
    rows = arrays.product(features, "decoder", table, arrays.arrays["decoder.bias"])
    return op.reshape(rows, (1, -1, encoder.config.vocabulary_size))


def _causal(asked: Tensor, told: Tensor) -> Tensor:
    """[asked, told]: 0 where a token stands at or before the one that asks, else −10,000 times
    the distance; both are places int32 [n]."""
    graph = asked.graph
    one = op.reshape(op.cast(asked, "float32"), (-1, 1))
    other = op.reshape(op.cast(told, "float32"), (1, -1))
    behind = op.pair("MINIMUM", op.pair("SUB", one, other), _number(graph, 0))
    return op.multiply(behind, _number(graph, _FAR))


def _number(graph: Graph, value: float) -> Tensor:
    return graph.constant("number", np.asarray([[value]], np.float32))
