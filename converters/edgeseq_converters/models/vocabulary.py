"""Trims a vocabulary to what a corpus uses.

An LSTM's size is mostly its embedding table, and a corpus of short texts uses less than half of
a BERT's 30,522 pieces. WordPiece takes the longest known piece at each place of a word (Wu et al.
2016, "Google's Neural Machine Translation System", section 4.1; the greedy form is BERT's), so a
word whose pieces are all kept is split exactly as before. All single characters stay as well,
at the start and inside of words, and the bytes of a BPE that falls back to them: whatever the full
vocabulary could spell, the trimmed one can, and nothing new becomes the unknown token. A vocabulary
of whole words (WordLevel) has no pieces: a word that is dropped becomes the unknown one. BPE builds
its pieces out of others by a list of merges (Sennrich et al. 2016), which is cut with it:
`edgeseq_converters.models.byte_pairs`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from edgeseq.errors import CheckpointError
from edgeseq.formats.codec import decode_json
from edgeseq_converters.models.byte_pairs import merges_within, pieces_of_merges

_BYTE = re.compile("<0x[0-9A-F]{2}>")
"""A piece of a BPE with `byte_fallback`: a byte of a character that it has no piece for."""


class TrimmedVocabulary(msgspec.Struct, frozen=True):
    """A trimmed tokenizer.

    `kept_ids` [new size] holds the old id of each new id, ascending: `table[kept_ids]` is the
    trimmed embedding table.
    """

    tokenizer_json: str
    kept_ids: npt.NDArray[np.int64]


def trim_pieces(
    tokenizer_json: str, texts: Sequence[str], *, min_count: int = 1
) -> TrimmedVocabulary:
    """Keeps special tokens, single characters, and pieces that occur `min_count` times in `texts`.

    Raises `CheckpointError` when the tokenizer is neither WordPiece nor BPE or its ids have gaps.
    """
    content = decode_json(tokenizer_json, dict[str, Any])
    vocabulary, _specials = _vocabulary(content, ("WordPiece", "BPE"))
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise CheckpointError(
            "ids are not numbered without gaps",
            where="tokenizer.json",
            found=f"{len(vocabulary)} pieces up to id {max(vocabulary.values())}",
            fix="train without trimming (min_piece_count = 0)",
        )
    return _trim(tokenizer_json, content, texts, min_count=min_count, always=())


def trim_tokenizer(
    tokenizer_json: str, texts: Sequence[str], *, min_count: int = 1, always: Collection[int] = ()
) -> TrimmedVocabulary:
    """Keeps special tokens, single characters of a WordPiece or BPE, what occurs `min_count` times
    in `texts` with what its merges need, and `always`.

    Ids may have gaps (rows of a table that no token has); those are dropped unless in `always`.
    With a `min_count` of 1 every text of `texts` is encoded with the trimmed tokenizer and gives
    the same tokens as before. Raises `CheckpointError` for a kind that is neither WordPiece nor BPE
    nor WordLevel, for ids that two tokens share, and when a text is encoded otherwise.
    """
    try:
        content = decode_json(tokenizer_json, dict[str, Any])
        vocabulary, _specials = _vocabulary(content, ("WordPiece", "BPE", "WordLevel"))
        Tokenizer.from_str(tokenizer_json)
    except CheckpointError:
        raise
    except Exception as failure:
        # The tokenizers library knows no other class for what it cannot read.
        raise CheckpointError(
            "is not a tokenizer", where="tokenizer.json", found=failure, fix="check the file"
        ) from failure
    if len(set(vocabulary.values())) < len(vocabulary) or min(vocabulary.values(), default=0) < 0:
        raise CheckpointError("two tokens share an id", where="tokenizer.json")
    trimmed = _trim(tokenizer_json, content, texts, min_count=min_count, always=always)
    if min_count <= 1:
        _check_same(tokenizer_json, trimmed, texts)
    return trimmed


def changed_tokenization(before_json: str, after_json: str, texts: Sequence[str]) -> int:
    """How many of `texts` two tokenizers split into other tokens."""
    before, after = (
        _plain(tokenizer_json).encode_batch(list(texts))
        for tokenizer_json in (before_json, after_json)
    )
    return sum(old.tokens != new.tokens for old, new in zip(before, after, strict=True))


def renumbered_marks(marks: Sequence[int], kept_ids: npt.NDArray[np.int64]) -> tuple[int, ...]:
    """The new ids of tokens that are kept; `kept_ids` as `TrimmedVocabulary` has them.

    Raises `CheckpointError` for one that is gone: added tokens are never trimmed away.
    """
    positions = np.searchsorted(kept_ids, marks)
    for mark, position in zip(marks, positions, strict=True):
        if position >= len(kept_ids) or kept_ids[position] != mark:
            raise CheckpointError(
                "a marker is not an added token", where="tokenizer.json", found=f"id {mark}"
            )
    return tuple(int(position) for position in positions)


def _trim(
    tokenizer_json: str,
    content: dict[str, Any],
    texts: Sequence[str],
    *,
    min_count: int,
    always: Collection[int],
) -> TrimmedVocabulary:
    vocabulary, specials = _vocabulary(content, (content["model"]["type"],))
    counts: Counter[int] = Counter()
    for encoding in _plain(tokenizer_json).encode_batch(list(texts)):
        counts.update(encoding.ids)
    # A WordLevel's single characters are words like any other.
    pieces = content["model"]["type"] != "WordLevel"
    prefix = content["model"].get("continuing_subword_prefix") or ""
    spells_bytes = content["model"].get("byte_fallback", False)
    entries = {
        old
        for piece, old in vocabulary.items()
        if counts[old] >= min_count
        or piece in specials
        or (pieces and len(piece.removeprefix(prefix)) == 1)
        or (spells_bytes and _BYTE.fullmatch(piece))
    }
    if content["model"]["type"] == "BPE":
        names = {piece for piece, old in vocabulary.items() if old in entries}
        needed = pieces_of_merges(content["model"], names - specials)
        entries |= {vocabulary[piece] for piece in needed}
    ascending = sorted(entries | set(always))
    new_ids = {old: new for new, old in enumerate(ascending)}
    return TrimmedVocabulary(
        tokenizer_json=_rewrite(content, vocabulary, new_ids),
        kept_ids=np.asarray(ascending, dtype=np.int64),
    )


def _plain(tokenizer_json: str) -> Any:
    """The tokenizer without truncation and padding."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _check_same(tokenizer_json: str, trimmed: TrimmedVocabulary, texts: Sequence[str]) -> None:
    """Every text has the same tokens under both, and the new ids are the old ones' places."""
    before = _plain(tokenizer_json).encode_batch(list(texts))
    after = _plain(trimmed.tokenizer_json).encode_batch(list(texts))
    for text, old, new in zip(texts, before, after, strict=True):
        if old.tokens != new.tokens or trimmed.kept_ids[new.ids].tolist() != old.ids:
            raise CheckpointError(
                "splits a text otherwise when it is trimmed",
                where="tokenizer.json",
                found=repr(text[:60]),
                fix="convert without --trim-vocab",
            )


