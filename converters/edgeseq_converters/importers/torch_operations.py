"""What each aten operation makes of tensors whose meaning is known.

A tensor is the values after some layers, a softmax over the tokens, one direction's last state.
An operation whose meaning is not known here is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgeseq_converters.importers.torch_cells import dense_of, recurrent_layers
from edgeseq_converters.importers.torch_tensors import Tensors
from edgeseq_converters.importers.torch_values import (
    Flow,
    Ids,
    LastState,
    LastStates,
    Node,
    Shares,
    Weighted,
    Zeros,
    same,
    with_last_state,
)
from edgeseq_converters.network import (
    Activation,
    AttentionPool,
    Dense,
    Embedding,
    Function,
    Kind,
    Pool,
    Recurrent,
    Scale,
)


def apply(node: Node, tensors: Tensors) -> tuple[object, ...]:
    """What the operation's outputs mean; `CheckpointError` naming one that cannot be converted."""
    operation = node.target.partition(".")[0]
    if operation in ("lstm", "gru"):
        return _recurrent(tensors, node, "lstm" if operation == "lstm" else "gru")
    handler = _HANDLERS.get(operation)
    if handler is None:
        fix = "leave it out of the module" if "log_softmax" in operation else None
        raise node.refuse(
            "cannot be converted",
            fix=fix or "export in eval mode, without run_decompositions, or save the state dict",
        )
    return (handler(tensors, node),)


def _embed(tensors: Tensors, node: Node) -> Flow:
    if not isinstance(tensors.get(node, "indices"), Ids) or tensors.embedding is not None:
        raise node.refuse("looks up something else than the text's ids, once")
    table = tensors.needed(node, "weight")
    if table.ndim != 2:
        raise node.refuse("has no table", found=list(table.shape))
    tensors.embedding = Embedding("embedding", table)
    return Flow(())


def _recurrent(tensors: Tensors, node: Node, kind: Kind) -> tuple[object, ...]:
    arguments = node.arguments
    flow = tensors.flow(node, "input")
    if node.target not in ("lstm.input", "gru.input") or not arguments.get("batch_first"):
        raise node.refuse("does not have the texts first", fix="set batch_first=True")
    layers, both = int(arguments["num_layers"]), bool(arguments["bidirectional"])
    if arguments.get("train") and arguments.get("dropout") and layers > 1:
        raise node.refuse("is in training mode", fix="export model.eval()")
    states = arguments["hx"]
    for state in states if isinstance(states, tuple) else (states,):
        if not isinstance(tensors.at(state.name), Zeros):
            raise node.refuse("is fed an initial state")
    parameters = [tensors.at(one.name) for one in arguments["params"]]
    arrays = [one for one in parameters if isinstance(one, np.ndarray)]
    directions = layers * (2 if both else 1)
    each = 4 if arguments["has_biases"] else 2
    if len(arrays) != len(parameters) or len(arrays) != each * directions or not flow.sequence:
        raise node.refuse("has other weights than a plain one (proj_size is not converted)")
    cells = [arrays[start : start + each] for start in range(0, len(arrays), each)]
    stack = recurrent_layers(kind, cells, bidirectional=both, name=tensors.named(kind))
    after = Flow((*flow.layers, *stack))
    return after, LastStates(after, directions)


def _last(node: Node, states: LastStates, index: int) -> object:
    """h_n[index], which must belong to the last layer."""
    index = index + states.count if index < 0 else index
    layer = states.flow.layers[-1]
    both = isinstance(layer, Recurrent) and layer.backward is not None
    if not states.count - (2 if both else 1) <= index < states.count:
        raise node.refuse("takes the state of another layer than the last")
    if both:
        return LastState(states.flow, backward=index == states.count - 1)
    return with_last_state(states.flow)


def _dims(node: Node, key: str = "dim") -> tuple[int, ...]:
    value = node.arguments.get(key)
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else ()


def _same(tensors: Tensors, node: Node) -> object:
    for key in ("self", "input"):
        if key in node.arguments:
            return tensors.get(node, key)
    raise node.refuse("has no input")


def _dropout(tensors: Tensors, node: Node) -> object:
    if node.arguments.get("train") and node.arguments.get("p"):
        raise node.refuse("is in training mode", fix="export model.eval()")
    return _same(tensors, node)


def _linear(tensors: Tensors, node: Node) -> Flow:
    flow = tensors.flow(node, "input")
    weight, bias = tensors.needed(node, "weight"), tensors.array(node, "bias")
    dense = dense_of(tensors.named("linear"), weight, bias)
    return Flow((*flow.layers, dense), flow.sequence)


