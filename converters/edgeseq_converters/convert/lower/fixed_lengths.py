"""Fixed lengths for a file whose sequence axis is open: one signature per length, weights once.

Browsers, MediaPipe and most accelerators take fixed shapes alone. Each length gets a copy of the
graph in which every shape is known; constants are stored once for all of them. A text that is
shorter than the length is filled up on its right with the id −1, as for the lowering `unrolled`.

A copy looks past the padding as the lowerings do (`convert.lower.recurrent.layers.padded_flow`):
the number of tokens is counted instead of read from the shape, a softmax over the tokens gets
−1e9 where there is padding, and a pooling over them leaves it out. Which operators these are is
told by the open axis of their inputs; a loop runs for the counted tokens alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from edgeseq.errors import ConversionError
from edgeseq.runtime import PADDING_ID
from edgeseq_converters.convert.lower.recurrent.layers import MASKED, padded_flow, real_length
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Graph, GraphTensor, Writer
from edgeseq_converters.convert.tflite.stored_model import (
    StoredModel,
    dtype_of,
    quantization_of,
    shape_of,
    text_of,
)

Shape = tuple[int, ...]
_NOT_COPIED = frozenset(("UNIDIRECTIONAL_SEQUENCE_LSTM", "REVERSE_V2", "IF", "CALL_ONCE"))
"""Operators with a state, or whose padding would come first."""


def signature_key(length: int) -> str:
    """The name of the signature that takes `length` tokens."""
    return f"tokens_{length}"


def fix_lengths(content: bytes, lengths: Mapping[str, int], *, where: str) -> bytes:
    """The file `content` with a signature per length in place of its one.

    Each takes `input_ids` int32 [1, length], filled up with −1 on its right, and gives the outputs
    of the signature in `content` at that length.

    Args:
        content: A file of one signature with one input int32 [1, −1].
        lengths: The number of tokens of each signature by its name.
        where: What an error names.

    Raises:
        ConversionError: The file has another signature, or an operator that has no fixed length.
    """
    source = _read_model(content, where)
    writer = Writer(f"{source.stored.description}, fixed lengths")
    for key, length in lengths.items():
        graph = writer.graph(key)
        ids = graph.input(source.input_name, "int32", (1, length))
        copy = _GraphCopy(source, writer, graph, source.main, {source.input_index: ids})
        copy.run(pads=True)
        outputs = {name: copy.tensors[index] for name, index in source.outputs.items()}
        graph.outputs = list(outputs.values())
        writer.add_signature(key, {source.input_name: ids}, outputs)
    return writer.pack()


@dataclass(frozen=True)
class _SourceModel:
    """The file that is copied; `main` is the subgraph of its signature."""

    stored: StoredModel
    main: Any
    input_name: str
    input_index: int
    outputs: dict[str, int]
    where: str


def _read_model(content: bytes, where: str) -> _SourceModel:
    stored = StoredModel(content)
    signatures = stored.signatures
    inputs = signatures[0].inputs if signatures else []
    if len(signatures) != 1 or len(inputs) != 1:
        raise ConversionError(
            "has no single signature of one input",
            where=where,
            found=f"{len(signatures)} signatures, {len(inputs)} inputs",
            fix="remove --length",
        )
    (signature,) = signatures
    main = stored.graphs[signature.subgraphIndex]
    input_index = inputs[0].tensorIndex
    shape = shape_of(main.tensors[input_index])
    if shape != (1, -1):
        raise ConversionError(
            "has no open length that could be fixed",
            where=where,
            found=f"input {list(shape)}",
            expected="[1, -1]",
            fix="remove --length",
        )
    outputs = {text_of(entry.name): entry.tensorIndex for entry in signature.outputs}
    return _SourceModel(stored, main, text_of(inputs[0].name), input_index, outputs, where)


class _Padding(NamedTuple):
    """Which of the tokens are real: `length` int32 [1], `mask` float32 [n, 1], `bias` float32 [n],
    0 or −1e9; `repeated` int32 [n] has the last real position in the place of padding."""

    length: GraphTensor
    mask: GraphTensor
    bias: GraphTensor
    repeated: GraphTensor


@dataclass
class _GraphCopy:
    """A copy of one subgraph with known shapes; `tensors` are those of it by their old index."""

    source: _SourceModel
    writer: Writer
    graph: Graph
    old: Any
    tensors: dict[int, GraphTensor]
    padding: _Padding | None = None

    def run(self, *, pads: bool) -> None:
        """Copies the operators in their order; with `pads`, the input may have padding."""
        for operator in self._live_operators(pads):
            name, version = self.source.stored.operators[operator.opcodeIndex]
            if name in _NOT_COPIED or operator.builtinOptions2 is not None:
                raise ConversionError(
                    "has an operator that cannot look past padding",
                    where=self.source.where,
                    found=name,
                    fix="use a bundle of --lowering loop",
                )
            if name == "SHAPE" and self.padding is not None:
                self.tensors[operator.outputs[0]] = self.padding.length
            elif name == "CUMSUM" and self.padding is not None:
                count = self._shape_like(operator, 0)
                self.tensors[operator.outputs[0]] = self.graph.constant(
                    "positions", np.arange(prod(count), dtype=np.int32)
                )
            else:
                self._copy(operator, name, version)
            if pads and self.padding is None and name == "RESHAPE":
                flat = operator.outputs[0]
                self.tensors[flat] = self._look_past_padding(self.tensors[flat])

    def _live_operators(self, pads: bool) -> list[Any]:
        """The operators that an output depends on, without those that count the open axis."""
        needed = set(self.old.outputs)
        live = []
        for operator in reversed(self.old.operators):
            if needed.isdisjoint(operator.outputs):
                continue
            live.append(operator)
            counts = self.source.stored.name(operator) in ("SHAPE", "CUMSUM")
            if not (pads and counts):
                needed.update(operator.inputs)
        return live[::-1]

    def _look_past_padding(self, ids: GraphTensor) -> GraphTensor:
        """The ids int32 [n] with 0 in the place of padding; sets `padding`."""
        length = real_length(ids, above=PADDING_ID)
        ids = op.elementwise("MAXIMUM", ids, self.graph.ints(0))
        real = padded_flow(ids, length, ids).padding
        if real is None:
            raise ValueError("a padded flow has its padding")
        one = self.graph.constant("one", np.ones(1, np.float32))
        hidden = op.elementwise("SUB", op.reshape(real.mask, ids.shape), one)
        bias = op.multiply(hidden, self.graph.constant("masked", np.asarray([-MASKED])))
        self.padding = _Padding(length, real.mask, bias, real.repeated)
        return ids

    def _copy(self, operator: Any, name: str, version: int) -> None:
        inputs = [None if index < 0 else self._tensor(index) for index in operator.inputs]
        if name == "WHILE":
            self._copy_loop(operator, [tensor for tensor in inputs if tensor is not None])
            return
        if self.padding is not None and self._is_padded(operator, name, inputs):
            inputs, pooled = self._without_padding(name, inputs, self.padding)
            if pooled is not None:
                self.tensors[operator.outputs[0]] = pooled
                return
        tensors = [tensor for tensor in inputs if tensor is not None]
        numbers = self._numbers(operator.inputs[1]) if len(operator.inputs) > 1 else ()
        if name == "STRIDED_SLICE":
            numbers = self._sliced(operator, tensors[0])
        if name == "CONV_2D":
            numbers = (operator.builtinOptions.strideW,)
        shapes = [
            _output_shape(name, tensors, self._declared(index), numbers)
            for index in operator.outputs
        ]
        if any(size < 1 for shape in shapes for size in shape):
            raise ConversionError(
                "has windows that do not fit into a text of this length",
                where=self.source.where,
                found=name,
                fix="choose a longer length",
            )
        outputs = [
            self._new_tensor(index, shape)
            for index, shape in zip(operator.outputs, shapes, strict=True)
        ]
        self.graph.operator(name, version, inputs, outputs, operator.builtinOptions)

    def _is_padded(self, operator: Any, name: str, inputs: Sequence[GraphTensor | None]) -> bool:
        """Whether the operator reads over the open axis of tokens, where padding would count.

        Behind windows that change the number of rows a graph looks past padding by itself
        (`lower.recurrent.window_layers`), so an open axis of another size is left alone.
        """
        first = inputs[0]
        if first is None or self.padding is None:
            return False
        shape = tuple(
            size if stated == -1 else None
            for stated, size in zip(self._declared(operator.inputs[0]), first.shape, strict=True)
        )
        tokens = self.padding.bias.shape[0]
        if name == "SOFTMAX":
            return shape[-1:] == (tokens,)
        if name in ("MEAN", "REDUCE_MAX"):
            return any(shape[axis] == tokens for axis in self._numbers(operator.inputs[1]))
        return name == "PAD" and shape[:1] == (tokens,)

    @staticmethod
    def _without_padding(
        name: str, inputs: list[GraphTensor | None], padding: _Padding
    ) -> tuple[list[GraphTensor | None], GraphTensor | None]:
        """The inputs of an operator without the padding, or what it gives."""
        values, *others = inputs
        if values is None:
            raise ValueError(f"{name} has no input")
        if name == "SOFTMAX":
            return [op.add(values, padding.bias)], None
        if name == "REDUCE_MAX":
            return [op.gather(values, padding.repeated), *others], None
        real = op.multiply(values, padding.mask)
        if name == "PAD":
            return [real, *others], None
        total = op.reduce("SUM", real, 0)
        return [], op.elementwise("DIV", total, op.cast(padding.length, "float32"))

    def _copy_loop(self, operator: Any, start: list[GraphTensor]) -> None:
        options = operator.builtinOptions
        graphs = []
        for number in (options.condSubgraphIndex, options.bodySubgraphIndex):
            old = self.source.stored.graphs[number]
            graph = self.writer.graph(text_of(old.name))
            inner = {
                index: graph.input(_name(old.tensors[index]), t.dtype, t.shape, t.quantization)
                for index, t in zip(old.inputs, start, strict=True)
            }
            copy = _GraphCopy(self.source, self.writer, graph, old, inner)
            copy.run(pads=False)
            graph.outputs = [copy.tensors[index] for index in old.outputs]
            graphs.append(graph)
        self.tensors.update(
            zip(operator.outputs, op.loop(graphs[0], graphs[1], start), strict=True)
        )

    def _tensor(self, index: int) -> GraphTensor:
        if index not in self.tensors:  # a constant: what is computed comes from an operator
            old = self.old.tensors[index]
            buffer = self.writer.buffer(self.source.stored.constant(old))
            self.tensors[index] = self._new_tensor(index, tuple(old.shape), buffer=buffer)
        return self.tensors[index]

    def _new_tensor(self, index: int, shape: Shape, *, buffer: int = 0) -> GraphTensor:
        old = self.old.tensors[index]
        tensor = self.graph.tensor(
            _name(old), dtype_of(old), shape, quantization_of(old), buffer=buffer
        )
        self.tensors[index] = tensor
        return tensor

    def _declared(self, index: int) -> Shape:
        return shape_of(self.old.tensors[index])

    def _numbers(self, index: int) -> tuple[int, ...]:
        """A constant int32 tensor: axes, an order, amounts; empty for any other."""
        old = self.old.tensors[index]
        if index < 0 or dtype_of(old) != "int32":
            return ()
        return tuple(np.frombuffer(self.source.stored.constant(old), np.int32).tolist())

    def _sliced(self, operator: Any, x: GraphTensor) -> tuple[int, ...]:
        """The size of each axis of a slice of `x`."""
        options = operator.builtinOptions
        ends = [self._numbers(index) for index in operator.inputs[1:]]
        sizes = []
        for axis, (begin, end, stride) in enumerate(zip(*ends, strict=True)):
            first = None if options.beginMask >> axis & 1 else begin
            last = None if options.endMask >> axis & 1 else end
            sizes.append(len(range(x.shape[axis])[first:last:stride]))
        return tuple(sizes)

    def _shape_like(self, operator: Any, number: int) -> Shape:
        """The shape of an operator's input that was not copied: a vector of all tokens."""
        shape = self._declared(operator.inputs[number])
        if self.padding is None or shape != (-1,):
            raise ValueError(f"a sum over {shape}")
        return self.padding.bias.shape