def _vocabulary(
    content: Mapping[str, Any], kinds: Sequence[str]
) -> tuple[dict[str, int], set[str]]:
    """Piece → id with the added tokens in it, and the pieces that must stay."""
    model = content.get("model") or {}
    if model.get("type") not in kinds:
        raise CheckpointError(
            f"only a {' or '.join(kinds)} vocabulary can be trimmed",
            where="tokenizer.json",
            found=model.get("type"),
            expected=" or ".join(kinds),
            fix="do without trimming (train with min_piece_count = 0)",
        )
    added = content.get("added_tokens") or []
    vocabulary = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    return vocabulary, {model.get("unk_token"), *(token["content"] for token in added)}


def _rewrite(
    content: dict[str, Any], vocabulary: Mapping[str, int], new_ids: Mapping[int, int]
) -> str:
    """The tokenizer with new ids wherever it holds ids."""
    model = dict(content["model"])
    model["vocab"] = {
        piece: new_ids[vocabulary[piece]]
        for piece in model["vocab"]
        if vocabulary[piece] in new_ids
    }
    if model["type"] == "BPE":
        model["merges"] = merges_within(model)
    added = [{**token, "id": new_ids[token["id"]]} for token in content.get("added_tokens") or []]
    trimmed = {
        **content,
        "model": model,
        "added_tokens": added,
        "post_processor": _renumber(content.get("post_processor"), new_ids),
        "truncation": None,
        "padding": None,
    }
    return msgspec.json.encode(trimmed).decode()


def _renumber(processor: Any, new_ids: Mapping[int, int]) -> Any:
    """A post-processor with new ids: the kinds that tokenizers has and BERT's family uses."""
    if processor is None:
        return None
    kind = processor["type"]
    if kind == "TemplateProcessing":
        tokens = {
            name: {**token, "ids": _renumbered(token["ids"], new_ids)}
            for name, token in processor["special_tokens"].items()
        }
        return {**processor, "special_tokens": tokens}
    if kind in ("BertProcessing", "RobertaProcessing"):
        ends = {
            end: [processor[end][0], *_renumbered([processor[end][1]], new_ids)]
            for end in ("sep", "cls")
        }
        return {**processor, **ends}
    if kind == "Sequence":
        parts = [_renumber(part, new_ids) for part in processor["processors"]]
        return {**processor, "processors": parts}
    if kind == "ByteLevel":
        return processor
    raise CheckpointError(
        "unknown post-processor", where="tokenizer.json", found=kind, fix="train without trimming"
    )


def _renumbered(old_ids: Iterable[int], new_ids: Mapping[int, int]) -> list[int]:
    """New ids of special tokens; one that is not an added token has been dropped."""
    try:
        return [new_ids[old] for old in old_ids]
    except KeyError as missing:
        raise CheckpointError(
            "the post-processor uses an id that is not a special token",
            where="tokenizer.json",
            found=missing.args[0],
            fix="train without trimming (min_piece_count = 0)",
        ) from missing
