"""Follows the operations of an ONNX graph and builds the network that they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import FloatInput, Layer
from edgeseq_converters.models.onnx import constants, layers, recurrent, shapes, windows
from edgeseq_converters.models.onnx.files import OnnxGraph, read_graph
from edgeseq_converters.models.onnx.node import OnnxNode
from edgeseq_converters.models.onnx.tensors import OnnxTensors
from edgeseq_converters.models.onnx.values import FEATURES, States, TextLengths, TokenIds


def read_onnx(path: Path) -> Network:
    """The network that the ONNX file at `path` computes, for a text alone at its real length.

    Raises `CheckpointError` for a damaged file and for an operation, attribute or input that such
    a network cannot have, by the node's name.
    """
    graph = read_graph(path)
    tensors = _inputs(graph)
    for node in graph.nodes:
        for name, value in zip(node.outputs, _apply(tensors, node), strict=False):
            if name and value is not None:
                tensors.values[name] = value
    if len(graph.outputs) != 1:
        raise CheckpointError(
            "has several outputs", where=path, found=", ".join(graph.outputs), expected="one"
        )
    result = tensors.values.get(graph.outputs[0])
    if isinstance(result, np.ndarray) or not isinstance(result, States) or not tensors.entry:
        raise CheckpointError("gives something else than a network's answer", where=path)
    if result.axes and result.width > 1 and result.axes[-1] != (FEATURES,):
        raise CheckpointError(
            "gives its answer with classes on an axis before the last", where=path
        )
    layers = unique_names(result.layers)
    names = [*(layer.name for layer in layers), tensors.entry.name]
    fed_by = {
        names[position]: tuple(names[source] for source in sources)
        for position, sources in result.inputs.items()
    }
    return Network(path.stem, tensors.entry, layers, fed_by=fed_by)


def unique_names(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers under unique names: one operation may be several layers, such as a
    recurrent layer whose sequence and last state are both used."""
    names: set[str] = set()
    renamed = []
    for layer in layers:
        name, count = layer.name, 1
        while name in names:
            count += 1
            name = f"{layer.name}.{count}"
        names.add(name)
        renamed.append(layer if name == layer.name else replace(layer, name=name))
    return tuple(renamed)


def _inputs(graph: OnnxGraph) -> OnnxTensors:
    """The ids or the numbers, lengths of the texts where there are any, and the arrays."""
    read = [name for name, shape in graph.inputs.items() if len(shape) in (2, 3)]
    lengths = [name for name, shape in graph.inputs.items() if len(shape) == 1]
    features = graph.inputs[read[0]][2:] if read else ()
    is_known = len(read) == 1 and None not in features
    if not is_known or len(read) + len(lengths) != len(graph.inputs) or len(lengths) > 1:
        found = ", ".join(
            f"{name} {['open' if size is None else size for size in shape]}"
            for name, shape in graph.inputs.items()
        )
        raise CheckpointError(
            "takes more or other inputs: not token ids or numbers alone",
            where=graph.where,
            found=found or "none",
            expected="ids [texts, tokens] or numbers [sequences, steps, features], and the lengths "
            "or nothing",
        )
    sizes = {str(axis): size for axis, size in enumerate(graph.inputs[read[0]][:2])}
    axes = tuple((name,) for name in sizes)
    values: dict[str, object] = {**graph.arrays, **{name: TextLengths() for name in lengths}}
    if not features:
        return OnnxTensors(graph.opset, sizes, {**values, read[0]: TokenIds(axes)})
    width = int(features[0] or 0)
    numbers = States((), (*axes, (FEATURES,)), width)
    return OnnxTensors(graph.opset, sizes, {**values, read[0]: numbers}, FloatInput("input", width))