ShapeRule = Callable[[Sequence[GraphTensor], Shape, Sequence[int]], Shape]
"""The shape of an output from the inputs, its declared shape and a constant second input."""


def _output_shape(
    name: str, inputs: Sequence[GraphTensor], declared: Shape, numbers: Sequence[int]
) -> Shape:
    """The shape of an output whose open axes (−1 in `declared`) follow from the inputs."""
    if -1 not in declared:
        return declared
    return _SHAPE_RULES.get(name, _of_first)(inputs, declared, numbers)


def _of_first(inputs: Sequence[GraphTensor], declared: Shape, _: Sequence[int]) -> Shape:
    """The open axes are those of the first input."""
    sizes = (*inputs[0].shape, *declared[len(inputs[0].shape) :])
    pairs = zip(declared, sizes, strict=True)
    return tuple(size if stated == -1 else stated for stated, size in pairs)


def _summed(inputs: Sequence[GraphTensor], declared: Shape, axes: Sequence[int]) -> Shape:
    """The open axes are those of the first input that are left."""
    shape = inputs[0].shape
    if len(declared) == len(shape):
        return _of_first(inputs, declared, axes)
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _by_element(inputs: Sequence[GraphTensor], _: Shape, __: Sequence[int]) -> Shape:
    return tuple(np.broadcast_shapes(*(tensor.shape for tensor in inputs)))