def _function(function: Function) -> Callable[[Tensors, Node], object]:
    def apply(tensors: Tensors, node: Node) -> Flow:
        flow = tensors.flow(node)
        last = flow.layers[-1] if flow.layers else None
        if isinstance(last, Dense) and last.function == "linear":
            return Flow((*flow.layers[:-1], replace(last, function=function)), flow.sequence)
        layer = Activation(tensors.named(function), function)
        return Flow((*flow.layers, layer), flow.sequence)

    return apply


def _softmax(tensors: Tensors, node: Node) -> object:
    value = tensors.get(node, "self")
    (dim,) = _dims(node) or (None,)
    flat = isinstance(value, Shares) and value.form == "scores"
    if isinstance(value, Shares) and flat and dim in (1, -1):
        return replace(value, form="flat")
    flow = tensors.flow(node)
    if dim in (-1, 2 if flow.sequence else 1):
        return _function("softmax")(tensors, node)
    if not flow.sequence or dim not in (1, -2):
        raise node.refuse("runs over the texts", found=f"dim {dim}")
    return _shares(node, flow, "column")


def _shares(node: Node, flow: Flow, form: str) -> Shares:
    """Scores split from the states that they are of: one or two dense layers at the end."""
    start = len(flow.layers)
    while start and not isinstance(flow.layers[start - 1], Recurrent | Scale):
        start -= 1
    scorers = flow.layers[start:]
    last = scorers[-1] if scorers else None
    if not isinstance(last, Dense) or last.bias.size != 1:
        raise node.refuse("runs over the tokens of something else than one score each")
    return Shares(Flow(flow.layers[:start]), scorers, form)


def _squeeze(tensors: Tensors, node: Node) -> object:
    value = tensors.get(node, "self")
    dims = _dims(node)
    if isinstance(value, LastStates) and dims == (0,) and value.count == 1:
        return _last(node, value, 0)
    if isinstance(value, Flow) and value.sequence and dims in ((-1,), (2,)):
        return _shares(node, value, "scores")
    if isinstance(value, Shares) and value.form == "column" and dims in ((-1,), (2,)):
        return replace(value, form="flat")
    if isinstance(value, Weighted) and value.summed and dims in ((1,), (-2,)):
        return _pooled(tensors, node, value.shares)
    raise node.refuse("drops an axis that may be longer than one")


def _unsqueeze(tensors: Tensors, node: Node) -> object:
    value = tensors.get(node, "self")
    if isinstance(value, Shares) and value.form == "flat":
        if _dims(node) in ((-1,), (2,)):
            return replace(value, form="column")
        if _dims(node) in ((1,), (-2,)):
            return replace(value, form="row")
    raise node.refuse("adds an axis to something else than attention's weights")


def _transpose(tensors: Tensors, node: Node) -> object:
    value = tensors.get(node, "self")
    axes = {int(node.arguments.get(key, 9)) % 3 for key in ("dim0", "dim1")}
    if isinstance(value, Shares) and value.form in ("column", "row") and axes == {1, 2}:
        return replace(value, form="row" if value.form == "column" else "column")
    raise node.refuse("swaps axes of something else than attention's weights")


def _multiply(tensors: Tensors, node: Node) -> object:
    pair = [tensors.get(node, key) for key in ("self", "other")]
    for shares, states in (pair, pair[::-1]):
        if isinstance(shares, Shares) and shares.form == "column" and same(shares.flow, states):
            return Weighted(shares)
    raise node.refuse("multiplies something else than states by attention's weights")


def _matmul(tensors: Tensors, node: Node) -> object:
    left = tensors.get(node, "self")
    right = tensors.get(node, "mat2" if "mat2" in node.arguments else "other")
    if isinstance(left, Shares) and left.form == "row" and same(left.flow, right):
        return Weighted(left, summed=True)
    raise node.refuse("multiplies something else than attention's weights by states")


def _sum(tensors: Tensors, node: Node) -> object:
    value = tensors.get(node, "self")
    if isinstance(value, Weighted) and not value.summed and _dims(node) in ((1,), (-2,)):
        if node.arguments.get("keepdim"):
            return replace(value, summed=True)
        return _pooled(tensors, node, value.shares)
    raise node.refuse("sums something else than weighted states over the tokens")


def _pooled(tensors: Tensors, node: Node, shares: Shares) -> Flow:
    """The softmax does not see a bias of the last score: it is the same for every token."""
    *hidden, last = (one for one in shares.scorers if isinstance(one, Dense))
    functions = {"tanh": "tanh", "linear": "linear"}
    name = tensors.named("attention")
    if len(hidden) + 1 != len(shares.scorers) or len(hidden) > 1:
        raise node.refuse("weighs by scores of another form than one or two dense layers")
    first = hidden[0] if hidden else last
    function = functions.get(first.function)
    if function is None or (hidden and last.function != "linear"):
        raise node.refuse("weighs by scores after another function than tanh")
    query = np.ascontiguousarray(last.kernel[:, 0]) if hidden else np.ones(1, np.float32)
    pool = AttentionPool(
        name, first.kernel, first.bias, query, "tanh" if function == "tanh" else "linear"
    )
    return Flow((*shares.flow.layers, pool), sequence=False)


