"""Writes TFLite Metadata (`edgeseq.formats.tflite_metadata`) and the files that it names."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers

from edgeseq.formats.tflite_metadata import (
    DELIMITER,
    FILE_KINDS,
    FILE_NAME,
    FILE_TYPE,
    GRAPH_INPUTS,
    GRAPH_OUTPUTS,
    GRAPH_UNITS,
    IDENTIFIER,
    MODEL_DESCRIPTION,
    MODEL_NAME,
    OPTIONS,
    OPTIONS_TYPE,
    PARSER_VERSION,
    SUBGRAPHS,
    TENSOR_FILES,
    TENSOR_NAME,
    TENSOR_UNITS,
    TOKENIZERS,
    VOCABULARY_FIELD,
    MetadataFile,
    TfliteMetadata,
    TokenizerMetadata,
)


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
    of_input = {TENSOR_UNITS: unit_vector} if units and not by_graph else {}
    of_output = {TENSOR_FILES: label_vector} if labels else {}
    graph_fields: dict[int, Any] = {
        GRAPH_INPUTS: _encode_tensors(builder, metadata.inputs, of_input),
        GRAPH_OUTPUTS: _encode_tensors(builder, metadata.outputs, of_output),
    }
    if by_graph:
        graph_fields[GRAPH_UNITS] = unit_vector
    graphs = _vector(builder, [_encode_table(builder, graph_fields)])
    fields = {
        MODEL_NAME: metadata.name,
        MODEL_DESCRIPTION: metadata.description,
        SUBGRAPHS: graphs,
    }
    if metadata.min_parser_version is not None:
        fields[PARSER_VERSION] = metadata.min_parser_version
    builder.Finish(_encode_table(builder, fields), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _encode_tensors(builder: Any, names: Sequence[str], of_first: dict[int, int]) -> int:
    """A vector of tensors by their names; `of_first` are further fields of the first one."""
    tables = [
        _encode_table(builder, {TENSOR_NAME: name} | ({} if number else of_first))
        for number, name in enumerate(names)
    ]
    return _vector(builder, tables)


def _encode_unit(builder: Any, tokenizer: TokenizerMetadata) -> int:
    number = TOKENIZERS[tokenizer.kind]
    file = _encode_file(builder, MetadataFile(tokenizer.vocabulary, "vocabulary"))
    options: dict[int, Any] = {VOCABULARY_FIELD[number]: _vector(builder, [file])}
    if tokenizer.delimiter is not None:
        options[DELIMITER] = tokenizer.delimiter
    encoded = _encode_table(builder, options)
    return _encode_table(builder, {OPTIONS: encoded}, numbers={OPTIONS_TYPE: number})


def _encode_file(builder: Any, file: MetadataFile) -> int:
    return _encode_table(
        builder, {FILE_NAME: file.name}, numbers={FILE_TYPE: FILE_KINDS[file.kind]}
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
