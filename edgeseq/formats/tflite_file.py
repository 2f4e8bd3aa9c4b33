"""Reads a .tflite file for what is in it: operators, tensors, signatures, sizes by part.

Nothing is run, and no runtime is needed. The file is hostile until proven otherwise: every number
in it is checked before it is used, and the number of things that it may hold is bounded by its
size, so that a damaged file ends in a `BundleError` and not in a crash or an endless loop.

Format: TensorFlow Lite's schema.fbs, version 3, file identifier TFL3.
"""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from edgeseq.errors import BundleError
from edgeseq.formats.storage import check_plain_file
from edgeseq.formats.tflite_metadata import ENTRY, TfliteMetadata, decode_metadata

IDENTIFIER = b"TFL3"
_METADATA_LIMIT_BYTES = 1 << 20
_MALFORMED = (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError)


class Tensor(msgspec.Struct, frozen=True):
    """A tensor; −1 in `shape` is an open axis. `size_bytes` is its constant content (0: computed
    while running); tensors with the same `buffer` share one content."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    buffer: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements, open axes counted as 1."""
        count = 1
        for size in self.shape:
            count *= max(size, 1)
        return count


class Operator(msgspec.Struct, frozen=True):
    """One operator: a builtin's name (`FULLY_CONNECTED`), `CUSTOM:name`, or `BUILTIN:number` for
    one that the schema package does not know; −1 in `inputs` is an optional input left out."""

    name: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Subgraph(msgspec.Struct, frozen=True):
    """One subgraph; the numbers in `inputs` and `outputs` count in `tensors`."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class SignatureEntry(msgspec.Struct, frozen=True):
    """One signature: names to tensors of its subgraph."""

    key: str
    subgraph: int
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


class OperatorUse(msgspec.Struct, frozen=True):
    """How often an operator of one version occurs in a subgraph."""

    subgraph: str
    name: str
    version: int
    count: int


class Sizes(msgspec.Struct, frozen=True):
    """Bytes by part: `embedding` (tables that rows are looked up in), `weights` by dtype, `rest`
    (graph, names, metadata)."""

    total: int
    embedding: dict[str, int]
    weights: dict[str, int]
    rest: int


class TfliteFile(msgspec.Struct, frozen=True):
    """What a .tflite file holds. `min_runtime_version` is what its converter wrote, if anything,
    and `metadata` what it says of itself in TFLite Metadata."""

    size_bytes: int
    description: str
    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[SignatureEntry, ...]
    min_runtime_version: str | None
    metadata: TfliteMetadata | None = None

    def operator_uses(self) -> tuple[OperatorUse, ...]:
        """Operators with versions and counts, by subgraph, most frequent first."""
        uses = []
        for number, subgraph in enumerate(self.subgraphs):
            counts = Counter((operator.name, operator.version) for operator in subgraph.operators)
            for (name, version), count in counts.most_common():
                uses.append(OperatorUse(subgraph.name or str(number), name, version, count))
        return tuple(uses)

    def constants(self) -> Iterator[tuple[Tensor, frozenset[tuple[str, int]]]]:
        """Every constant content once, with the operators that read it and at which input."""
        first: dict[int, Tensor] = {}
        readers: dict[int, set[tuple[str, int]]] = {}
        for subgraph in self.subgraphs:
            for tensor in subgraph.tensors:
                if tensor.size_bytes:
                    first.setdefault(tensor.buffer, tensor)
            for operator in subgraph.operators:
                for index, number in enumerate(operator.inputs):
                    if number >= 0:
                        buffer = subgraph.tensors[number].buffer
                        readers.setdefault(buffer, set()).add((operator.name, index))
        for buffer, tensor in first.items():
            yield tensor, frozenset(readers.get(buffer, ()))

    def sizes(self) -> Sizes:
        """Where the file's bytes go."""
        embedding: Counter[str] = Counter()
        weights: Counter[str] = Counter()
        for tensor, readers in self.constants():
            part = embedding if is_table(tensor, readers) else weights
            part[tensor.dtype] += tensor.size_bytes
        rest = self.size_bytes - embedding.total() - weights.total()
        return Sizes(self.size_bytes, dict(embedding), dict(weights), max(rest, 0))


