"""A .tflite model while it is being written: graphs, tensors, constants, signatures.

Format: TensorFlow Lite's schema.fbs, version 3, through the object classes that the LiteRT
package generates from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgeseq_converters.convert.tflite.quantization import Quantization, pack_int4
from edgeseq_converters.convert.tflite.stored_model import (
    TYPES,
    Dtype,
    StoredModel,
    dtype_of,
    quantization_of,
    shape_of,
    text_of,
)

ALIGNMENT_BYTES = 16
"""The schema's `force_align` of a buffer: a runtime uses weights where they lie in the file."""
SCHEMA_VERSION = 3
_CODE_LIMIT = 127  # higher operator codes do not fit the old one-byte field


@dataclass(frozen=True, eq=False)
class GraphTensor:
    """A tensor of one graph; −1 in `shape` is an axis left open. `index` counts in its graph."""

    graph: Graph
    index: int
    dtype: Dtype
    shape: tuple[int, ...]
    quantization: Quantization | None = None


class _BufferEntry(schema.BufferT):  # type: ignore[misc, unused-ignore]
    """A buffer aligned to 16 bytes, at the file offset where it is packed first."""

    content: bytes = b""
    packed_offset: Any = None

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the name is the generated class's
        if self.packed_offset is None:
            self.packed_offset = self._write(builder)
        return self.packed_offset

    def _write(self, builder: Any) -> Any:
        vector = None
        if self.content:
            builder.StartVector(1, len(self.content), ALIGNMENT_BYTES)
            builder.head = builder.Head() - len(self.content)
            end = builder.Head() + len(self.content)
            builder.Bytes[builder.Head() : end] = self.content
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


class Writer:
    """A model in the making. Equal constants are stored once, whichever graphs use them."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._graphs: list[Graph] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._contents: list[bytes] = [b""]  # buffer 0 is empty by convention: computed tensors
        self._places: dict[bytes, int] = {}
        self._read: set[int] = set()
        self._signatures: list[Any] = []
        self._metadata: list[Any] = []

    @classmethod
    def of_content(cls, content: bytes) -> Writer:
        """The model of a file that this class wrote, to be added to and packed again; without its
        signatures, whose tensors may change."""
        model = StoredModel(content)
        writer = cls(model.description)
        writer._codes = {operator: number for number, operator in enumerate(model.operators)}
        writer._contents = model.buffers
        for number, part in enumerate(writer._contents[1:], start=1):
            writer._places[hashlib.sha256(part).digest()] = number
        for entry in model.graphs:
            writer.graph(text_of(entry.name)).take_over(entry)
        return writer

    def main_graph(self) -> Graph:
        """The first graph."""
        return self._graphs[0]

    def add_metadata(self, name: str, content: bytes) -> None:
        """Stores `content` in the file under a name, for programs that look for it."""
        self._metadata.append(schema.MetadataT(name=name, buffer=self.buffer(content)))

    def operator_name(self, index: int) -> str:
        """The name of the operator with this index among the model's operators."""
        return list(self._codes)[index][0]

    def graph(self, name: str) -> Graph:
        """A new subgraph; the first one is the model's main graph."""
        graph = Graph(self, name, len(self._graphs))
        self._graphs.append(graph)
        return graph

    def add_signature(
        self, key: str, inputs: dict[str, GraphTensor], outputs: dict[str, GraphTensor]
    ) -> None:
        """Names a graph's inputs and outputs: the interface that callers bind to."""

        def named(tensors: dict[str, GraphTensor]) -> list[Any]:
            maps = []
            for name, tensor in tensors.items():
                maps.append(schema.TensorMapT(name=name, tensorIndex=tensor.index))
            return maps

        graph = next(iter(inputs.values())).graph
        signature = schema.SignatureDefT(
            inputs=named(inputs),
            outputs=named(outputs),
            signatureKey=key,
            subgraphIndex=graph.number,
        )
        self._signatures.append(signature)

    def code(self, name: str, version: int) -> int:
        """The index of the operator `name` in this version among the model's operators."""
        return self._codes.setdefault((name, version), len(self._codes))

    def buffer(self, content: bytes) -> int:
        """The index of a buffer with this content."""
        key = hashlib.sha256(content).digest()
        if key not in self._places:
            self._places[key] = len(self._contents)
            self._contents.append(content)
        return self._places[key]

    def read_from_file(self, index: int) -> None:
        """Says that an operator reads this buffer from the file each time the model answers."""
        self._read.add(index)

    def pack(self) -> bytes:
        """The file's content.

        Buffers that are read at each inference come first, the smallest foremost, and behind them
        what XNNPACK packs for itself when the model is loaded, in the order in which it does: so
        the pages that a process must keep lie side by side, and none holds half a matrix that
        are not read any more.
        """
        model = schema.ModelT(version=SCHEMA_VERSION, description=self._description)
        numbers = [
            (getattr(schema.BuiltinOperator, name), version) for name, version in self._codes
        ]
        model.operatorCodes = [
            schema.OperatorCodeT(min(number, _CODE_LIMIT), None, version, number)
            for number, version in numbers
        ]
        model.buffers = []
        for content in self._contents:
            buffer = _BufferEntry()
            buffer.content = content
            model.buffers.append(buffer)
        model.subgraphs = [graph.pack() for graph in self._graphs]
        model.signatureDefs = self._signatures
        model.metadata = self._metadata or None
        builder = flatbuffers.Builder(sum(map(len, self._contents)) + (1 << 16))
        # A flatbuffer is built from its end to its beginning.
        packed = sorted(set(range(len(self._contents))) - self._read, reverse=True)
        read = sorted(self._read, key=lambda index: len(self._contents[index]), reverse=True)
        for index in (*packed, *read):
            model.buffers[index].Pack(builder)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


