"""TFLite Metadata: what a .tflite file says about its inputs, outputs, tokenizer and labels.

MediaPipe Tasks reads it. It is a flatbuffer (identifier M001, metadata_schema.fbs 1.5.0) in the
metadata entry `TFLITE_METADATA`; the files that it names are a stored ZIP behind the model.
Read here with the field numbers of that schema, as far as text models need them, and without the
flatbuffers package, which a process that reads a bundle need not load; written in
`edgeseq_converters.export.mediapipe.metadata_writer`.
"""

from __future__ import annotations

import struct
from typing import Literal, NamedTuple

import msgspec

ENTRY = "TFLITE_METADATA"
IDENTIFIER = b"M001"
MIN_PARSER_VERSION = "1.2.1"
"""The schema's version that came with RegexTokenizerOptions."""

FileKind = Literal["labels", "vocabulary", "other"]
TokenizerKind = Literal["BertTokenizer", "SentencePieceTokenizer", "RegexTokenizer"]
FILE_KINDS: dict[FileKind, int] = {"other": 0, "labels": 2, "vocabulary": 5}
TOKENIZERS: dict[TokenizerKind, int] = {
    "BertTokenizer": 4,
    "SentencePieceTokenizer": 5,
    "RegexTokenizer": 6,
}
# Field numbers in the schema's tables.
MODEL_NAME, MODEL_DESCRIPTION, SUBGRAPHS, PARSER_VERSION = 0, 1, 3, 7
GRAPH_INPUTS, GRAPH_OUTPUTS, GRAPH_UNITS = 2, 3, 5
TENSOR_NAME, TENSOR_UNITS, TENSOR_FILES = 0, 4, 6
FILE_NAME, FILE_TYPE = 0, 2
OPTIONS_TYPE, OPTIONS = 0, 1
VOCABULARY_FIELD = {4: 0, 5: 1, 6: 1}
DELIMITER = 0
_LIST_LIMIT = 10_000


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


def decode_metadata(content: bytes) -> TfliteMetadata:
    """Reads the entry `TFLITE_METADATA`; raises `ValueError` where it is damaged."""
    try:
        if content[4:8] != IDENTIFIER:
            raise ValueError(f"metadata identifier {content[4:8]!r}")
        return _Decoder().metadata(_Table(content, _number(content, "<I", 0)))
    except (struct.error, IndexError, UnicodeDecodeError) as failure:
        raise ValueError(f"TFLite metadata: {failure}") from failure


class _Table(NamedTuple):
    """A table of the flatbuffer at `position`."""

    content: bytes
    position: int

    def field(self, number: int) -> int | None:
        """Where a field is; None where the table lacks it."""
        vtable = self.position - _number(self.content, "<i", self.position)
        entry = 4 + 2 * number
        if entry >= _number(self.content, "<H", vtable):
            return None
        offset = _number(self.content, "<H", vtable + entry)
        return self.position + offset if offset else None

    def target(self, position: int) -> int:
        """What the offset at `position` leads to."""
        return position + _number(self.content, "<I", position)

    def text(self, number: int) -> str | None:
        """A field that is a text."""
        position = self.field(number)
        if position is None:
            return None
        start = self.target(position)
        length = _number(self.content, "<I", start)
        text = self.content[start + 4 : start + 4 + length]
        if len(text) != length:
            raise ValueError("a text reaches beyond the end")
        return text.decode("utf-8")

    def byte(self, number: int) -> int:
        """A field that is a byte, 0 where the table lacks it."""
        position = self.field(number)
        return 0 if position is None else _number(self.content, "<b", position)


def _number(content: bytes, layout: str, position: int) -> int:
    if position < 0:  # which `struct` counts from the end
        raise IndexError("an offset before the beginning")
    number: int = struct.unpack_from(layout, content, position)[0]
    return number


class _Decoder:
    """Reads the fields that a text model has; the rest is passed over."""

    def __init__(self) -> None:
        self._left = _LIST_LIMIT  # a damaged file can list one table without end

    def metadata(self, model: _Table) -> TfliteMetadata:
        """The whole of it."""
        graphs = self._tables(model, SUBGRAPHS)
        inputs = self._tables(graphs[0], GRAPH_INPUTS) if graphs else []
        outputs = self._tables(graphs[0], GRAPH_OUTPUTS) if graphs else []
        units = self._tables(graphs[0], GRAPH_UNITS) if graphs else []
        for tensor in inputs:
            units += self._tables(tensor, TENSOR_UNITS)
        files = [
            self._file(file)
            for tensor in (*inputs, *outputs)
            for file in self._tables(tensor, TENSOR_FILES)
        ]
        return TfliteMetadata(
            name=model.text(MODEL_NAME) or "",
            description=model.text(MODEL_DESCRIPTION) or "",
            inputs=tuple(tensor.text(TENSOR_NAME) or "" for tensor in inputs),
            outputs=tuple(tensor.text(TENSOR_NAME) or "" for tensor in outputs),
            tokenizer=next(filter(None, map(self._tokenizer, units)), None),
            files=tuple(files),
            min_parser_version=model.text(PARSER_VERSION),
        )

    def _tokenizer(self, unit: _Table) -> TokenizerMetadata | None:
        number, position = unit.byte(OPTIONS_TYPE), unit.field(OPTIONS)
        kind = next((name for name, value in TOKENIZERS.items() if value == number), None)
        if kind is None or position is None:
            return None
        options = _Table(unit.content, unit.target(position))
        files = self._tables(options, VOCABULARY_FIELD[number])
        delimiter = options.text(DELIMITER) if kind == "RegexTokenizer" else None
        return TokenizerMetadata(kind, self._file(files[0]).name if files else "", delimiter)

    def _file(self, file: _Table) -> MetadataFile:
        number = file.byte(FILE_TYPE)
        kinds = (name for name, value in FILE_KINDS.items() if value == number)
        return MetadataFile(file.text(FILE_NAME) or "", next(kinds, "other"))

    def _tables(self, table: _Table, number: int) -> list[_Table]:
        position = table.field(number)
        if position is None:
            return []
        start = table.target(position)
        length = _number(table.content, "<I", start)
        self._left -= length
        if self._left < 0:
            raise ValueError("more entries than a model has")
        entries = (start + 4 + 4 * index for index in range(length))
        return [_Table(table.content, table.target(entry)) for entry in entries]