def _select(tensors: Tensors, node: Node) -> object:
    value, index = tensors.get(node, "self"), node.arguments.get("index")
    (dim,) = _dims(node) or (None,)
    if isinstance(value, LastStates) and dim == 0 and isinstance(index, int):
        return _last(node, value, index)
    if isinstance(value, Flow) and value.sequence and dim in (1, -2) and index == -1:
        last = value.layers[-1] if value.layers else None
        if isinstance(last, Recurrent) and last.backward is None:
            return with_last_state(value)
        return Flow((*value.layers, Pool(tensors.named("pool"), "last")), sequence=False)
    raise node.refuse("takes something else than the last token's states", found=f"index {index}")


def _slice(tensors: Tensors, node: Node) -> object:
    given = node.arguments
    whole = given.get("start") in (None, 0) and given.get("step", 1) == 1
    if whole and (given.get("end") is None or given["end"] == 2**63 - 1):
        return tensors.get(node, "self")
    raise node.refuse("cuts a part out of the text")


def _cat(tensors: Tensors, node: Node) -> object:
    parts = [tensors.at(one.name) for one in node.arguments.get("tensors", ())]
    if len(parts) == 2 and _dims(node) in ((1,), (-1,)):
        forward, backward = parts
        if (
            isinstance(forward, LastState)
            and isinstance(backward, LastState)
            and forward.flow is backward.flow
            and backward.backward > forward.backward
        ):
            return with_last_state(forward.flow)
    raise node.refuse("joins something else than the two directions' last states, forward first")


def _pool(how: str) -> Callable[[Tensors, Node], object]:
    def apply(tensors: Tensors, node: Node) -> Flow:
        flow = tensors.flow(node)
        if not flow.sequence or _dims(node) not in ((1,), (-2,)) or node.arguments.get("keepdim"):
            raise node.refuse("pools over another axis than the tokens")
        layer = Pool(tensors.named("pool"), "max" if how == "max" else "mean")
        return Flow((*flow.layers, layer), sequence=False)

    return apply


def _normalize(tensors: Tensors, node: Node) -> Flow:
    """Ioffe and Szegedy 2015, with the running mean and variance."""
    flow = tensors.flow(node, "input")
    if flow.sequence or node.arguments.get("training"):
        raise node.refuse("does not normalize one vector a text in eval mode")
    mean = tensors.needed(node, "running_mean").astype(np.float64)
    variance = tensors.needed(node, "running_var") + float(node.arguments["eps"])
    weight, bias = tensors.array(node, "weight"), tensors.array(node, "bias")
    if not (variance > 0).all():
        raise node.refuse("has a variance that is not positive")
    factor = (1.0 if weight is None else weight) / np.sqrt(variance)
    offset = (0.0 if bias is None else bias) - mean * factor
    layer = Scale(tensors.named("norm"), factor.astype(np.float32), offset.astype(np.float32))
    return Flow((*flow.layers, layer), sequence=False)


def _zeros(_tensors: Tensors, _node: Node) -> Zeros:
    return Zeros()


def _convert(tensors: Tensors, node: Node) -> object:
    """A type conversion: of ids, which are whole numbers in any type."""
    if not isinstance(tensors.get(node, "self"), Ids):
        raise node.refuse("changes the type of something else than ids")
    return Ids()


def _nothing(_tensors: Tensors, _node: Node) -> None:
    """An assertion about shapes or types."""


_HANDLERS: dict[str, Callable[[Tensors, Node], object]] = {
    "embedding": _embed,
    "zeros": _zeros,
    "new_zeros": _zeros,
    "zeros_like": _zeros,
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "lift_fresh_copy"), _same),
    **dict.fromkeys(("dropout", "dropout_", "feature_dropout"), _dropout),
    **dict.fromkeys(("to", "_to_copy"), _convert),
    **dict.fromkeys(("_assert_tensor_metadata", "sym_constrain_range_for_size"), _nothing),
    "linear": _linear,
    **{name: _function("relu") for name in ("relu", "relu_")},
    **{name: _function("tanh") for name in ("tanh", "tanh_")},
    **{name: _function("sigmoid") for name in ("sigmoid", "sigmoid_")},
    "softmax": _softmax,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "transpose": _transpose,
    "mul": _multiply,
    **dict.fromkeys(("bmm", "matmul"), _matmul),
    "sum": _sum,
    "select": _select,
    "slice": _slice,
    "cat": _cat,
    **dict.fromkeys(("max", "amax"), _pool("max")),
    "mean": _pool("mean"),
    "batch_norm": _normalize,
}
