"""A word cache behind the logits of a stream, with what it has read as two more states.

The dense part of its work is one softmax over the words: only the logits of words in the cache
change, by ln(1 + share/(1 − share) · p_cache/p_model), and a constant that all logits would lose,
ln(1 − share), is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.convert.lower.recurrent.layers import flat_ids
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor

STATES, WORDS = "recent_states", "recent_words"
"""The states of the last `size` words, float32 [size, features]; and float32 [1, size], one more
than their ids, 0 where no word has been read yet."""
_UNREACHABLE = 1e9
"""More than any score: what it is taken from gets no weight."""
_SMALLEST = 1e-30
"""Of a probability that something is divided by."""


@dataclass(frozen=True)
class NewWords:
    """New words: their ids [1, n], the states [n, features] after them, and the logits
    [n, vocabulary] that the model makes of these."""

    ids: GraphTensor
    states: GraphTensor
    logits: GraphTensor


def state_inputs(graph: Graph, cache: WordCache, features: int) -> dict[str, GraphTensor]:
    """The cache as inputs of the graph."""
    return {
        STATES: graph.input(STATES, "float32", (cache.size, features)),
        WORDS: graph.input(WORDS, "float32", (1, cache.size)),
    }


def apply(
    cache: WordCache, new: NewWords, before: dict[str, GraphTensor]
) -> tuple[GraphTensor, dict[str, GraphTensor]]:
    """The logits with the cache, and the cache after the new words.

    Each new word sees the last `size` pairs before it, however many words are fed together.
    """
    graph = new.ids.graph
    one = graph.constant("one", np.float32(1).reshape(1, 1))
    states = op.concatenate([before[STATES], new.states], 0)
    numbers = op.add(op.cast(new.ids, "float32"), one)
    words = op.concatenate([before[WORDS], numbers], 1)
    after = {
        STATES: op.last_rows(states, cache.size),
        WORDS: op.token_range(words, -cache.size, length=cache.size),
    }
    keys, has_key = op.without_last_row(states), op.token_range(words, 0, -1)
    values = op.token_range(words, 1)
    seen = _seen(cache, new, has_key)
    scores = op.batch_matmul(_times(new.states, cache.sharpness), keys, transpose_b=True)
    hidden = _times(op.elementwise("SUB", seen, one), _UNREACHABLE)
    weights = op.multiply(op.softmax(op.add(scores, hidden)), seen)
    return _boosted(cache, new, weights, seen, values), after


def _seen(cache: WordCache, new: NewWords, has_key: GraphTensor) -> GraphTensor:
    """1 where a new word [n, …] sees a pair […, pairs], else 0: the `size` pairs before it that
    have a state."""
    graph = new.ids.graph
    first = op.reshape(op.arange_like(flat_ids(new.ids)), (new.ids.shape[1], 1))
    pairs = op.reshape(op.arange_like(op.reshape(has_key, (-1,))), (1, -1))
    distance = op.elementwise("SUB", op.cast(pairs, "float32"), op.cast(first, "float32"))

    def number(value: float) -> GraphTensor:
        return graph.constant("limit", np.float32(value).reshape(1, 1))

    conditions = (
        op.less_than(number(-0.5), distance),
        op.less_than(distance, number(cache.size - 0.5)),
        op.less_than(number(0.5), has_key),
    )
    begun, recent, real = (op.cast(condition, "float32") for condition in conditions)
    return op.multiply(op.multiply(begun, recent), real)


def _boosted(
    cache: WordCache, new: NewWords, weights: GraphTensor, seen: GraphTensor, values: GraphTensor
) -> GraphTensor:
    """The logits, those of cached words raised; a word that several pairs have gets as many equal
    parts of what it is raised by."""
    graph, vocabulary = new.ids.graph, new.logits.shape[1]
    zero, one = graph.ints(0), graph.ints(1)
    ids = op.elementwise("MAXIMUM", op.elementwise("SUB", op.cast(values, "int32"), one), zero)
    lines = op.reshape(op.arange_like(flat_ids(new.ids)), (new.ids.shape[1], 1))
    offsets = op.multiply(lines, graph.ints(vocabulary))
    places = op.reshape(op.add(offsets, ids), (-1,))
    size = op.reshape(op.reduce("REDUCE_PROD", op.shape_of(new.logits), 0), (1,))

    def summed(parts: GraphTensor) -> GraphTensor:
        return op.scatter_sum(op.reshape(places, (-1, 1)), op.reshape(parts, (-1,)), size)

    own = op.gather(op.reshape(op.softmax(new.logits), (-1,)), places)
    cached, copies = (op.gather(summed(parts), places) for parts in (weights, seen))
    smallest = graph.constant("smallest", np.float32(_SMALLEST).reshape(1))
    ratio = op.elementwise("DIV", cached, op.elementwise("MAXIMUM", own, smallest))
    unit = graph.constant("unit", np.float32(1).reshape(1))
    raised = op.unary("LOG", op.add(_times(ratio, cache.share / (1 - cache.share)), unit))
    parts = op.elementwise("DIV", raised, op.elementwise("MAXIMUM", copies, unit))
    boost = summed(op.multiply(parts, op.reshape(seen, (-1,))))
    return op.add(new.logits, op.reshape(boost, (-1, vocabulary)))


def _times(x: GraphTensor, factor: float) -> GraphTensor:
    return op.multiply(
        x, x.graph.constant("factor", np.full((1,) * len(x.shape), factor, np.float32))
    )
