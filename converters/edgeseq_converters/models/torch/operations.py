"""What each aten operation makes of tensors whose meaning is known.

A tensor is the values after some layers, a softmax over the tokens, one direction's last state.
An operation whose meaning is not known here is refused by name.
"""

from __future__ import annotations

from edgeseq_converters.models.network_layers import Kind
from edgeseq_converters.models.torch.convolutions import convolve, pool_windows
from edgeseq_converters.models.torch.joins import join_by_element
from edgeseq_converters.models.torch.layers import (
    Operation,
    convert_ids,
    dropout,
    embed,
    function_of,
    ignore,
    in_place,
    linear,
    normalize,
    normalize_features,
    recurrent,
    unchanged,
    zeros,
)
from edgeseq_converters.models.torch.pooling import (
    adaptive_pool_of,
    concatenate,
    matmul,
    multiply,
    permute,
    pool_of,
    select_state,
    slice_text,
    softmax,
    squeeze,
    sum_tokens,
    transpose,
    unsqueeze,
)
from edgeseq_converters.models.torch.tensors import Tensors
from edgeseq_converters.models.torch.values import Node


def apply(node: Node, tensors: Tensors) -> tuple[object, ...]:
    """What the operation's outputs mean; `CheckpointError` naming one that cannot be converted."""
    operation = node.target.partition(".")[0]
    if operation in _CELLS:
        return recurrent(tensors, node, _CELLS[operation])
    handler = _HANDLERS.get(operation)
    if handler is None:
        fix = "leave it out of the module" if "log_softmax" in operation else None
        raise node.refuse(
            "cannot be converted",
            fix=fix or "export in eval mode, without run_decompositions, or save the state dict",
        )
    return (handler(tensors, node),)


_CELLS: dict[str, Kind] = {"lstm": "lstm", "gru": "gru", "rnn_tanh": "rnn", "rnn_relu": "rnn"}
_HANDLERS: dict[str, Operation] = {
    "embedding": embed,
    "zeros": zeros,
    "new_zeros": zeros,
    "zeros_like": zeros,
    **dict.fromkeys(("contiguous", "clone", "detach", "alias", "lift_fresh_copy"), unchanged),
    **dict.fromkeys(("dropout", "dropout_", "feature_dropout"), dropout),
    **dict.fromkeys(("to", "_to_copy"), convert_ids),
    **dict.fromkeys(
        ("_assert_tensor_metadata", "sym_constrain_range_for_size", "sym_size"), ignore
    ),
    "linear": linear,
    "relu": function_of("relu"),
    "tanh": function_of("tanh"),
    "sigmoid": function_of("sigmoid"),
    "hardsigmoid": function_of("hard_sigmoid_sixth"),
    "relu_": in_place(function_of("relu")),
    "tanh_": in_place(function_of("tanh")),
    "sigmoid_": in_place(function_of("sigmoid")),
    "softmax": softmax,
    "squeeze": squeeze,
    "unsqueeze": unsqueeze,
    "transpose": transpose,
    "permute": permute,
    "mul": multiply,
    **dict.fromkeys(("bmm", "matmul"), matmul),
    "sum": sum_tokens,
    "select": select_state,
    "slice": slice_text,
    "cat": concatenate,
    "add": join_by_element("add"),
    "sub": join_by_element("subtract"),
    "maximum": join_by_element("maximum"),
    "minimum": join_by_element("minimum"),
    "conv1d": convolve,
    "max_pool1d": pool_windows("max"),
    "avg_pool1d": pool_windows("mean"),
    "layer_norm": normalize_features,
    **dict.fromkeys(("max", "amax"), pool_of("max")),
    "mean": pool_of("mean"),
    "adaptive_max_pool1d": adaptive_pool_of("max"),
    "adaptive_avg_pool1d": adaptive_pool_of("mean"),
    "batch_norm": normalize,
}