class Graph:
    """One subgraph: tensors and the operators between them, in the order of their running."""

    def __init__(self, writer: Writer, name: str, number: int) -> None:
        self.writer = writer
        self.number = number
        self.inputs: list[GraphTensor] = []
        self.outputs: list[GraphTensor] = []
        self._name = name
        self._tensors: list[Any] = []
        self._constants: dict[Any, GraphTensor] = {}
        self._operators: list[Any] = []

    def input(
        self,
        name: str,
        dtype: Dtype,
        shape: Sequence[int],
        quantization: Quantization | None = None,
    ) -> GraphTensor:
        """One more input of this graph."""
        tensor = self.tensor(name, dtype, shape, quantization)
        self.inputs.append(tensor)
        return tensor

    def constant(
        self,
        name: str,
        values: npt.NDArray[Any],
        quantization: Quantization | None = None,
        *,
        int4: bool = False,
    ) -> GraphTensor:
        """A tensor whose content is in the file; its dtype is that of `values`, or with `int4`
        two of them (int8, −8..7) are packed into a byte. The same constant asked for again is the
        same tensor."""
        dtype: Any = "int4" if int4 else values.dtype.name
        content = pack_int4(values) if int4 else np.ascontiguousarray(values).tobytes()
        index = self.writer.buffer(content)
        key = (index, dtype, values.shape, quantization)
        if key not in self._constants:
            tensor = self.tensor(name, dtype, values.shape, quantization, buffer=index)
            self._constants[key] = tensor
        return self._constants[key]

    def ints(self, *values: int) -> GraphTensor:
        """A constant int32 [n]: axes, paddings, shapes."""
        return self.constant("ints", np.asarray(values, np.int32))

    def variable(self, name: str, dtype: Dtype, shape: Sequence[int], q: Any = None) -> GraphTensor:
        """A tensor that keeps its content between calls (an LSTM's state), zero after a reset."""
        return self.tensor(name, dtype, shape, q, variable=True)

    def tensor(
        self,
        name: str,
        dtype: Dtype,
        shape: Sequence[int],
        quantization: Quantization | None = None,
        *,
        buffer: int = 0,
        variable: bool = False,
    ) -> GraphTensor:
        """A tensor that an operator will write, or (with `buffer`) a constant."""
        sizes = tuple(int(size) for size in shape)
        entry = schema.TensorT(
            shape=[max(size, 1) for size in sizes] if -1 in sizes else list(sizes),
            type=TYPES[dtype],
            buffer=buffer,
            name=f"{name}:{len(self._tensors)}",
            isVariable=variable,
            hasRank=True,
        )
        if -1 in sizes:
            entry.shapeSignature = list(sizes)
        if quantization is not None:
            entry.quantization = schema.QuantizationParametersT(
                scale=list(quantization.scales),
                zeroPoint=list(quantization.zero_points),
                quantizedDimension=quantization.axis,
            )
        self._tensors.append(entry)
        return GraphTensor(self, len(self._tensors) - 1, dtype, sizes, quantization)

    def operator(
        self,
        name: str,
        version: int,
        inputs: Sequence[GraphTensor | None],
        outputs: Sequence[GraphTensor],
        options: Any = None,
        *,
        intermediates: Sequence[GraphTensor] = (),
    ) -> None:
        """Adds an operator; None among the inputs is an optional one left out.

        `options` is an object of the schema's option classes (`AddOptionsT`, …).
        """
        for tensor in (*inputs, *outputs, *intermediates):
            if tensor is not None and tensor.graph is not self:
                raise ValueError(f"{name} in {self._name} is given a tensor of another graph")
        self._note_reads(name, [-1 if tensor is None else tensor.index for tensor in inputs])
        entry = schema.OperatorT(
            opcodeIndex=self.writer.code(name, version),
            inputs=[-1 if tensor is None else tensor.index for tensor in inputs],
            outputs=[tensor.index for tensor in outputs],
        )
        if intermediates:
            entry.intermediates = [tensor.index for tensor in intermediates]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            entry.builtinOptions = options
        self._operators.append(entry)

    def _note_reads(self, name: str, inputs: Iterable[int]) -> None:
        for number, index in enumerate(inputs):
            packed = name in ("FULLY_CONNECTED", "CONV_2D") and number > 0
            if index >= 0 and not packed:
                self.writer.read_from_file(self._tensors[index].buffer)

    def take_over(self, entry: Any) -> None:
        """Becomes the graph of a file, given as the schema's object."""

        def tensor(index: int) -> GraphTensor:
            stored = entry.tensors[index]
            quantization = quantization_of(stored)
            return GraphTensor(self, index, dtype_of(stored), shape_of(stored), quantization)

        self._tensors, self._operators = entry.tensors, entry.operators
        self.inputs = [tensor(int(index)) for index in entry.inputs]
        self.outputs = [tensor(int(index)) for index in entry.outputs]
        for operator in entry.operators:
            self._note_reads(self.writer.operator_name(operator.opcodeIndex), operator.inputs)

    def insert_first(self, replaced: GraphTensor, build: Callable[[], GraphTensor]) -> None:
        """Puts the operators that `build` adds before all others, which read the tensor that it
        returns in place of `replaced`."""
        others, self._operators = self._operators, []
        index = build().index
        for operator in others:
            operator.inputs = [index if it == replaced.index else it for it in operator.inputs]
        self._operators += others

    def number_inputs_first(self) -> None:
        """Gives the graph's inputs the tensor numbers 0, 1, …; other `GraphTensor`s of the graph
        than its inputs and outputs are void afterwards."""
        first = [tensor.index for tensor in self.inputs]
        order = [*first, *sorted(set(range(len(self._tensors))) - set(first))]
        numbers = {index: number for number, index in enumerate(order)} | {-1: -1}
        self._tensors = [self._tensors[index] for index in order]
        self._constants.clear()
        for operator in self._operators:
            for side in ("inputs", "outputs", "intermediates"):
                indices = getattr(operator, side)
                if indices is not None:
                    setattr(operator, side, [numbers[int(index)] for index in indices])
        self.inputs = [replace(tensor, index=numbers[tensor.index]) for tensor in self.inputs]
        self.outputs = [replace(tensor, index=numbers[tensor.index]) for tensor in self.outputs]

    def pack(self) -> Any:
        """The schema's object of this graph."""
        return schema.SubGraphT(
            tensors=self._tensors,
            inputs=[tensor.index for tensor in self.inputs],
            outputs=[tensor.index for tensor in self.outputs],
            operators=self._operators,
            name=self._name,
        )
