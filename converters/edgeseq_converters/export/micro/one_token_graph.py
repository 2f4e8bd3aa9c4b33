"""The graph of one token, which TensorFlow Lite Micro runs once per token of a text.

It is rewritten from the .tflite file of a bundle: the operators that look at the length of a text
are gone, the recurrent state goes in and comes out with each token, and the output after the last
token is the text's. Weights, biases and the states' scales are those of the bundle; the step of the
LSTM is in operators that give the same integers in LiteRT (`exact_operators`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
from edgeseq_converters.export.micro.exact_operators import (
    LABEL,
    Rows,
    cell_scale,
    lstm_step,
    power_of_two,
    product,
    widened,
)
from edgeseq_converters.export.micro.step_states import LARGEST, StateDtype, StepState

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


@dataclass(frozen=True)
class OneTokenModel:
    """The content of the .tflite file, the operators in it by name, each once, the states, and
    what one step of the last int8 is worth.

    Input 0 of the graph is the token id and output 0 the logits; the states follow in both.
    """

    content: bytes
    operators: tuple[str, ...]
    states: tuple[StepState, ...]
    logit_step: float

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    @property
    def state_bytes(self) -> int:
        """What the states take of a program's memory beside the arena."""
        return sum(state.size_bytes for state in self.states)


