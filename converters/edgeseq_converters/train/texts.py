"""A data set as the numbers that are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.data.examples import Dataset, PartName, TextExample
from edgeseq.errors import DataError
from edgeseq_converters.train.batching import FloatArray


class Part(msgspec.Struct, frozen=True):
    """One part of a data set: token ids of each text, `labels` [texts] as class numbers, and
    `scores` [texts], standardized by the training part, or None where an example has none."""

    ids: list[list[int]]
    labels: npt.NDArray[np.int64]
    scores: FloatArray | None


def encode_texts(tokenizer_json: str, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids with the special tokens; a longer text is cut before its last special token.

    Raises `DataError` when a text gives no token at all.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
    for text, ids in zip(texts, encoded, strict=True):
        if not ids:
            raise DataError("a text has no token", where="train", found=repr(text[:40]))
    return encoded


def encode_part(data: Dataset, part: PartName, tokenizer_json: str, max_tokens: int) -> Part:
    """The part called `part` (see `encode_texts`)."""
    examples: Sequence[TextExample] = getattr(data, part)
    numbers = {label: number for number, label in enumerate(data.labels)}
    return Part(
        ids=encode_texts(tokenizer_json, [example.text for example in examples], max_tokens),
        labels=np.array([numbers[example.label] for example in examples], dtype=np.int64),
        scores=_standard_scores(data, examples),
    )


def _standard_scores(data: Dataset, examples: Sequence[TextExample]) -> FloatArray | None:
    known = [example.score for example in data.train if example.score is not None]
    here = [example.score for example in examples if example.score is not None]
    if len(known) != len(data.train) or len(here) != len(examples) or np.std(known) == 0:
        return None
    scores: FloatArray = np.array(here, dtype=np.float32)
    return (scores - np.float32(np.mean(known))) / np.float32(np.std(known))


def one_hot(labels: npt.NDArray[np.int64], count: int) -> FloatArray:
    """Class numbers [texts] → [texts, count] with a 1 at each class."""
    return np.eye(count, dtype=np.float32)[labels]