def is_table(tensor: Tensor, readers: frozenset[tuple[str, int]]) -> bool:
    """Whether a constant is a table of two axes whose rows are looked up."""
    lookups = {("GATHER", 0), ("EMBEDDING_LOOKUP", 1)}
    return len(tensor.shape) == 2 and not lookups.isdisjoint(readers)


def read_tflite(path: Path) -> TfliteFile:
    """Reads the file at `path` (mapped, not loaded: only what is looked at becomes resident).

    Raises `BundleError` naming the file when it is missing, empty, no .tflite, or damaged.
    """
    check_plain_file(path, error=BundleError)
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise BundleError(
                    "is empty, no runtime can load it", where=path, fix="copy or convert it again"
                )
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as failure:
        raise BundleError("cannot be read", where=path, found=failure.strerror) from failure
    return parse_tflite(content, where=path)


def parse_tflite(content: bytes | mmap.mmap, *, where: str | Path) -> TfliteFile:
    """Reads a .tflite file's content; `where` is what an error names.

    Raises `BundleError` when it is not one or is damaged.
    """
    if len(content) < 8 or content[4:8] != IDENTIFIER:
        raise BundleError(
            "is not a .tflite file that a runtime can load",
            where=where,
            found=f"file identifier {bytes(content[4:8])!r}",
            expected=repr(IDENTIFIER),
            fix="name a model that was converted to TFLite",
        )
    try:
        return _Parser(content).parse()
    except _MALFORMED as failure:
        reason = str(failure) or type(failure).__name__
        raise BundleError(
            "is damaged, no runtime can load it",
            where=where,
            found=reason,
            fix="copy or convert it again",
        ) from failure


