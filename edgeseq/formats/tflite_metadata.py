"""TFLite Metadata: what a .tflite file says about its inputs, outputs, tokenizer and labels.

MediaPipe Tasks reads it. It is a flatbuffer (identifier M001, metadata_schema.fbs 1.5.0) in the
metadata entry `TFLITE_METADATA`; the files that it names are a stored ZIP behind the model.
Written here with the field numbers of that schema, as far as text models need them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Sequence
from typing import Any, Literal

import flatbuffers
import msgspec
from flatbuffers.number_types import Int8Flags, UOffsetTFlags
from flatbuffers.table import Table

ENTRY = "TFLITE_METADATA"
IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.2.1"
"""The schema's version that came with RegexTokenizerOptions."""

FileKind = Literal["labels", "vocabulary", "other"]
TokenizerKind = Literal["BertTokenizer", "SentencePieceTokenizer", "RegexTokenizer"]
_FILE_KINDS: dict[FileKind, int] = {"other": 0, "labels": 2, "vocabulary": 5}
_TOKENIZERS: dict[TokenizerKind, int] = {
    "BertTokenizer": 4,
    "SentencePieceTokenizer": 5,
    "RegexTokenizer": 6,
}
# Field numbers in the schema's tables.
_MODEL_NAME, _MODEL_DESCRIPTION, _SUBGRAPHS, _PARSER_VERSION = 0, 1, 3, 7
_GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_UNITS = 2, 3, 5
_TENSOR_NAME, _TENSOR_UNITS, _TENSOR_FILES = 0, 4, 6
_FILE_NAME, _FILE_TYPE = 0, 2
_OPTIONS_TYPE, _OPTIONS = 0, 1
_VOCABULARY_FIELD = {4: 0, 5: 1, 6: 1}
_DELIMITER = 0
_LIST_LIMIT = 10_000
_MALFORMED = (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError)


class MetadataFile(msgspec.Struct, frozen=True):
    """A file that the metadata names."""

    name: str
    kind: FileKind


class TokenizerMetadata(msgspec.Struct, frozen=True):
    """How a text becomes the inputs; `delimiter` is RegexTokenizer's, in RE2's syntax."""

    kind: TokenizerKind
    vocabulary: str
    delimiter: str | None = None


class TfliteMetadata(msgspec.Struct, frozen=True):
    """The metadata of a model of one graph; `inputs` and `outputs` are the names of its tensors."""

    name: str
    description: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tokenizer: TokenizerMetadata | None = None
    files: tuple[MetadataFile, ...] = ()
    min_parser_version: str | None = MIN_PARSER_VERSION


