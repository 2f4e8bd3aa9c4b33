"""The graph of one token, which TensorFlow Lite Micro runs once per token of a text.

It is rewritten from the .tflite file of a bundle: the operators that look at the length of a text
are gone, the recurrent state stays in variables, and the output after the last token is the text's.
Weights, scales and arithmetic are those of the bundle. What that runtime wants of the fused LSTM:
exactly 24 inputs, and intermediate tensors of no elements (only their scales are read).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeseq.errors import RefusedError
from edgeseq.formats.tflite_file import parse_tflite
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import GraphTensor, Writer
from edgeseq_converters.convert.tflite.quantization import Quantization
from edgeseq_converters.convert.tflite.stored_model import (
    StoredModel,
    dtype_of,
    quantization_of,
)

INPUT, OUTPUT, SIGNATURE = "input_ids", "logits", "serving_default"
FIX = "convert again: edgeseq convert MODEL --recipe static_wi8_ai8 --lowering fused"
TRAIN_FIX = "train the LSTM with --set bidirectional=false and --set pooling=max or last, then "

_BY_ELEMENT = ("FULLY_CONNECTED", "TANH", "LOGISTIC", "RELU", "SOFTMAX", "DEQUANTIZE", "QUANTIZE")
_REASONS = {
    "REVERSE_V2": "an LSTM that also reads from the end (bidirectional)",
    "MEAN": "the mean over all tokens",
    "SUM": "the mean over all tokens",
    "MUL": "the mean over all tokens",
    "BATCH_MATMUL": "a sum over all tokens",
    "WHILE": "a loop over the tokens",
}
_MAXIMUM = "maximum"


@dataclass(frozen=True)
class OneTokenModel:
    """The content of the .tflite file, the operators in it by name, each once, how many resource
    variables they need, and what one step of the last int8 is worth."""

    content: bytes
    operators: tuple[str, ...]
    num_resource_variables: int
    logit_step: float

    @property
    def size_bytes(self) -> int:
        return len(self.content)


def one_token_model(content: bytes, *, where: Path) -> OneTokenModel:
    """The graph of one token: `input_ids` int32 [1, 1] to `logits` float32 [1, labels].

    `content` is the .tflite file of a bundle with the recipe `static_wi8_ai8` and the lowering
    `fused`; `where` is what an error names. Raises `RefusedError` for a network that needs more of
    a text than the tokens so far, and `BundleError` for a damaged file.
    """
    parse_tflite(content, where=where)
    return _OneTokenGraph(StoredModel(content), where).build()


class _OneTokenGraph:
    """Follows what the bundle's graph computes from the embedding on, and writes it for one token.

    A tensor of the bundle's graph is called by its index, one of the new graph is a `GraphTensor`.
    """

    def __init__(self, stored: StoredModel, where: Path) -> None:
        self._stored, self._where = stored, where
        self._source = stored.graphs[0]
        self._writer = Writer("one token per call")
        self._graph = self._writer.graph(SIGNATURE)
        self._num_resource_variables = 0
        self._logit_step = 0.0

    def build(self) -> OneTokenModel:
        ids = self._graph.input(INPUT, "int32", (1, 1))
        lookup = self._lookup()
        table = self._constant(lookup.inputs[0])
        value, at = op.gather(table, ids), int(lookup.outputs[0])
        while at not in self._source.outputs:
            operator = self._reader(at)
            value, at = self._emit(operator, value), int(operator.outputs[0])
        self._graph.outputs = [value]
        self._writer.add_signature(SIGNATURE, {INPUT: ids}, {OUTPUT: value})
        content = self._writer.pack()
        operators = parse_tflite(content, where=self._where).subgraphs[0].operators
        names = tuple(sorted({operator.name for operator in operators}))
        return OneTokenModel(content, names, self._num_resource_variables, self._logit_step)

    def _lookup(self) -> Any:
        """The operator that looks up the embeddings: the only GATHER from a constant of 2 axes."""
        for operator in self._source.operators:
            table = self._source.tensors[operator.inputs[0]]
            if self._stored.name(operator) == "GATHER" and self._stored.constant(table):
                return operator
        raise self._refusal("no table of int8 embeddings")

    def _reader(self, index: int) -> Any:
        """The operator that computes with a tensor; refuses where there are several."""
        readers = [operator for operator in self._source.operators if index == operator.inputs[0]]
        names = [self._stored.name(reader) for reader in readers]
        if len(readers) != 1:
            raise self._refusal(
                next((_REASONS[n] for n in names if n in _REASONS), "several branches")
            )
        return readers[0]

    def _emit(self, operator: Any, value: GraphTensor) -> GraphTensor:
        name = self._stored.name(operator)
        if name in ("RESHAPE", "GATHER"):
            return value  # of one token: the same numbers, and the last state is the only one
        if name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return self._lstm(operator, value)
        if name == "REDUCE_MAX":
            return self._running_maximum(value)
        if name in _BY_ELEMENT:
            return self._by_element(operator, value)
        raise self._refusal(_REASONS.get(name, f"the operator {name}"))

    def _by_element(self, operator: Any, value: GraphTensor) -> GraphTensor:
        name, version = self._stored.operators[operator.opcodeIndex]
        if name == "DEQUANTIZE" and value.quantization is not None:
            self._logit_step = value.quantization.scales[0]
        constants = [self._constant(index) for index in operator.inputs[1:]]
        output = self._source.tensors[operator.outputs[0]]
        shape = (1, output.shape[-1])
        result = self._graph.tensor(name.lower(), dtype_of(output), shape, quantization_of(output))
        self._graph.operator(name, version, [value, *constants], [result], operator.builtinOptions)
        return result

    def _lstm(self, operator: Any, value: GraphTensor) -> GraphTensor:
        name, version = self._stored.operators[operator.opcodeIndex]
        inputs: list[GraphTensor | None] = [value]
        for index in operator.inputs[1:]:
            inputs.append(None if index < 0 else self._state_or_constant(index))
        intermediates = []
        for index in operator.intermediates:
            tensor = self._source.tensors[index]
            scale = quantization_of(tensor)
            intermediates.append(self._graph.tensor("scale", dtype_of(tensor), (0,), scale))
        output = self._source.tensors[operator.outputs[0]]
        shape = (1, 1, output.shape[-1])
        states = self._graph.tensor("states", dtype_of(output), shape, quantization_of(output))
        self._graph.operator(
            name,
            version,
            inputs,
            [states],
            operator.builtinOptions,
            intermediates=intermediates,
        )
        return states

    def _running_maximum(self, value: GraphTensor) -> GraphTensor:
        """The largest states so far, in a resource variable.

        Every byte of a variable is its zero point after a reset. The variable holds the maximum
        plus 1 under a zero point of −128, so that it starts at −1, below every state; the bytes
        of x + 1 under that zero point are those of x under 0, so a RESHAPE adds the 1.
        """
        if value.quantization is None or value.dtype != "int8":
            raise self._refusal("a maximum of states that are not int8")
        shifted = Quantization(value.quantization.scales, (-128,))
        graph = self._graph
        handle = graph.tensor("handle", "resource", (1,))
        options = schema.VarHandleOptionsT(container="", sharedName=_MAXIMUM)
        graph.operator("VAR_HANDLE", 1, [], [handle], options)
        stored = graph.tensor("largest_before", "int8", value.shape, value.quantization)
        graph.operator("READ_VARIABLE", 1, [handle], [stored], schema.ReadVariableOptionsT())
        largest = op.elementwise("MAXIMUM", stored, value, value.quantization)
        to_store = graph.tensor("largest_plus_1", "int8", value.shape, shifted)
        shape = graph.constant("shape", np.asarray(value.shape, np.int32))
        reshape = schema.ReshapeOptionsT(newShape=list(value.shape))
        graph.operator("RESHAPE", 1, [largest, shape], [to_store], reshape)
        graph.operator(
            "ASSIGN_VARIABLE", 1, [handle, to_store], [], schema.AssignVariableOptionsT()
        )
        self._num_resource_variables += 1
        return largest

    def _state_or_constant(self, index: int) -> GraphTensor:
        tensor = self._source.tensors[index]
        if tensor.isVariable:
            shape = tuple(int(size) for size in tensor.shape)
            return self._graph.variable("state", dtype_of(tensor), shape, quantization_of(tensor))
        return self._constant(index)

    def _constant(self, index: int) -> GraphTensor:
        tensor = self._source.tensors[index]
        content = self._stored.constant(tensor)
        if not content:
            raise self._refusal("a product of two computed tensors")
        dtype = dtype_of(tensor)
        values = np.frombuffer(content, dtype).reshape(tensor.shape)
        return self._graph.constant("weights", values, quantization_of(tensor))

    def _refusal(self, reason: str) -> RefusedError:
        return RefusedError(
            "a microcontroller reads a text token by token, forward and once",
            where=self._where,
            found=reason,
            expected="forward LSTM layers, and their last state or largest values",
            fix=TRAIN_FIX + FIX,
        )
