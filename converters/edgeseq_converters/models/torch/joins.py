"""aten operations of several tensors: features side by side, and values by element."""

from __future__ import annotations

from collections.abc import Sequence

from edgeseq_converters.models.network_layers import Join, Joining
from edgeseq_converters.models.torch.layers import Operation, axes_of
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import LayerOutput, Node, Transposed, joined


def join_features(
    tensors: Tensors, node: Node, parts: Sequence[object]
) -> LayerOutput | Transposed:
    """Features of several sequences, or of several vectors, side by side."""
    flows = _flows(node, parts)
    sequence, turned = flows[0].sequence, isinstance(parts[0], Transposed)
    feature_axes = (1, -2) if turned else (2, -1) if sequence else (1, -1)
    (dim,) = axes_of(node) or (0,)
    if dim not in feature_axes:
        raise node.refuse("does not join features", found=f"dim {dim}")
    after = joined(flows, Join(tensors.named("join"), "concat"))
    return Transposed(after) if turned else after


def join_by_element(how: Joining) -> Operation:
    """Two sequences, or two vectors, as one."""

    def apply_join(tensors: Tensors, node: Node) -> LayerOutput | Transposed:
        parts = [tensors.get(node, key) for key in ("self", "other")]
        if node.arguments.get("alpha", 1) != 1:
            raise node.refuse("scales one of its inputs", found=node.arguments["alpha"])
        after = joined(_flows(node, parts), Join(tensors.named("join"), how))
        return Transposed(after) if isinstance(parts[0], Transposed) else after

    return apply_join


def _flows(node: Node, parts: Sequence[object]) -> list[LayerOutput]:
    """The values that are joined: all sequences in one order of axes, or all vectors."""
    flows = []
    for part in parts:
        turned = isinstance(part, Transposed)
        flow = part.flow if isinstance(part, Transposed) else part
        alike = turned == isinstance(parts[0], Transposed)
        if not isinstance(flow, LayerOutput) or not alike:
            raise node.refuse("joins something else than the values behind layers")
        flows.append(flow)
    if len(flows) < 2 or len({flow.sequence for flow in flows}) > 1:
        raise node.refuse("joins sequences with vectors")
    return flows
