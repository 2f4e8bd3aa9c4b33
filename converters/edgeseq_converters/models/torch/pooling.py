"""aten operations that make one vector of a text: last states, maxima, means, attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from edgeseq_converters.models.attention_scores import pool_by_scores, split_scorers
from edgeseq_converters.models.network_layers import Pool, Recurrent
from edgeseq_converters.models.torch.joins import join_features
from edgeseq_converters.models.torch.layers import Operation, axes_of, function_of
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import (
    AttentionWeights,
    LastState,
    LastStates,
    LayerOutput,
    Node,
    Transposed,
    WeightedSum,
    same_layers,
    with_last_state,
)


def softmax(tensors: Tensors, node: Node) -> object:
    """A softmax over the features, or attention's over the tokens."""
    value = tensors.get(node, "self")
    (dim,) = axes_of(node) or (None,)
    flat = isinstance(value, AttentionWeights) and value.form == "scores"
    if isinstance(value, AttentionWeights) and flat and dim in (1, -1):
        return replace(value, form="flat")
    flow = tensors.flow(node)
    if dim in (-1, 2 if flow.sequence else 1):
        return function_of("softmax")(tensors, node)
    if not flow.sequence or dim not in (1, -2):
        raise node.refuse("runs over the texts", found=f"dim {dim}")
    return _shares(node, flow, "column")


def _shares(node: Node, flow: LayerOutput, form: str) -> AttentionWeights:
    """Scores split from the states that they are of: one or two dense layers at the end."""
    parts = split_scorers(flow.layers)
    if parts is None:
        raise node.refuse("runs over the tokens of something else than one score each")
    states, scorers = parts
    return AttentionWeights(replace(flow, layers=states), scorers, form)


def squeeze(tensors: Tensors, node: Node) -> object:
    """An axis of one less, where it is known to be one."""
    value = tensors.get(node, "self")
    dims = axes_of(node)
    if isinstance(value, Transposed) and not value.flow.sequence and dims in ((-1,), (2,)):
        return value.flow
    if isinstance(value, LastStates) and dims == (0,) and value.count == 1:
        return _last_state(node, value, 0)
    if isinstance(value, LayerOutput) and value.sequence and dims in ((-1,), (2,)):
        return _shares(node, value, "scores")
    if isinstance(value, AttentionWeights) and value.form == "column" and dims in ((-1,), (2,)):
        return replace(value, form="flat")
    if isinstance(value, WeightedSum) and value.summed and dims in ((1,), (-2,)):
        return _pooled(tensors, node, value.shares)
    raise node.refuse("drops an axis that may be longer than one")


def unsqueeze(tensors: Tensors, node: Node) -> object:
    """An axis of one more on attention's weights."""
    value = tensors.get(node, "self")
    if isinstance(value, AttentionWeights) and value.form == "flat":
        if axes_of(node) in ((-1,), (2,)):
            return replace(value, form="column")
        if axes_of(node) in ((1,), (-2,)):
            return replace(value, form="row")
    raise node.refuse("adds an axis to something else than attention's weights")


def transpose(tensors: Tensors, node: Node) -> object:
    """Two axes swapped."""
    axes = [node.arguments.get(key) for key in ("dim0", "dim1")]
    tokens_and_features = {axis % 3 for axis in axes if isinstance(axis, int)} == {1, 2}
    return _swap_last_axes(tensors, node) if tokens_and_features else _unknown_turn(node)


def permute(tensors: Tensors, node: Node) -> object:
    """Axes in another order."""
    return (
        _swap_last_axes(tensors, node)
        if axes_of(node, "dims") == (0, 2, 1)
        else _unknown_turn(node)
    )


def _swap_last_axes(tensors: Tensors, node: Node) -> object:
    """The last two axes swapped."""
    value = tensors.get(node, "self")
    if isinstance(value, AttentionWeights) and value.form in ("column", "row"):
        return replace(value, form="row" if value.form == "column" else "column")
    if isinstance(value, LayerOutput) and value.sequence:
        return Transposed(value)
    if isinstance(value, Transposed) and value.flow.sequence:
        return value.flow
    return _unknown_turn(node)


def _unknown_turn(node: Node) -> object:
    raise node.refuse("does not swap the token and feature axes")


def multiply(tensors: Tensors, node: Node) -> object:
    """States times attention's weights."""
    pair = [tensors.get(node, key) for key in ("self", "other")]
    for shares, states in (pair, pair[::-1]):
        if (
            isinstance(shares, AttentionWeights)
            and shares.form == "column"
            and same_layers(shares.flow, states)
        ):
            return WeightedSum(shares)
    raise node.refuse("multiplies something else than states by attention's weights")