def _reshaped(inputs: Sequence[GraphTensor], declared: Shape, _: Sequence[int]) -> Shape:
    rest = prod(inputs[0].shape) // prod(size for size in declared if size != -1)
    return tuple(rest if size == -1 else size for size in declared)


def _convolved(inputs: Sequence[GraphTensor], declared: Shape, strides: Sequence[int]) -> Shape:
    """[1, 1, n, in] by filters [out, 1, size, in] without padding: [1, 1, rows, out]."""
    image, filters = (tensor.shape for tensor in inputs[:2])
    return (*declared[:2], (image[2] - filters[2]) // strides[0] + 1, declared[3])


def _multiplied(inputs: Sequence[GraphTensor], declared: Shape, _: Sequence[int]) -> Shape:
    """[…, i, k] times […, k, j] or […, j, k]: the open axes of […, i, j]."""
    a, b = (tensor.shape for tensor in inputs)
    rows = a[-2] if declared[-2] == -1 else declared[-2]
    columns = b[-2] if b[-1] == a[-1] else b[-1]
    return (*declared[:-2], rows, columns if declared[-1] == -1 else declared[-1])


_SHAPE_RULES: dict[str, ShapeRule] = {
    **dict.fromkeys(
        ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "LESS", "EQUAL"), _by_element
    ),
    "RESHAPE": _reshaped,
    "SUM": _summed,
    "BATCH_MATMUL": _multiplied,
    "TRANSPOSE": lambda inputs, _, order: tuple(inputs[0].shape[axis] for axis in order),
    "PAD": lambda inputs, declared, amounts: (
        inputs[0].shape[0] + sum(amounts[:2]),
        *declared[1:],
    ),
    "STRIDED_SLICE": lambda _, __, sizes: tuple(sizes),
    "CONV_2D": _convolved,
    "GATHER": lambda inputs, _, __: (*inputs[1].shape, *inputs[0].shape[1:]),
    "SPLIT": lambda inputs, declared, numbers: _of_first(inputs[1:], declared, numbers),
}


def _name(tensor: Any) -> str:
    return text_of(tensor.name).rpartition(":")[0] or text_of(tensor.name)
