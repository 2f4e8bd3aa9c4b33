"""TFLite Metadata: what is written is read; damage ends in a `ValueError` and nothing else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.formats.tflite_metadata import (
    MetadataFile,
    TfliteMetadata,
    TokenizerMetadata,
    decode_metadata,
)
from edgeseq_converters.export.mediapipe.metadata_writer import encode_metadata

LABELS = (MetadataFile("labels.txt", "labels"),)
BERT = TfliteMetadata(
    name="minilm – ü",
    description="a classifier",
    inputs=("ids", "mask", "segment_ids"),
    outputs=("probability",),
    tokenizer=TokenizerMetadata("BertTokenizer", "vocab.txt"),
    files=LABELS,
)
REGEX = TfliteMetadata(
    name="lstm",
    description="",
    inputs=("ids",),
    outputs=("probability", "other"),
    tokenizer=TokenizerMetadata("RegexTokenizer", "words.txt", r"[\x{a0}\s]+"),
    files=LABELS,
)
BARE = TfliteMetadata("bare", "", (), (), None, (), None)


@pytest.mark.parametrize("metadata", [BERT, REGEX, BARE])
def test_metadata_is_read_as_it_was_written(metadata: TfliteMetadata) -> None:
    assert decode_metadata(encode_metadata(metadata)) == metadata


@given(position=st.integers(min_value=0, max_value=400), value=st.integers(0, 255))
def test_damaged_metadata_is_read_or_refused(position: int, value: int) -> None:
    content = bytearray(encode_metadata(BERT))
    content[position % len(content)] = value
    with contextlib.suppress(ValueError):
        assert isinstance(decode_metadata(bytes(content)), TfliteMetadata)


@given(st.integers(min_value=0, max_value=400))
def test_metadata_that_ends_early_is_read_or_refused(length: int) -> None:
    content = encode_metadata(REGEX)
    with contextlib.suppress(ValueError):
        assert isinstance(decode_metadata(content[: length % len(content)]), TfliteMetadata)