def matmul(tensors: Tensors, node: Node) -> object:
    """Attention's weights times states."""
    weights = tensors.get(node, "self")
    states = tensors.get(node, "mat2" if "mat2" in node.arguments else "other")
    if (
        isinstance(weights, AttentionWeights)
        and weights.form == "row"
        and same_layers(weights.flow, states)
    ):
        return WeightedSum(weights, summed=True)
    raise node.refuse("multiplies something else than attention's weights by states")


def sum_tokens(tensors: Tensors, node: Node) -> object:
    """The sum of weighted states."""
    value = tensors.get(node, "self")
    if isinstance(value, WeightedSum) and not value.summed and axes_of(node) in ((1,), (-2,)):
        if node.arguments.get("keepdim"):
            return replace(value, summed=True)
        return _pooled(tensors, node, value.shares)
    raise node.refuse("sums something else than weighted states over the tokens")


def _pooled(tensors: Tensors, node: Node, shares: AttentionWeights) -> LayerOutput:
    pool = pool_by_scores(tensors.named("attention"), shares.scorers)
    if isinstance(pool, str):
        raise node.refuse(pool)
    return shares.flow.then(pool, sequence=False)


def select_state(tensors: Tensors, node: Node) -> object:
    """The last token's states, or a direction's last state."""
    value, index = tensors.get(node, "self"), node.arguments.get("index")
    (dim,) = axes_of(node) or (None,)
    if isinstance(value, LastStates) and dim == 0 and isinstance(index, int):
        return _last_state(node, value, index)
    if isinstance(value, LayerOutput) and value.sequence and dim in (1, -2) and index == -1:
        last = value.layers[-1] if value.layers else None
        if isinstance(last, Recurrent) and last.backward is None:
            return with_last_state(value)
        return value.then(Pool(tensors.named("pool"), "last"), sequence=False)
    raise node.refuse("takes something else than the last token's states", found=f"index {index}")


def slice_text(tensors: Tensors, node: Node) -> object:
    """The whole of something; a part is refused."""
    arguments = node.arguments
    takes_all = arguments.get("start") in (None, 0) and arguments.get("step", 1) == 1
    if takes_all and (arguments.get("end") is None or arguments["end"] == 2**63 - 1):
        return tensors.get(node, "self")
    raise node.refuse("cuts a part out of the text")


def concatenate(tensors: Tensors, node: Node) -> object:
    """Features side by side, or both directions' last states."""
    parts = [tensors.at(tensor.name) for tensor in node.arguments.get("tensors", ())]
    if len(parts) == 2 and axes_of(node) in ((1,), (-1,)):
        forward, backward = parts
        if (
            isinstance(forward, LastState)
            and isinstance(backward, LastState)
            and forward.flow is backward.flow
            and backward.backward > forward.backward
        ):
            return with_last_state(forward.flow)
    return join_features(tensors, node, parts)


def pool_of(how: Literal["max", "mean"]) -> Operation:
    """A maximum or mean over the tokens."""

    def apply_pool(tensors: Tensors, node: Node) -> LayerOutput:
        value = tensors.get(node, "self")
        axes = ((2,), (-1,)) if isinstance(value, Transposed) else ((1,), (-2,))
        flow = value.flow if isinstance(value, Transposed) else tensors.flow(node)
        if not flow.sequence or axes_of(node) not in axes or node.arguments.get("keepdim"):
            raise node.refuse("does not pool over the token axis")
        return flow.then(Pool(tensors.named("pool"), how), sequence=False)

    return apply_pool


def adaptive_pool_of(how: Literal["max", "mean"]) -> Operation:
    """The same by an adaptive pooling to one."""

    def apply_pool(tensors: Tensors, node: Node) -> Transposed:
        value = tensors.get(node, "self")
        if not isinstance(value, Transposed) or not value.flow.sequence:
            raise node.refuse("does not pool over the token axis")
        if axes_of(node, "output_size") != (1,):
            raise node.refuse("does not pool the whole text")
        return Transposed(value.flow.then(Pool(tensors.named("pool"), how), sequence=False))

    return apply_pool


def _last_state(node: Node, states: LastStates, index: int) -> object:
    """h_n[index], which must belong to the last layer."""
    index = index + states.count if index < 0 else index
    layer = states.flow.layers[-1]
    both = isinstance(layer, Recurrent) and layer.backward is not None
    if not states.count - (2 if both else 1) <= index < states.count:
        raise node.refuse("does not take the last layer's state")
    if both:
        return LastState(states.flow, backward=index == states.count - 1)
    return with_last_state(states.flow)
