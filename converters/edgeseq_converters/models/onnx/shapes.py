"""ONNX operations that move axes about, cut or join: what they make of states of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeseq_converters.models.network_layers import Join, Joining, Pool, Recurrent
from edgeseq_converters.models.onnx.constants import MOST_AXES, slices
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.tensors import OnnxTensors, axis_number, same_layers
from edgeseq_converters.models.onnx.values import (
    FEATURES,
    STACKED,
    Axis,
    Direction,
    Shaped,
    Stack,
    States,
    TokenIds,
    TokenStates,
    with_axes,
)
from edgeseq_converters.models.torch.values import LayerOutput, joined

_WHOLE = 2**31 - 1
"""An end at or beyond it means all: exporters write the largest 32- or 64-bit number."""


def shaped(tensors: OnnxTensors, node: OnnxNode, index: int = 0) -> Shaped:
    """An input whose axes are known."""
    value = tensors.get(node, index)
    if not isinstance(value, Shaped):
        raise node.refuse("is applied to something else than states or ids of the text")
    return value


def transpose(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Axes in another order."""
    value = shaped(tensors, node)
    order = node.integers("perm") or tuple(reversed(range(len(value.axes))))
    if sorted(order) != list(range(len(value.axes))):
        raise node.refuse("has a strange perm", found=order)
    return with_axes(value, tuple(value.axes[axis] for axis in order))


