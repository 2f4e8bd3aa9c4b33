"""What the lowerings have in common that write out each direction's whole sequence of states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeseq_converters.convert.lower.recurrent import layers
from edgeseq_converters.convert.lower.recurrent.layers import Flow
from edgeseq_converters.convert.lower.recurrent.loop import LoopGroup, merge_directions
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor
from edgeseq_converters.models.network_layers import Cell, Pool, Recurrent

Direction = Callable[[Recurrent, Cell, str, GraphTensor], GraphTensor]
"""Runs one direction of a layer: its inputs [n, in] in the order in which it reads them → its
states [n, H] in that order."""
Merge = Callable[[Recurrent, list[GraphTensor]], GraphTensor]


def run(
    group: LoopGroup, flow: Flow, direction: Direction, merge: Merge = merge_directions
) -> GraphTensor:
    """What the group collects of its topmost layer: [1, features] or [n, features]; `merge` joins
    two directions.

    A backward direction reads the real tokens in the opposite order, then the padding: what it
    makes of that comes after all that counts.
    """
    values = flow.values
    for layer in group.layers[:-1]:
        values = merge(layer, _in_order(flow, _both(layer, values, flow, direction)))
    states = _both(group.top, values, flow, direction)
    if group.collect == "final":
        last = op.elementwise("SUB", flow.length, flow.length.graph.ints(1))
        return merge(group.top, [op.gather(rows, last) for rows in states])
    sequence = merge(group.top, _in_order(flow, states))
    if group.collect == "sequence":
        return sequence
    if group.collect == "marks":
        return layers.marked(group.marks, flow.token_ids(), sequence)
    return layers.pool(Pool(group.pooling, group.collect), replace(flow, values=sequence))


def _both(
    layer: Recurrent, values: GraphTensor, flow: Flow, direction: Direction
) -> Sequence[GraphTensor]:
    states = [direction(layer, layer.forward, "forward", values)]
    if layer.backward is not None:
        states.append(direction(layer, layer.backward, "backward", reverse(flow, values)))
    return states


def _in_order(flow: Flow, states: Sequence[GraphTensor]) -> list[GraphTensor]:
    """The backward direction's states put back in the order of the text."""
    return [rows if d == 0 else reverse(flow, rows) for d, rows in enumerate(states)]


def reverse(flow: Flow, rows: GraphTensor) -> GraphTensor:
    """The real rows in the opposite order; the others are undefined."""
    if flow.padding is not None:
        return op.gather(rows, flow.padding.reversal)
    return op.reverse_rows(rows)
