"""What a BPE vocabulary needs of its merges.

BPE starts from single characters (bytes, in a byte-level one) and joins the pair of neighbours that
comes first in its list of merges, over and over (Sennrich et al. 2016, "Neural Machine Translation
of Rare Words with Subword Units", section 3.2). A word is split as before if every merge that took
place in it is kept: at each step the first of all merges is still the first of those that are left.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

from edgeseq.errors import CheckpointError

Pair = tuple[str, str]


def pieces_of_merges(model: Mapping[str, Any], pieces: Collection[str]) -> set[str]:
    """`pieces` of a BPE `model` (that of a tokenizer.json) and all that they are merged from.

    Merges within a piece do not depend on the word around it: none that crosses its ends took
    place. Raises `CheckpointError` for a BPE that marks the ends or the insides of words in its
    pieces.
    """
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise CheckpointError(
                "a BPE that marks its pieces' places in words cannot be trimmed",
                where="tokenizer.json",
                found=f"{key} {model[key]}",
                fix="do without trimming",
            )
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    needed = set(pieces)
    for piece in pieces:
        needed |= _merged_from(piece, ranks)
    return needed & set(model["vocab"])


def merges_within(model: Mapping[str, Any]) -> list[Any]:
    """The merges of a BPE `model` whose parts and result are in its vocabulary, as they are
    written."""
    vocabulary = model["vocab"]
    kept = []
    for merge in model["merges"]:
        left, right = _pair(merge)
        if left in vocabulary and right in vocabulary and left + right in vocabulary:
            kept.append(merge)
    return kept


def _merged_from(piece: str, ranks: Mapping[Pair, int]) -> set[str]:
    """The pieces that a piece is merged from, step by step."""
    symbols, seen = list(piece), set[str]()
    while len(symbols) > 1:
        pairs = list(itertools.pairwise(symbols))
        first = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        at = pairs.index(first)
        seen.update(first)
        symbols[at : at + 2] = ["".join(first)]
    return seen


def _pair(merge: Any) -> Pair:
    """A merge as tokenizers writes it: "a b" before version 0.20, and ["a", "b"] since."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not (isinstance(parts, list) and len(parts) == 2):
        raise CheckpointError(
            "has a merge that is not of two pieces", where="tokenizer.json", found=repr(merge)[:60]
        )
    return parts[0], parts[1]
