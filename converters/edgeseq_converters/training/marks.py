"""Texts with marked mentions: marker tokens, their embeddings, and examples in both roles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError, DataError
from edgeseq.formats.codec import decode_json
from edgeseq.tasks import mentions
from edgeseq.tasks.examples import Dataset, SplitName, TextExample
from edgeseq.tasks.mentions import LABELS, MARKERS, OPENING, check_marked
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.models.encoder import WORD_TABLE
from edgeseq_converters.models.huggingface.checkpoint import BertCheckpoint
from edgeseq_converters.training.texts import EncodedSplit

_SWAPPED = {"[A]": "[B]", "[/A]": "[/B]", "[B]": "[A]", "[/B]": "[/A]"}
SWAPPED_LABELS = (1, 0, 2)
"""The classes A, B and neither after the names have swapped their roles."""


def with_markers(tokenizer_json: str, rows: int) -> str:
    """The tokenizer with `MARKERS` as special tokens, numbered from `rows` on (the table's rows).

    One that has them is returned unchanged. Raises `CheckpointError` for a tokenizer without a
    vocabulary table (Unigram).
    """
    content = decode_json(tokenizer_json, dict[str, Any])
    vocabulary = content["model"].get("vocab")
    if not isinstance(vocabulary, dict):
        raise CheckpointError(
            "markers cannot be added to this tokenizer",
            where="tokenizer.json",
            found=content["model"].get("type"),
            expected="WordPiece, BPE or WordLevel",
            fix="choose another checkpoint",
        )
    if all(marker in vocabulary for marker in MARKERS):
        return tokenizer_json
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": rows + number, "content": marker, **flags, "special": True}
        for number, marker in enumerate(MARKERS)
    ]
    content["model"]["vocab"] = vocabulary | {token["content"]: token["id"] for token in added}
    content["added_tokens"] = [*(content.get("added_tokens") or []), *added]
    return msgspec.json.encode(content).decode()


def marker_ids(tokenizer_json: str) -> tuple[int, ...]:
    """The ids of `MARKERS`; raises `CheckpointError` when the tokenizer lacks one."""
    ids = mentions.marker_ids(Tokenizer.from_str(tokenizer_json))
    if ids is None:
        raise CheckpointError("has no markers of mentions", where="tokenizer.json")
    return ids


def marks_of(tokenizer_json: str) -> tuple[int, ...]:
    """The ids of `OPENING`: what a configuration with pooling `markers` names."""
    return marker_ids(tokenizer_json)[:: len(MARKERS) // len(OPENING)]


def add_markers(tokenizer_json: str, table: FloatArray, *, seed: int = 0) -> tuple[str, FloatArray]:
    """Tokenizer and table [V, E] with markers, whose rows are random with the table's mean and
    deviation; both unchanged where the tokenizer has markers."""
    marked = with_markers(tokenizer_json, len(table))
    if marked == tokenizer_json:
        return tokenizer_json, table
    rows = np.random.default_rng(seed).normal(
        table.mean(axis=0), table.std(axis=0), (len(MARKERS), table.shape[1])
    )
    return marked, np.concatenate([table, rows.astype(np.float32)])


def mark_checkpoint(checkpoint: BertCheckpoint, *, seed: int = 0) -> BertCheckpoint:
    """The checkpoint with markers (`add_markers`) and pooling `markers`."""
    table = np.asarray(checkpoint.weights[WORD_TABLE], np.float32)
    tokenizer_json, table = add_markers(checkpoint.tokenizer_json, table, seed=seed)
    config = msgspec.structs.replace(
        checkpoint.config,
        vocabulary_size=len(table),
        pooling="markers",
        marker_ids=marks_of(tokenizer_json),
    )
    weights = checkpoint.weights | {WORD_TABLE: table}
    return BertCheckpoint(config, weights, tokenizer_json, checkpoint.identity)


def encode_marked_split(
    data: Dataset[Any], part: SplitName, tokenizer_json: str, max_tokens: int
) -> EncodedSplit:
    """The split called `part` (see `encode_marked`).

    Raises `DataError` as that does, and when the labels are not `mentions.LABELS`.
    """
    if data.labels != LABELS:
        raise DataError(
            "a pronoun means A, B or neither",
            where=data.name,
            found=", ".join(data.labels),
            expected=", ".join(LABELS),
            fix="name the labels so",
        )
    examples: Sequence[TextExample] = getattr(data, part)
    texts = [example.text for example in examples]
    labels = [data.labels.index(example.label) for example in examples]
    return EncodedSplit(
        ids=encode_marked(tokenizer_json, texts, max_tokens),
        labels=np.array(labels, dtype=np.int64),
        scores=None,
    )


def encode_marked(tokenizer_json: str, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of marked texts; a longer one keeps what is nearest to its mentions.

    Raises `DataError` for a text whose mentions are not marked, each once, or too long.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for text in texts:
        check_marked(text, where=repr(text[:40]))
    return [list(mentions.encode_marked(tokenizer, text, max_tokens).ids) for text in texts]


def with_swapped(split: EncodedSplit, markers: Sequence[int]) -> EncodedSplit:
    """The examples, and behind them each once more with the names' roles swapped.

    A model that has seen both has no reason to prefer the name that comes first.
    """
    ids_by_marker = dict(zip(MARKERS, markers, strict=True))
    swaps = {ids_by_marker[first]: ids_by_marker[second] for first, second in _SWAPPED.items()}
    swapped = [[swaps.get(token, token) for token in ids] for ids in split.ids]
    labels = np.asarray(SWAPPED_LABELS)[split.labels]
    return EncodedSplit(
        ids=[*split.ids, *swapped], labels=np.concatenate([split.labels, labels]), scores=None
    )


def with_swapped_targets(targets: FloatArray) -> FloatArray:
    """Targets [texts, 3] and behind them those of the same texts with the roles swapped."""
    return np.concatenate([targets, targets[:, list(SWAPPED_LABELS)]])