def squeeze(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Axes of one removed; without a list, those that are known to be of one."""
    value = shaped(tensors, node)
    listed = tensors.integers(node, 1, "axes")
    rank = len(value.axes)
    dropped = {axis_number(node, axis, rank) for axis in listed or ()}
    if listed is None:
        dropped = {axis for axis in range(rank) if _length(tensors, value, value.axes[axis]) == 1}
    for axis in dropped:
        if _length(tensors, value, value.axes[axis]) != 1:
            raise node.refuse("drops an axis that may be longer than one", found=f"axis {axis}")
    axes = tuple(axis for number, axis in enumerate(value.axes) if number not in dropped)
    if isinstance(value, Stack) and (STACKED,) not in axes:
        return replace(value.element(0), axes=axes)
    return with_axes(value, axes)


def unsqueeze(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Axes of one added."""
    value = shaped(tensors, node)
    listed = tensors.integers(node, 1, "axes") or ()
    rank = len(value.axes) + len(listed)
    positions = {axis_number(node, axis, rank) for axis in listed}
    rest = iter(value.axes)
    return with_axes(
        value, tuple(() if position in positions else next(rest) for position in range(rank))
    )


def reshape(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Axes of one added or dropped, and neighbouring axes flattened into one or parted again."""
    value = shaped(tensors, node)
    target = tensors.get(node, 1)
    keeps_zeros = node.integer("allowzero", 0)
    is_shape = isinstance(target, np.ndarray) and target.ndim == 1 and target.size <= MOST_AXES
    if not is_shape or (keeps_zeros and 0 in target.tolist()):
        raise node.refuse("has a shape that is not known")
    atoms = [(name,) for axis in value.axes for name in axis]
    sizes = [_length(tensors, value, atom) for atom in atoms]
    wanted = [
        _length(tensors, value, value.axes[position])
        if isinstance(size, int) and size == 0 and position < len(value.axes)
        else size
        for position, size in enumerate(target.tolist())
    ]
    groups = _groups(atoms, sizes, wanted) or _groups(atoms, sizes, wanted, drops=True)
    if groups is None:
        fix = "pool over the tokens instead, or give every token's answer"
        raise node.refuse("reshapes in a way that ties it to one length", found=wanted, fix=fix)
    return _regrouped(node, value, groups)


def flatten(tensors: OnnxTensors, node: OnnxNode) -> object:
    """All axes after the first as one."""
    value = shaped(tensors, node)
    axis = node.integer("axis", 1)
    groups = [
        tuple(name for one in part for name in one)
        for part in (value.axes[:axis], value.axes[axis:])
    ]
    return _regrouped(node, value, groups)


def _groups(
    atoms: Sequence[Axis],
    sizes: Sequence[object],
    wanted: Sequence[object],
    *,
    drops: bool = False,
) -> list[Axis] | None:
    """The axes that each wanted size takes, in order; None when they do not fit.

    `drops`: axes of one at the end may be left over.
    """
    if not wanted:
        return [] if not atoms or (drops and all(size == 1 for size in sizes)) else None
    # An axis each where it fits: one that is fixed to a size of 1 stays by itself.
    for count in sorted(range(len(atoms) + 1), key=lambda count: (count == 0, count)):
        total: object = 1
        for size in sizes[:count]:
            total = size * total  # type: ignore[operator]
        if wanted[0] == total or (wanted[0] == -1 and count):
            rest = _groups(atoms[count:], sizes[count:], wanted[1:], drops=drops)
            if rest is not None:
                return [tuple(name for atom in atoms[:count] for name in atom), *rest]
    return None


def _regrouped(node: OnnxNode, value: Shaped, groups: Sequence[Axis]) -> object:
    """The value with these axes; joins the directions that lie beside the features."""
    if isinstance(value, Stack):
        axes = tuple(
            tuple(name for name in axis if name != STACKED or len(value.elements) > 1)
            for axis in groups
        )
        if len(value.elements) == 1:
            return replace(value.element(0), axes=axes)
        if (STACKED, FEATURES) in axes:
            element_axes = tuple((FEATURES,) if FEATURES in axis else axis for axis in axes)
            parts = [replace(element, axes=element_axes) for element in value.elements]
            return join_features(node, parts)
        value, groups = replace(value, axes=axes), axes
    for axis in groups:
        if len(axis) > 1 and (FEATURES in axis or STACKED in axis):
            raise node.refuse(
                "flattens states of all tokens, which ties it to one length",
                fix="pool over the tokens instead (last, max or mean)",
            )
    return with_axes(value, tuple(groups))


def gather(tensors: OnnxTensors, node: OnnxNode) -> object:
    """One token's states, or one of the values that lie side by side."""
    value = shaped(tensors, node)
    indices = tensors.array(node, 1)
    if indices is None or indices.dtype.kind != "i" or indices.ndim > 1:
        raise node.refuse("is indexed by something that is not a whole number")
    position = axis_number(node, node.integer("axis", 0), len(value.axes))
    numbers = [int(number) for number in indices.reshape(-1)]
    if isinstance(value, Stack) and value.axes[position] == (STACKED,):
        count = len(value.elements)
        numbers = [number % count for number in numbers if -count <= number < count]
        if len(numbers) != indices.size:
            raise node.refuse("takes a state that is not there")
        if indices.ndim == 0:
            return value.element(numbers[0])
        return replace(value, elements=tuple(value.elements[number] for number in numbers))
    if len(numbers) != 1:
        raise node.refuse("takes several tokens out of the text", found=numbers)
    states = _one_token(tensors, node, value, position, numbers[0])
    return states if indices.ndim == 0 else _with_one(states, position)


def cut(tensors: OnnxTensors, node: OnnxNode) -> object:
    """The whole, one token's states, one direction's half of the features."""
    value = shaped(tensors, node)
    for position, cut_out in slices(tensors, node, len(value.axes)).items():
        axis = value.axes[position]
        length = _length(tensors, value, axis)
        start, end = cut_out.start or 0, cut_out.stop
        if cut_out.step != 1:
            raise node.refuse("reverses the text or leaves tokens out")
        if start == 0 and (end >= _WHOLE or end == length):
            continue
        if isinstance(value, Stack) and axis == (STACKED,):
            elements = value.elements[start : min(end, len(value.elements))]
            if not elements:
                raise node.refuse("takes a state that is not there")
            value = replace(value, elements=elements)
        elif axis == (FEATURES,) and isinstance(length, int):
            value = _half(node, value, start % length, min(end, length))
        elif start == -1 and end >= _WHOLE:
            value = _with_one(_one_token(tensors, node, value, position, -1), position)
        elif (start, end) == (0, 1):
            value = _with_one(_one_token(tensors, node, value, position, 0), position)
        elif isinstance(length, int) and (start, end) == (length - 1, length):
            value = _with_one(_one_token(tensors, node, value, position, -1), position)
        else:
            raise node.refuse("cuts a part out of the text", found=f"{start}:{end}")
    return value


def split(tensors: OnnxTensors, node: OnnxNode) -> tuple[object, ...]:
    """The two directions' halves, or values that lie side by side."""
    value = shaped(tensors, node)
    position = axis_number(node, node.integer("axis", 0), len(value.axes))
    count = len(node.outputs)
    sizes = tensors.integers(node, 1, "split")
    if sizes is not None and len(set(sizes)) > 1:
        raise node.refuse("splits into parts of several sizes", found=list(sizes))
    if isinstance(value, Stack) and value.axes[position] == (STACKED,):
        if len(value.elements) == count:
            return tuple(replace(value, elements=(element,)) for element in value.elements)
    elif value.axes[position] == (FEATURES,) and count == 2 and isinstance(value, States):
        half = value.width // 2
        return _half(node, value, 0, half), _half(node, value, half, value.width)
    raise node.refuse("splits something else than the two directions of a layer")


def concat(tensors: OnnxTensors, node: OnnxNode) -> object:
    """Directions joined, or states laid side by side."""
    values = [tensors.get(node, index) for index in range(len(node.inputs))]
    parts: list[States | Direction] = []
    first = shaped(tensors, node)
    position = axis_number(node, node.integer("axis", 0), len(first.axes))
    for value in values:
        if isinstance(value, Stack) and value.axes[position] == (STACKED,):
            parts += value.elements
        elif isinstance(value, States | Direction) and value.axes[position] in ((), (FEATURES,)):
            parts.append(value)
        else:
            raise node.refuse("joins something else than states of the text")
        if value.axes != first.axes:
            raise node.refuse("joins values whose axes differ")
    if first.axes[position] == (FEATURES,):
        if len(parts) == 2 and both_directions(parts[0], parts[1]) is not None:
            return join_features(node, parts)
        flows = [tensors.plain(part) if isinstance(part, Direction) else part for part in parts]
        return join_states(tensors, node, flows, "concat")
    axes = tuple((STACKED,) if at == position else axis for at, axis in enumerate(first.axes))
    return Stack(tuple(parts), axes)


def join_features(node: OnnxNode, parts: Sequence[States | Direction]) -> States:
    """Both directions' states side by side, forward first; anything else is refused."""
    if len(parts) == 1 and isinstance(parts[0], States):
        return parts[0]
    if len(parts) == 2 and parts[0].axes == parts[1].axes:
        both = both_directions(parts[0], parts[1])
        if both is not None:
            return both
    raise node.refuse(
        "joins something else than the two directions of a layer, forward first",
        fix="leave the skip connection out, or pool in one way",
    )


def join_states(
    tensors: OnnxTensors, node: OnnxNode, parts: Sequence[States], how: Joining
) -> States:
    """Several states as one, their features side by side or by element."""
    first = parts[0]
    if len(parts) < 2 or any(part.axes != first.axes for part in parts):
        raise node.refuse("joins values whose axes differ")
    if how != "concat" and len({part.width for part in parts}) > 1:
        raise node.refuse("joins values of several widths", found=[p.width for p in parts])
    flows = [LayerOutput(part.layers, inputs=part.inputs) for part in parts]
    after = joined(flows, Join(tensors.named(node), how))
    width = sum(part.width for part in parts) if how == "concat" else first.width
    return States(after.layers, first.axes, width, after.inputs)


def both_directions(first: States | Direction, second: States | Direction) -> States | None:
    """A layer of two directions from its parts, None when they are other parts."""
    if not (isinstance(second, Direction) and second.backward):
        return None
    if isinstance(first, Direction):
        fits = not first.backward and first.layer is second.layer
        layer = replace(second.layer, sequences=second.sequences)
        before, sequences = first.before, first.sequences
    else:
        # Two operations, one of each direction, with the same inputs.
        last = first.layers[-1] if first.layers else None
        if not isinstance(last, Recurrent) or last.backward is not None:
            return None
        before, sequences = first.without_last(), last.sequences
        fits = last.forward.hidden_size == second.width
        fits = fits and last.forward.kind == second.layer.forward.kind
        layer = replace(last, backward=second.layer.backward)
    if (
        not fits
        or sequences != second.sequences
        or not same_layers(before.layers, second.before.layers)
    ):
        return None
    return before.then(layer, axes=first.axes, width=layer.features)


def _one_token(
    tensors: OnnxTensors, node: OnnxNode, value: Shaped, position: int, index: int
) -> States | Direction | TokenStates:
    """The states of the last token, of a backward direction those of the first."""
    tensors.tokens_axis(node, value.axes[position])
    length = _length(tensors, value, value.axes[position])
    is_last = index == -1 or (isinstance(length, int) and index == length - 1)
    axes = (*value.axes[:position], *value.axes[position + 1 :])
    if isinstance(value, Direction) and value.sequences:
        if index == 0 if value.backward else is_last:
            return replace(value, sequences=False, axes=axes)
        value = tensors.plain(value)
    last = value.layers[-1] if isinstance(value, States) and value.layers else None
    both = isinstance(last, Recurrent) and last.backward is not None
    if not isinstance(value, States) or not (is_last or (both and index == 0)):
        raise node.refuse(
            "takes something else than the last token's states", found=f"index {index}"
        )
    if both:
        return TokenStates(value, is_last, axes)
    if isinstance(last, Recurrent) and last.backward is None:
        return value.without_last().then(replace(last, sequences=False), axes=axes)
    return value.then(Pool(tensors.named(node), "last"), axes=axes)


def _half(node: OnnxNode, value: Shaped, start: int, end: int) -> Direction:
    """One direction of the layer of two directions that ends the flow."""
    flow = value.flow if isinstance(value, TokenStates) else value
    last = flow.layers[-1] if isinstance(flow, States) and flow.layers else None
    if not isinstance(flow, States) or not isinstance(last, Recurrent) or last.backward is None:
        raise node.refuse("cuts a part out of the features")
    hidden = last.forward.hidden_size
    if last.merge != "concat" or (start, end) not in ((0, hidden), (hidden, 2 * hidden)):
        raise node.refuse("cuts a part out of the features", found=f"{start}:{end}")
    backward, sequences = bool(start), last.sequences
    if isinstance(value, TokenStates):
        if value.is_last == backward:
            raise node.refuse("takes a direction's state after its first token")
        sequences = False
    return Direction(flow.without_last(), last, backward, sequences, value.axes)


def _with_one(value: States | Direction | TokenStates, position: int) -> Shaped:
    return replace(value, axes=(*value.axes[:position], (), *value.axes[position:]))


def _length(tensors: OnnxTensors, value: Shaped, axis: Axis) -> object:
    stacked = len(value.elements) if isinstance(value, Stack) else 1
    return tensors.size(axis, 1 if isinstance(value, TokenIds) else value.width, stacked)