def _apply(tensors: OnnxTensors, node: OnnxNode) -> tuple[object, ...]:
    """What the operation's outputs mean; `CheckpointError` naming one that cannot be converted."""
    allowed = _ATTRIBUTES.get(node.operator)
    if allowed is None:
        raise node.refuse(
            "cannot be converted",
            expected="embedding, LSTM, GRU, RNN, dense layers, pooling over the tokens, attention, "
            "batch normalization and activations",
            fix="leave it out of the exported module, or save the Keras or PyTorch file",
        )
    unknown = sorted(set(node.attributes) - set(allowed.split()))
    if unknown:
        raise node.refuse("has an attribute that is not known", found=", ".join(unknown))
    folded = constants.fold(tensors, node)
    if folded is not None:
        return (folded,)
    if node.operator in ("LSTM", "GRU", "RNN"):
        return recurrent.recurrent(tensors, node)
    if node.operator == "Split":
        return shapes.split(tensors, node)
    handler = _OPERATIONS.get(node.operator)
    if handler is None:
        raise node.refuse("is applied to something that depends on the text")
    return (handler(tensors, node),)


def _gather(tensors: OnnxTensors, node: OnnxNode) -> object:
    is_table = isinstance(tensors.get(node, 0), np.ndarray)
    return (layers.gather_rows if is_table else shapes.gather)(tensors, node)


_OPERATIONS: dict[str, Callable[[OnnxTensors, OnnxNode], Any]] = {
    "Constant": constants.constant,
    "ConstantOfShape": constants.zeros,
    "Shape": constants.shape_of,
    "Gather": _gather,
    "Identity": layers.unchanged,
    "Dropout": layers.dropout,
    "Cast": layers.cast,
    "Transpose": shapes.transpose,
    "Squeeze": shapes.squeeze,
    "Unsqueeze": shapes.unsqueeze,
    "Reshape": shapes.reshape,
    "Flatten": shapes.flatten,
    "Slice": shapes.cut,
    "Concat": shapes.concat,
    "MatMul": layers.matmul,
    "Gemm": layers.gemm,
    "Add": layers.add,
    "Sub": layers.subtract,
    "Mul": layers.multiply,
    "Div": layers.divide,
    "BatchNormalization": layers.normalize,
    "LayerNormalization": layers.layer_norm,
    "Relu": layers.function_of("relu"),
    "Tanh": layers.function_of("tanh"),
    "Sigmoid": layers.function_of("sigmoid"),
    "Softsign": layers.function_of("softsign"),
    "HardSigmoid": layers.hard_sigmoid,
    "Softmax": layers.softmax,
    "ReduceMax": layers.reduction_of("max"),
    "ReduceMean": layers.reduction_of("mean"),
    "ReduceSum": layers.reduction_of("sum"),
    "GlobalMaxPool": layers.whole_pool_of("max"),
    "GlobalAveragePool": layers.whole_pool_of("mean"),
    "MaxPool": lambda tensors, node: windows.pool_windows(tensors, node, "max"),
    "AveragePool": lambda tensors, node: windows.pool_windows(tensors, node, "mean"),
    "Conv": windows.convolve,
}
_RECURRENT = (
    "activations activation_alpha activation_beta clip direction hidden_size input_forget layout "
    "linear_before_reset output_sequence"
)
_POOL = "auto_pad ceil_mode dilations kernel_shape pads strides "
_ATTRIBUTES = dict.fromkeys((*_OPERATIONS, "Neg", "Sqrt"), "") | {
    "Constant": "value value_float value_floats value_int value_ints",
    "ConstantOfShape": "value",
    "Shape": "start end",
    "Gather": "axis",
    "Dropout": "ratio seed",
    "Cast": "to saturate round_mode",
    "Transpose": "perm",
    "Squeeze": "axes",
    "Unsqueeze": "axes",
    "Reshape": "allowzero",
    "Flatten": "axis",
    "Slice": "starts ends axes steps",
    "Concat": "axis",
    "Split": "axis split num_outputs",
    "Expand": "",
    "Gemm": "alpha beta transA transB",
    "LayerNormalization": "axis epsilon stash_type",
    "BatchNormalization": "epsilon momentum training_mode spatial",
    "Softmax": "axis",
    "ReduceMax": "axes keepdims noop_with_empty_axes",
    "ReduceMean": "axes keepdims noop_with_empty_axes",
    "ReduceSum": "axes keepdims noop_with_empty_axes",
    "HardSigmoid": "alpha beta",
    "Conv": "auto_pad dilations group kernel_shape pads strides",
    "MaxPool": _POOL + "storage_order",
    "AveragePool": _POOL + "count_include_pad",
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _RECURRENT),
}
"""The attributes whose meaning is known: another one may change the answer."""
