"""Recognises attention pooling in a functional Keras model.

    scores = Dense(1)([Dense(units, "tanh")](states))   [n, 1]
    a = Softmax(axis=1)(scores)                         or Flatten, then softmax over the last axis
    pooled = Dot(axes=1)([a, states])                   then Flatten or Reshape when a is [n, 1]
    pooled = sum(Multiply()([states, a]), axis=1)       the same, with a [n, 1], or with a as
                                                        Permute((2, 1))(RepeatVector(features)(a))

Nothing else is taken for it: what only resembles attention is refused. A bias of `Dense(1)` adds
the same number to every score, which a softmax does not see, so it is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.attention_scores import pool_by_scores
from edgeseq_converters.models.keras.checks import check_dtype
from edgeseq_converters.models.keras.config import KerasLayer
from edgeseq_converters.models.keras.layers import IDENTITIES, dense_of
from edgeseq_converters.models.keras.weights import KerasWeights
from edgeseq_converters.models.network_layers import AttentionPool, Dense

SCORERS = ("Softmax", "Flatten", "Reshape", "RepeatVector", "Permute")
"""Layers that occur in an attention and have another meaning, or none, outside of one."""
Consumers = Mapping[str, Sequence[KerasLayer]]


@dataclass(frozen=True)
class AttentionMatch:
    """The pooling, the layer whose output is its result, and all layers that belong to it."""

    pool: AttentionPool
    last: KerasLayer
    used: tuple[KerasLayer, ...]


def attention_after(
    states: KerasLayer, consumers: Consumers, weights: KerasWeights, *, masked: bool
) -> AttentionMatch:
    """The attention pooling over the output of `states`, which two layers take.

    `consumers` gives the layers that take a layer's output; `masked` says whether the embedding
    masks. Raises `CheckpointError` naming the
    layer where the pattern breaks.
    """
    consumers_of_states = consumers[states.name]
    joins = [layer for layer in consumers_of_states if layer.class_name in ("Dot", "Multiply")]
    if len(consumers_of_states) != 2 or len(joins) != 1:
        raise _broken(states, "goes to several layers")
    (join,) = joins
    (start,) = (layer for layer in consumers_of_states if layer is not join)
    scorers: list[Dense] = []
    used: list[KerasLayer] = []
    column, softmaxed, at = True, False, start
    while at is not join:
        check_dtype(at)
        if at.class_name in IDENTITIES:
            pass
        elif not softmaxed and column and at.class_name in ("Dense", "TimeDistributed"):
            scorers.append(_dense(at, weights))
        elif column and at.class_name in ("Flatten", "Reshape") and _flattens(at):
            column = False
        elif not column and at.class_name == "Reshape" and _is_column(at):
            column = True
        elif not softmaxed and _softmax_over_time(at, column=column, masked=masked):
            softmaxed = True
        elif softmaxed and not column and at.class_name == "RepeatVector":
            turn = _next(at, consumers)
            if turn.class_name != "Permute" or turn.config.get("dims") != [2, 1]:
                raise _broken(turn, "is not part of an attention over the tokens")
            used.append(at)
            column, at = True, turn
        else:
            raise _broken(at, "is not part of an attention over the tokens")
        used.append(at)
        after = consumers[at.name]
        if len(after) != 1:
            raise _broken(at, "goes to several layers")
        (at,) = after
    if not softmaxed or not scorers:
        raise _broken(join, "has no softmax over the tokens")
    last, rest = _end(join, start=used[-1], states=states, column=column, consumers=consumers)
    return AttentionMatch(_pool(join, scorers), last, (*used, *rest))


def _pool(join: KerasLayer, scorers: Sequence[Dense]) -> AttentionPool:
    if scorers[-1].bias.size != 1:
        raise _broken(join, "expected scores of one or two dense layers")
    pool = pool_by_scores(join.name, scorers)
    if isinstance(pool, str):
        raise _broken(join, pool)
    return pool


def _dense(layer: KerasLayer, weights: KerasWeights) -> Dense:
    if layer.class_name == "Dense":
        return dense_of(layer, weights, True)
    inner = layer.inner("layer")
    if inner.class_name != "Dense":
        raise _broken(layer, f"is around a layer of class {inner.class_name}")
    check_dtype(inner)
    return dense_of(inner, weights, True, owner=layer)


def _flattens(layer: KerasLayer) -> bool:
    """[n, 1] to [n]: there is one score a token."""
    target = layer.config.get("target_shape")
    return layer.class_name == "Flatten" or (isinstance(target, list) and len(target) == 1)


def _is_column(layer: KerasLayer) -> bool:
    target = layer.config.get("target_shape")
    return isinstance(target, list) and len(target) == 2 and target[1] == 1


def _softmax_over_time(layer: KerasLayer, *, column: bool, masked: bool) -> bool:
    if layer.class_name == "Activation":
        return not column and layer.config.get("activation") == "softmax"
    if layer.class_name != "Softmax":
        return False
    if layer.keywords.get("mask") is not None or (masked and column):
        # Keras itself cannot run it: its mask is [n] and the scores are [n, 1].
        raise _broken(layer, "is masked")
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    return axis in ((1, -2) if column else (1, -1))


def _end(
    join: KerasLayer, *, start: KerasLayer, states: KerasLayer, column: bool, consumers: Consumers
) -> tuple[KerasLayer, tuple[KerasLayer, ...]]:
    """The layer that gives [features], and the layers from `join` to it."""
    if sorted(join.inputs) != sorted((start.name, states.name)):
        raise _broken(join, "expected a join of states and their weights")
    if join.class_name == "Dot":
        axes = join.config.get("axes")
        if axes not in (1, [1, 1]) or join.flag("normalize"):
            raise _broken(join, f"runs over axes {axes}")
        if not column:
            return join, (join,)
        flat = _next(join, consumers)
        if flat.class_name not in ("Flatten", "Reshape") or not _flattens(flat):
            raise _broken(flat, "does not flatten the weighted sum")
        return flat, (join, flat)
    if not column:
        raise _broken(join, "multiplies states by weights of another shape")
    total = _next(join, consumers)
    settings = total.keywords if total.class_name == "TFOpLambda" else total.config
    sums = total.class_name == "Sum" or total.config.get("function") == "math.reduce_sum"
    axis = settings.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if not sums or axis not in (1, -2) or settings.get("keepdims"):
        raise _broken(total, "does not sum over the tokens")
    return total, (join, total)


def _next(layer: KerasLayer, consumers: Consumers) -> KerasLayer:
    after = consumers[layer.name]
    if len(after) != 1:
        raise _broken(layer, "goes to several layers")
    return after[0]


def _broken(layer: KerasLayer, what: str) -> CheckpointError:
    return layer.refuse(
        what,
        expected="one chain of layers, or attention pooling as docs/guides/sources.md shows it",
    )
