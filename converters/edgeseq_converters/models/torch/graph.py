"""Follows the operations of an exported module and builds the network that they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import FloatInput
from edgeseq_converters.models.torch.operations import apply
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import LayerOutput, Node


def run_graph(
    nodes: Sequence[Node],
    *,
    arrays: Mapping[str, FloatArray],
    input_name: str,
    entry: FloatInput | None,
    output: str,
    name: str,
) -> Network:
    """The network whose answer is the tensor `output`, with weights `arrays` by input name; its
    input is token ids, or the numbers of `entry`.

    Raises `CheckpointError` naming an operation that such a network cannot have.
    """
    tensors = Tensors(arrays, input_name, entry)
    for node in nodes:
        for output_name, value in zip(node.outputs, apply(node, tensors), strict=False):
            tensors.put(output_name, value)
    result = tensors.at(output)
    if not isinstance(result, LayerOutput) or tensors.entry is None:
        where = nodes[0].where if nodes else name
        raise CheckpointError("gives something else than a network's answer", where=where)
    names = [*(layer.name for layer in result.layers), tensors.entry.name]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise CheckpointError(
            f"layer {twice} is used in two ways: its states and its last state, or its values with "
            "and without a function",
            where=nodes[0].where,
            fix="save the state dict and describe the layers",
        )
    fed_by = {
        names[place]: tuple(names[source] for source in sources)
        for place, sources in result.inputs.items()
    }
    return Network(name, tensors.entry, result.layers, fed_by=fed_by)