def encode_metadata(metadata: TfliteMetadata) -> bytes:
    """The content of the entry `TFLITE_METADATA`.

    A BertTokenizer belongs to the graph, a RegexTokenizer to its first input, where MediaPipe looks
    for them; files that are labels belong to the first output.
    """
    builder = flatbuffers.Builder(1024)
    tokenizer = metadata.tokenizer
    units = [] if tokenizer is None else [_encode_unit(builder, tokenizer)]
    unit_vector = _vector(builder, units)
    by_graph = tokenizer is not None and tokenizer.kind == "BertTokenizer"
    labels = [file for file in metadata.files if file.kind == "labels"]
    label_vector = _vector(builder, [_encode_file(builder, file) for file in labels])
    inputs = [
        _encode_table(
            builder,
            {_TENSOR_NAME: name}
            | ({} if by_graph or number or not units else {_TENSOR_UNITS: unit_vector}),
        )
        for number, name in enumerate(metadata.inputs)
    ]
    outputs = [
        _encode_table(
            builder,
            {_TENSOR_NAME: name} | ({} if number or not labels else {_TENSOR_FILES: label_vector}),
        )
        for number, name in enumerate(metadata.outputs)
    ]
    graph_fields: dict[int, Any] = {
        _GRAPH_INPUTS: _vector(builder, inputs),
        _GRAPH_OUTPUTS: _vector(builder, outputs),
    }
    if by_graph:
        graph_fields[_GRAPH_UNITS] = unit_vector
    graphs = _vector(builder, [_encode_table(builder, graph_fields)])
    fields = {
        _MODEL_NAME: metadata.name,
        _MODEL_DESCRIPTION: metadata.description,
        _SUBGRAPHS: graphs,
    }
    if metadata.min_parser_version is not None:
        fields[_PARSER_VERSION] = metadata.min_parser_version
    builder.Finish(_encode_table(builder, fields), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _encode_unit(builder: Any, tokenizer: TokenizerMetadata) -> int:
    number = _TOKENIZERS[tokenizer.kind]
    file = _encode_file(builder, MetadataFile(tokenizer.vocabulary, "vocabulary"))
    options: dict[int, Any] = {_VOCABULARY_FIELD[number]: _vector(builder, [file])}
    if tokenizer.delimiter is not None:
        options[_DELIMITER] = tokenizer.delimiter
    encoded = _encode_table(builder, options)
    return _encode_table(builder, {_OPTIONS: encoded}, numbers={_OPTIONS_TYPE: number})


def _encode_file(builder: Any, file: MetadataFile) -> int:
    return _encode_table(
        builder, {_FILE_NAME: file.name}, numbers={_FILE_TYPE: _FILE_KINDS[file.kind]}
    )


def _encode_table(
    builder: Any, fields: dict[int, Any], numbers: dict[int, int] | None = None
) -> int:
    """A table: `fields` are texts, or offsets of what is in the buffer; `numbers` are bytes."""
    offsets = {
        field: builder.CreateString(value) if isinstance(value, str) else value
        for field, value in fields.items()
    }
    builder.StartObject(max((*offsets, *(numbers or {}))) + 1)
    for field, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    for field, number in (numbers or {}).items():
        builder.PrependInt8Slot(field, number, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def with_files(model: bytes, files: dict[str, str]) -> bytes:
    """The model with text files behind it, as a stored ZIP of a fixed date."""
    content = io.BytesIO(model)
    content.seek(0, io.SEEK_END)
    with zipfile.ZipFile(content, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text.encode("utf-8"))
    return content.getvalue()


def decode_metadata(content: bytes) -> TfliteMetadata:
    """Reads the entry `TFLITE_METADATA`; raises `ValueError` where it is damaged."""
    try:
        if content[4:8] != IDENTIFIER:
            raise ValueError(f"metadata identifier {content[4:8]!r}")
        return _Decoder().metadata(Table(content, struct.unpack_from("<I", content)[0]))
    except _MALFORMED as failure:
        raise ValueError(f"TFLite metadata: {failure}") from failure


class _Decoder:
    """Reads the fields that a text model has; the rest is passed over."""

    def __init__(self) -> None:
        self._left = _LIST_LIMIT  # a damaged file can list one table without end

    def metadata(self, model: Table) -> TfliteMetadata:
        graphs = self._tables(model, _SUBGRAPHS)
        inputs = self._tables(graphs[0], _GRAPH_INPUTS) if graphs else []
        outputs = self._tables(graphs[0], _GRAPH_OUTPUTS) if graphs else []
        units = self._tables(graphs[0], _GRAPH_UNITS) if graphs else []
        for tensor in inputs:
            units += self._tables(tensor, _TENSOR_UNITS)
        files = [
            self._file(file)
            for tensor in (*inputs, *outputs)
            for file in self._tables(tensor, _TENSOR_FILES)
        ]
        return TfliteMetadata(
            name=_text(model, _MODEL_NAME) or "",
            description=_text(model, _MODEL_DESCRIPTION) or "",
            inputs=tuple(_text(tensor, _TENSOR_NAME) or "" for tensor in inputs),
            outputs=tuple(_text(tensor, _TENSOR_NAME) or "" for tensor in outputs),
            tokenizer=next(filter(None, map(self._tokenizer, units)), None),
            files=tuple(files),
            min_parser_version=_text(model, _PARSER_VERSION),
        )

    def _tokenizer(self, unit: Table) -> TokenizerMetadata | None:
        number = _byte(unit, _OPTIONS_TYPE)
        kind = next((name for name, value in _TOKENIZERS.items() if value == number), None)
        offset = unit.Offset(4 + 2 * _OPTIONS)
        if kind is None or not offset:
            return None
        options = Table(unit.Bytes, unit.Indirect(unit.Pos + offset))
        files = self._tables(options, _VOCABULARY_FIELD[number])
        delimiter = _text(options, _DELIMITER) if kind == "RegexTokenizer" else None
        return TokenizerMetadata(kind, self._file(files[0]).name if files else "", delimiter)

    def _file(self, file: Table) -> MetadataFile:
        number = _byte(file, _FILE_TYPE)
        kinds = (name for name, value in _FILE_KINDS.items() if value == number)
        return MetadataFile(_text(file, _FILE_NAME) or "", next(kinds, "other"))

    def _tables(self, table: Table, field: int) -> list[Table]:
        offset = table.Offset(4 + 2 * field)
        if not offset:
            return []
        length, start = table.VectorLen(offset), table.Vector(offset)
        self._left -= length
        if self._left < 0:
            raise ValueError("more entries than a model has")
        return [Table(table.Bytes, table.Indirect(start + 4 * number)) for number in range(length)]


def _text(table: Table, field: int) -> str | None:
    offset = table.Offset(4 + 2 * field)
    if not offset:
        return None
    start = table.Pos + offset + table.Get(UOffsetTFlags, table.Pos + offset)
    length = table.Get(UOffsetTFlags, start)
    content = bytes(table.Bytes[start + 4 : start + 4 + length])
    if len(content) != length:
        raise ValueError("a text reaches beyond the end")
    return content.decode("utf-8")


def _byte(table: Table, field: int) -> int:
    offset = table.Offset(4 + 2 * field)
    return int(table.Get(Int8Flags, table.Pos + offset)) if offset else 0