def one_token_model(content: bytes, *, where: Path) -> OneTokenModel:
    """The graph of one token: `input_ids` int32 [1] and the states to `logits` float32 [1, labels]
    and the new states.

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
        self._states: list[StepState] = []
        self._new_states: list[GraphTensor] = []
        self._unit = 1.0  # what one of the current value's integers is worth
        self._logit_step = 0.0

    def build(self) -> OneTokenModel:
        ids = self._graph.input(INPUT, "int32", (1,))
        lookup = self._lookup()
        table, at = int(lookup.inputs[0]), int(lookup.outputs[0])
        if self._stored.name(self._reader_behind_reshapes(at)) != "UNIDIRECTIONAL_SEQUENCE_LSTM":
            raise self._refusal("a layer before the LSTM")
        self._unit = self._scales(table)[0]
        embeddings = self._graph.constant("embeddings", self._integers(table), LABEL)
        value = op.gather(embeddings, ids)
        while at not in self._source.outputs:
            operator = self._reader(at)
            value, at = self._emit(operator, value), int(operator.outputs[0])
        states = self._graph.inputs[1:]
        self._graph.outputs = [value, *self._new_states]
        names = [state.name for state in self._states]
        self._writer.add_signature(
            SIGNATURE,
            {INPUT: ids, **dict(zip(names, states, strict=True))},
            {OUTPUT: value, **dict(zip(names, self._new_states, strict=True))},
        )
        content = self._writer.pack()
        operators = parse_tflite(content, where=self._where).subgraphs[0].operators
        used = tuple(sorted({operator.name for operator in operators}))
        return OneTokenModel(content, used, tuple(self._states), self._logit_step)

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

    def _reader_behind_reshapes(self, index: int) -> Any:
        operator = self._reader(index)
        while self._stored.name(operator) == "RESHAPE":
            operator = self._reader(int(operator.outputs[0]))
        return operator

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
        output = self._source.tensors[operator.outputs[0]]
        if name == "FULLY_CONNECTED":
            return self._dense(operator, value, quantization_of(output))
        scale = value.quantization if name == "RELU" else quantization_of(output)
        if name == "DEQUANTIZE" and value.quantization is not None:
            self._logit_step = value.quantization.scales[0]
        shape = (1, output.shape[-1])
        result = self._graph.tensor(name.lower(), dtype_of(output), shape, scale)
        self._graph.operator(name, version, [value], [result], operator.builtinOptions)
        self._unit = 1.0 if scale is None else scale.scales[0]
        return result

    def _dense(self, operator: Any, x: GraphTensor, into: Quantization | None) -> GraphTensor:
        """A product in int16, rounded to the int8 of the bundle; what another product reads comes
        on a power of two."""
        read, weights, bias = (int(index) for index in operator.inputs)
        if into is None:
            raise self._refusal("a product that is not int8")
        if self._stored.name(self._reader(int(operator.outputs[0]))) != "DEQUANTIZE":
            into = Quantization((power_of_two(into.scales[0]),), into.zero_points)
        wide = Quantization((power_of_two(into.scales[0] / 128),), (0,))
        sums = product(widened(x), self._rows(read, weights, bias), wide)
        self._unit = into.scales[0]
        return op.quantize(sums, "int8", into)

    def _lstm(self, operator: Any, value: GraphTensor) -> GraphTensor:
        """The fused operator's step. Its inputs are the values, 4 kernels, 4 recurrent kernels, 3
        peepholes, 4 biases, 2 of a projection, and the two states."""
        inputs = [int(index) for index in operator.inputs]
        hidden, cell = (self._source.tensors[index] for index in inputs[18:20])
        scale = quantization_of(cell)
        if quantization_of(hidden) != LABEL or scale is None:
            raise self._refusal("an LSTM whose states have other scales")
        shape = (1, hidden.shape[-1])
        states = (
            self._state("hidden", "int8", shape, LABEL),
            self._state("cell", "int16", shape, cell_scale(scale.scales[0])),
        )
        gates = zip(inputs[1:5], inputs[12:16], strict=True)
        kernels = [self._rows(inputs[0], weights, bias) for weights, bias in gates]
        self._unit = LABEL.scales[0]
        recurrent = [self._rows(inputs[18], weights) for weights in inputs[5:9]]
        self._new_states += lstm_step(value, *states, kernels, recurrent)
        return self._new_states[-2]

    def _rows(self, read: int, weights: int, bias: int | None = None) -> Rows:
        """The bundle's matrix and bias for the current value, which is its tensor `read`."""
        numbers, scales = self._integers(weights), self._scales(weights)
        steps = tuple(self._unit * scale for scale in scales)
        sums = np.zeros(len(numbers), np.int64)
        if bias is not None:
            unit = self._scales(read)[0] / self._unit
            sums = np.rint(self._integers(bias) * unit).astype(np.int64)
        return Rows(numbers, sums, steps)

    def _running_maximum(self, value: GraphTensor) -> GraphTensor:
        """The largest states so far."""
        if value.quantization is None or value.dtype != "int8":
            raise self._refusal("a maximum of states that are not int8")
        before = self._state(LARGEST, "int8", value.shape, value.quantization)
        self._new_states.append(op.elementwise("MAXIMUM", before, value, value.quantization))
        return self._new_states[-1]

    def _state(
        self,
        kind: str,
        dtype: StateDtype,
        shape: tuple[int, ...],
        scale: Quantization,
    ) -> GraphTensor:
        """One more input that is an output of the token before."""
        state = StepState(f"{kind}_{len(self._states)}", dtype, int(shape[-1]))
        self._states.append(state)
        return self._graph.input(state.name, dtype, shape, scale)

    def _integers(self, index: int) -> npt.NDArray[Any]:
        """A constant of the bundle's."""
        tensor = self._source.tensors[index]
        content = self._stored.constant(tensor)
        if not content:
            raise self._refusal("a product of two computed tensors")
        return np.frombuffer(content, dtype_of(tensor)).reshape(tensor.shape)

    def _scales(self, index: int) -> tuple[float, ...]:
        scale = quantization_of(self._source.tensors[index])
        if scale is None:
            raise self._refusal("a product that is not int8")
        return scale.scales

    def _refusal(self, reason: str) -> RefusedError:
        return RefusedError(
            "a microcontroller reads a text token by token, forward and once",
            where=self._where,
            found=reason,
            expected="forward LSTM layers, and their last state or largest values",
            fix=TRAIN_FIX + FIX,
        )
