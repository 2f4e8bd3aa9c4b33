"""Texts with mentions marked in them: `… [A] Ada [/A] met [B] Eve [/B] when [P] she [/P] …`.

A model that predicts something about words of a text must know which ones. They are put between
special tokens of the tokenizer (Baldini Soares et al. 2019, "Matching the Blanks", entity markers),
so that a marked text is still one text: it can be stored, sent and typed like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgeseq.errors import DataError

MENTIONS = ("P", "A", "B")
"""A pronoun and the two names of which one, or neither, is meant."""
OPENING = tuple(f"[{name}]" for name in MENTIONS)
"""The tokens whose states a model with the pooling `markers` looks at, in this order."""
MARKERS = tuple(marker for name in MENTIONS for marker in (f"[{name}]", f"[/{name}]"))
"""All six tokens."""

LABELS = ("A", "B", "neither")
"""What a pronoun can mean, in the order of the class numbers."""

Span = tuple[int, int]
"""First character of a mention and the one behind its last."""


class TruncatedText(msgspec.Struct, frozen=True):
    """Token ids that fit, and how many were dropped."""

    ids: tuple[int, ...]
    num_dropped: int


def mark(text: str, spans: Mapping[str, Span]) -> str:
    """`text` with markers around the mentions; `spans` has one for each of `MENTIONS`.

    Raises `DataError` when a span is empty, lies outside of the text or overlaps another one, and
    when the text holds a marker already.
    """
    if sorted(spans) != sorted(MENTIONS):
        raise DataError("mentions are missing", found=sorted(spans), expected=sorted(MENTIONS))
    if markers := [marker for marker in MARKERS if marker in text]:
        raise DataError("the text holds a marker already", found=markers[0], fix="remove it")
    ordered = sorted((begin, end, name) for name, (begin, end) in spans.items())
    pieces = []
    done = 0
    for begin, end, name in ordered:
        if not done <= begin < end <= len(text):
            raise DataError(
                "a mention is empty, outside of the text, or overlaps another one",
                found=f"{name} at {begin} to {end}",
                expected=f"within {done} to {len(text)}",
            )
        pieces += [text[done:begin], f"[{name}] ", text[begin:end], f" [/{name}]"]
        done = end
    return "".join([*pieces, text[done:]])


def check_marked(text: str, *, where: str | None = None) -> None:
    """Raises `DataError` unless each mention is marked once, its end behind its beginning."""
    for name in MENTIONS:
        opening, closing = f"[{name}]", f"[/{name}]"
        counts = text.count(opening), text.count(closing)
        if counts != (1, 1) or text.index(opening) > text.index(closing):
            raise DataError(
                f"the mention {name} must be marked once",
                where=where,
                found=f"{opening} {counts[0]} times, {closing} {counts[1]} times",
                expected=f"{opening} … {closing}",
                fix="write for example: [A] Ada [/A] met [B] Eve [/B] when [P] she [/P] came",
            )


def marker_ids(tokenizer: Any) -> tuple[int, ...] | None:
    """The ids of `MARKERS` in a `tokenizers.Tokenizer`; None where it lacks one: then its texts
    are not marked."""
    ids = tuple(tokenizer.token_to_id(marker) for marker in MARKERS)
    return None if None in ids else ids


def encode_marked(tokenizer: Any, text: str, max_tokens: int) -> TruncatedText:
    """The ids of a marked text by a `tokenizers.Tokenizer` whose truncation is off (`shorten`)."""
    markers = marker_ids(tokenizer)
    if markers is None:
        raise DataError("the tokenizer knows no markers of mentions")
    ends = tokenizer.num_special_tokens_to_add(is_pair=False)
    return shorten(tokenizer.encode(text).ids, markers, max_tokens, ends=ends)


def shorten(
    ids: Sequence[int], markers: Sequence[int], max_tokens: int, *, ends: int = 2
) -> TruncatedText:
    """The `max_tokens` of `ids` that lie nearest to a mention, in their order.

    `markers` are the ids of `MARKERS`. The first and last of the ids (the tokenizer's own special
    tokens; `ends` of them, 0 or 2) and the mentions with their markers stay whatever happens; of
    the rest, the tokens with the fewest tokens between them and a mention stay, the earlier of
    two equally near ones. For mentions close together that is a window around them, for mentions
    far apart one around each.

    Raises `DataError` when the mentions alone are longer than `max_tokens`.
    """
    if len(ids) <= max_tokens:
        return TruncatedText(tuple(ids), 0)
    distances = _distances(ids, markers)
    if ends:
        distances[0] = distances[-1] = 0
    nearest = sorted(range(len(ids)), key=lambda position: (distances[position], position))[
        :max_tokens
    ]
    if (mentions := distances.count(0)) > max_tokens:
        raise DataError(
            "the mentions alone are longer than the model takes",
            found=f"{mentions} tokens",
            expected=f"<= {max_tokens}",
            fix="mark shorter mentions",
        )
    return TruncatedText(
        tuple(ids[position] for position in sorted(nearest)), len(ids) - max_tokens
    )


def _distances(ids: Sequence[int], markers: Sequence[int]) -> list[int]:
    """For each token how many tokens lie from it to the nearest mention; 0 within one."""
    opening, closing = set(markers[::2]), set(markers[1::2])
    inside = False
    distances = [len(ids)] * len(ids)
    for position, token in enumerate(ids):
        inside = inside or token in opening
        if inside:
            distances[position] = 0
        elif position:
            distances[position] = distances[position - 1] + 1
        inside = inside and token not in closing
    for position in range(len(ids) - 2, -1, -1):
        distances[position] = min(distances[position], distances[position + 1] + 1)
    return distances
