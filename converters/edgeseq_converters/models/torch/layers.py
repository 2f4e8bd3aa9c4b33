"""aten operations that are a layer, or change nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgeseq_converters.models.network_layers import (
    Activation,
    Convolution,
    Dense,
    Embedding,
    Function,
    Kind,
    LayerNorm,
    Scale,
)
from edgeseq_converters.models.torch.cells import dense_of, recurrent_layers
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import (
    Ids,
    LastStates,
    LayerOutput,
    Node,
    Transposed,
    Zeros,
)

Operation = Callable[[Tensors, Node], object]
"""What an operation's first output means, given the tensors that are known."""


def axes_of(node: Node, key: str = "dim") -> tuple[int, ...]:
    """The axes of an operation, one or several."""
    value = node.arguments.get(key)
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else ()


def embed(tensors: Tensors, node: Node) -> LayerOutput:
    """The look-up of the text's ids, once."""
    if not isinstance(tensors.get(node, "indices"), Ids) or tensors.entry is not None:
        raise node.refuse("looks up something else than the text's ids, once")
    table = tensors.needed(node, "weight")
    if table.ndim != 2:
        raise node.refuse("has no table", found=list(table.shape))
    tensors.entry = Embedding("embedding", table)
    return LayerOutput(())


def recurrent(tensors: Tensors, node: Node, kind: Kind) -> tuple[object, ...]:
    """The states of each token of an LSTM, GRU or RNN, and h_n."""
    arguments = node.arguments
    flow = tensors.flow(node, "input")
    if node.target.rpartition(".")[2] != "input" or not arguments.get("batch_first"):
        raise node.refuse("does not have the texts first", fix="set batch_first=True")
    layers, both = int(arguments["num_layers"]), bool(arguments["bidirectional"])
    if arguments.get("train") and arguments.get("dropout") and layers > 1:
        raise node.refuse("is in training mode", fix="export model.eval()")
    states = arguments["hx"]
    for state in states if isinstance(states, tuple) else (states,):
        if not isinstance(tensors.at(state.name), Zeros):
            raise node.refuse("is fed an initial state")
    parameters = [tensors.at(parameter.name) for parameter in arguments["params"]]
    arrays = [parameter for parameter in parameters if isinstance(parameter, np.ndarray)]
    directions = layers * (2 if both else 1)
    per_direction = 4 if arguments["has_biases"] else 2
    if (
        len(arrays) != len(parameters)
        or len(arrays) != per_direction * directions
        or not flow.sequence
    ):
        raise node.refuse("does not have a plain layer's weights (proj_size is not converted)")
    cells = [
        arrays[start : start + per_direction] for start in range(0, len(arrays), per_direction)
    ]
    stack = recurrent_layers(
        kind,
        cells,
        bidirectional=both,
        name=tensors.named(kind),
        function="relu" if node.target.startswith("rnn_relu") else "tanh",
    )
    after = flow.then(*stack)
    return after, LastStates(after, directions)


def unchanged(tensors: Tensors, node: Node) -> object:
    """The input unchanged."""
    for key in ("self", "input"):
        if key in node.arguments:
            return tensors.get(node, key)
    raise node.refuse("has no input")


def dropout(tensors: Tensors, node: Node) -> object:
    """The input unchanged; refused in training mode."""
    if node.arguments.get("train") and node.arguments.get("p"):
        raise node.refuse("is in training mode", fix="export model.eval()")
    return unchanged(tensors, node)


def linear(tensors: Tensors, node: Node) -> LayerOutput:
    """A dense layer."""
    flow = tensors.flow(node, "input")
    weight, bias = tensors.needed(node, "weight"), tensors.array(node, "bias")
    return flow.then(dense_of(tensors.named("linear"), weight, bias))


def function_of(function: Function) -> Operation:
    """A function by element, within the dense layer before it where there is one."""

    def apply(tensors: Tensors, node: Node) -> LayerOutput | Transposed:
        value = tensors.get(node, "self")
        if isinstance(value, Transposed) and function != "softmax":
            return Transposed(_after_function(tensors, value.flow, function))
        return _after_function(tensors, tensors.flow(node), function)

    return apply


def _after_function(tensors: Tensors, flow: LayerOutput, function: Function) -> LayerOutput:
    last = flow.layers[-1] if flow.layers else None
    if isinstance(last, Dense | Convolution) and last.function == "linear":
        return replace(flow, layers=(*flow.layers[:-1], replace(last, function=function)))
    return flow.then(Activation(tensors.named(function), function))


def in_place(
    function: Operation,
) -> Operation:
    """The same, written over its input."""

    def apply_in_place(tensors: Tensors, node: Node) -> object:
        result = function(tensors, node)
        tensors.forget_all_but_weights()
        return result

    return apply_in_place


def normalize(tensors: Tensors, node: Node) -> object:
    """Ioffe and Szegedy 2015, with the running mean and variance; features on axis 1."""
    value = tensors.get(node, "input")
    is_transposed = isinstance(value, Transposed)
    flow = value.flow if isinstance(value, Transposed) else tensors.flow(node, "input")
    if flow.sequence != is_transposed or node.arguments.get("training"):
        raise node.refuse("does not normalize by feature in eval mode")
    mean = tensors.needed(node, "running_mean").astype(np.float64)
    variance = tensors.needed(node, "running_var") + float(node.arguments["eps"])
    weight, bias = tensors.array(node, "weight"), tensors.array(node, "bias")
    if not (variance > 0).all():
        raise node.refuse("has a variance that is not positive")
    factor = (1.0 if weight is None else weight) / np.sqrt(variance)
    offset = (0.0 if bias is None else bias) - mean * factor
    layer = Scale(tensors.named("norm"), factor.astype(np.float32), offset.astype(np.float32))
    after = flow.then(layer)
    return Transposed(after) if is_transposed else after


def normalize_features(tensors: Tensors, node: Node) -> LayerOutput:
    """Ba et al. 2016, over the features alone."""
    flow = tensors.flow(node, "input")
    weight, bias = tensors.array(node, "weight"), tensors.array(node, "bias")
    shape = node.arguments.get("normalized_shape")
    if not isinstance(shape, list) or len(shape) != 1:
        raise node.refuse("does not normalize over the features alone", found=shape)
    size = int(shape[0])
    scale = np.ones(size, np.float32) if weight is None else weight
    offset = np.zeros(size, np.float32) if bias is None else bias
    epsilon = float(node.arguments.get("eps", 1e-5))
    return flow.then(LayerNorm(tensors.named("layer_norm"), scale, offset, epsilon))


def zeros(_tensors: Tensors, _node: Node) -> Zeros:
    """A state to start from."""
    return Zeros()


def convert_ids(tensors: Tensors, node: Node) -> object:
    """A type conversion: of ids, which are whole numbers in any type."""
    if not isinstance(tensors.get(node, "self"), Ids):
        raise node.refuse("changes the type of something else than ids")
    return Ids()


def ignore(_tensors: Tensors, _node: Node) -> None:
    """An assertion about shapes or types."""
