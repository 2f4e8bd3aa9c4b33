"""Models that answer with the very tokens that MediaPipe gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeseq.errors import DeviceError
from edgeseq.formats.tflite_metadata import ENTRY, MetadataFile, TfliteMetadata
from edgeseq.runtime.mediapipe.classify import MediaPipeAnswer, classify_texts
from edgeseq_converters.convert.tflite import operators as op
from edgeseq_converters.convert.tflite.model import Writer
from edgeseq_converters.export.mediapipe.graph import INPUTS, OUTPUT
from edgeseq_converters.export.mediapipe.metadata_writer import encode_metadata, with_files
from edgeseq_converters.export.mediapipe.tokenizers import BertTokenizer, RegexTokenizer


def classify(path: Path, texts: Sequence[str]) -> MediaPipeAnswer:
    """MediaPipe's answer; skips the test where its package cannot be used."""
    try:
        return classify_texts(path, texts)
    except DeviceError as error:
        pytest.skip(str(error))


def mediapipe_token_ids(
    tokenizer: BertTokenizer | RegexTokenizer, texts: Sequence[str], length: int, path: Path
) -> list[list[int]]:
    """What MediaPipe's own tokenizer makes of each text, `length` ids with the padding."""
    inputs = INPUTS if isinstance(tokenizer, BertTokenizer) else INPUTS[:1]
    writer = Writer("a probe")
    graph = writer.graph("main")
    tensors = [graph.input(name, "int32", (1, length)) for name in inputs]
    ids = tensors[0]
    for unused in tensors[1:]:
        ids = op.add(ids, op.elementwise("SUB", unused, unused))
    graph.outputs = [op.cast(ids, "float32")]
    metadata = TfliteMetadata(
        "probe", "", inputs, (OUTPUT,), tokenizer.metadata, (MetadataFile("labels.txt", "labels"),)
    )
    writer.add_metadata(ENTRY, encode_metadata(metadata))
    labels = "".join(f"{number}\n" for number in range(length))
    files = {tokenizer.metadata.vocabulary: tokenizer.vocabulary_text, "labels.txt": labels}
    path.write_bytes(with_files(writer.pack(), files))
    return [[round(score) for score in row] for row in classify(path, texts).scores]