class _Parser:
    """One pass over a model; raises one of `_MALFORMED` for whatever does not fit."""

    def __init__(self, content: bytes | mmap.mmap) -> None:
        import tflite  # noqa: PLC0415 - loads flatbuffers: only who parses a file needs it

        self._schema = tflite
        self._content = content
        # Everything that a vector lists takes at least a byte of the file, so more than this many
        # things are a loop of offsets or a made-up length.
        self._left = len(content)
        self._dtypes = _names(tflite.TensorType)
        self._builtins = _names(tflite.BuiltinOperator)

    def parse(self) -> TfliteFile:
        model = self._schema.Model.GetRootAs(self._content, 0)
        if model.Version() != 3:
            raise ValueError(f"schema version {model.Version()}, expected 3")
        codes = [
            self._code(entry)
            for entry in self._entries(model.OperatorCodesLength(), model.OperatorCodes)
        ]
        buffers = [
            self._size_bytes(entry) for entry in self._entries(model.BuffersLength(), model.Buffers)
        ]
        subgraphs = tuple(
            self._subgraph(entry, codes, buffers)
            for entry in self._entries(model.SubgraphsLength(), model.Subgraphs)
        )
        if not subgraphs:
            raise ValueError("no subgraph")
        return TfliteFile(
            size_bytes=len(self._content),
            description=_text(model.Description()),
            subgraphs=subgraphs,
            signatures=tuple(
                self._signature(entry, subgraphs)
                for entry in self._entries(model.SignatureDefsLength(), model.SignatureDefs)
            ),
            min_runtime_version=self._min_runtime_version(model),
            metadata=self._metadata(model),
        )

    def _count(self, count: int) -> int:
        self._left -= count
        if count < 0 or self._left < 0:
            raise ValueError("more entries than the file has room for")
        return count

    def _entries(self, length: int, entry: Callable[[int], Any]) -> Iterator[Any]:
        for number in range(self._count(length)):
            yield entry(number)

    def _numbers(self, length: int, entry: Callable[[int], int]) -> tuple[int, ...]:
        return tuple(int(number) for number in self._entries(length, entry))

    def _code(self, code: Any) -> tuple[str, int]:
        # Codes above 127 are in the newer field; the older one then holds 127.
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        name = self._builtins.get(number, f"BUILTIN:{number}")
        if name == "CUSTOM":
            name = f"CUSTOM:{_text(code.CustomCode())}"
        return name, code.Version()

    def _size_bytes(self, buffer: Any) -> int:
        if buffer.Offset() > 1:  # content after the flatbuffer, as in models of more than 2 GB
            if buffer.Offset() + buffer.Size() > len(self._content):
                raise ValueError("a buffer reaches beyond the end of the file")
            return int(buffer.Size())
        length = int(buffer.DataLength())
        if length:
            buffer.DataAsNumpy()  # raises when it reaches beyond the end
        return length

    def _subgraph(self, graph: Any, codes: list[tuple[str, int]], buffers: list[int]) -> Subgraph:
        tensors = tuple(
            self._tensor(entry, buffers)
            for entry in self._entries(graph.TensorsLength(), graph.Tensors)
        )
        operators = []
        for entry in self._entries(graph.OperatorsLength(), graph.Operators):
            name, version = codes[entry.OpcodeIndex()]
            inputs = self._numbers(entry.InputsLength(), entry.Inputs)
            outputs = self._numbers(entry.OutputsLength(), entry.Outputs)
            _check_numbers(inputs, len(tensors), lowest=-1)
            _check_numbers(outputs, len(tensors), lowest=0)
            operators.append(Operator(name, version, inputs, outputs))
        inputs = self._numbers(graph.InputsLength(), graph.Inputs)
        outputs = self._numbers(graph.OutputsLength(), graph.Outputs)
        _check_numbers((*inputs, *outputs), len(tensors), lowest=0)
        return Subgraph(_text(graph.Name()), tensors, tuple(operators), inputs, outputs)

    def _tensor(self, tensor: Any, buffers: list[int]) -> Tensor:
        shape = self._numbers(tensor.ShapeSignatureLength(), tensor.ShapeSignature)
        shape = shape or self._numbers(tensor.ShapeLength(), tensor.Shape)
        if any(size < -1 for size in shape):
            raise ValueError(f"a tensor of shape {list(shape[:8])}")
        dtype = self._dtypes.get(tensor.Type())
        if dtype is None:
            raise ValueError(f"unknown tensor type {tensor.Type()}")
        number = tensor.Buffer()
        return Tensor(_text(tensor.Name()), dtype, shape, number, buffers[number])

    def _signature(self, entry: Any, subgraphs: tuple[Subgraph, ...]) -> SignatureEntry:
        number = entry.SubgraphIndex()
        tensors = subgraphs[number].tensors
        named = [
            {
                _text(tensor.Name()): tensors[tensor.TensorIndex()]
                for tensor in self._entries(length, entry_of)
            }
            for length, entry_of in (
                (entry.InputsLength(), entry.Inputs),
                (entry.OutputsLength(), entry.Outputs),
            )
        ]
        return SignatureEntry(_text(entry.SignatureKey()), number, named[0], named[1])

    def _min_runtime_version(self, model: Any) -> str | None:
        content = self._metadata_content(model, "min_runtime_version", limit_bytes=64)
        return None if content is None else _text(content.rstrip(b"\0")) or None

    def _metadata(self, model: Any) -> TfliteMetadata | None:
        content = self._metadata_content(model, ENTRY, limit_bytes=_METADATA_LIMIT_BYTES)
        return None if content is None else decode_metadata(content)

    def _metadata_content(self, model: Any, name: str, *, limit_bytes: int) -> bytes | None:
        """The content of a metadata entry; None where there is none of that size in the file."""
        for entry in self._entries(model.MetadataLength(), model.Metadata):
            if _text(entry.Name()) == name:
                buffer = model.Buffers(entry.Buffer())
                if 0 < self._size_bytes(buffer) <= limit_bytes and buffer.Offset() <= 1:
                    return bytes(buffer.DataAsNumpy().tobytes())
        return None


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


def _text(value: bytes | None) -> str:
    # Strict, as the runtimes are: a name that is not UTF-8 fails when it is asked for.
    return "" if value is None else value.decode("utf-8")


def _check_numbers(numbers: tuple[int, ...], count: int, *, lowest: int) -> None:
    if any(not lowest <= number < count for number in numbers):
        raise ValueError("a tensor number beyond the subgraph's tensors")
