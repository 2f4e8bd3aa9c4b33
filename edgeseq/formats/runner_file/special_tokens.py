"""Added tokens, which are taken out of a text before it is split, and those around a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from edgeseq.formats.runner_file.tokenizer_steps import TextArea
from edgeseq.formats.runner_file.unsupported import UnsupportedTokenizerError

MAX_ADDED_TOKENS = 4096
SINGLE_WORD, STRIP_LEFT, STRIP_RIGHT = 1, 2, 4

AddedRecord = tuple[int, int, int, int]
"""Offset and size of the text that is looked for, the id, flags."""
Ids = tuple[int, ...]


class AddedTokens(NamedTuple):
    """Those looked for in the text as it comes, and in the normalized one; sorted by the first
    byte, longer ones first: at a place the longest that fits is taken."""

    raw: list[AddedRecord]
    normalized: list[AddedRecord]

    @property
    def look_around(self) -> bool:
        """Whether one depends on the characters next to it."""
        return any(record[3] for record in (*self.raw, *self.normalized))


def added_tokens(
    tokens: Sequence[Mapping[str, Any]], normalizer: Any, texts: TextArea
) -> AddedTokens:
    """The added tokens of a `tokenizer.json`; `normalizer` is the library's, or None."""
    if len(tokens) > MAX_ADDED_TOKENS:
        raise UnsupportedTokenizerError(
            "too many added tokens", found=len(tokens), expected=MAX_ADDED_TOKENS
        )
    groups: tuple[dict[str, Mapping[str, Any]], ...] = ({}, {})
    for token in tokens:
        pattern = token["content"]
        if token["normalized"] and normalizer is not None:
            pattern = normalizer.normalize_str(pattern)
        if not pattern:
            raise UnsupportedTokenizerError(
                "nothing is left of an added token when it is normalized", found=token["content"]
            )
        group = groups[token["normalized"]]
        if pattern in group:
            raise UnsupportedTokenizerError(
                "two added tokens are the same text", found=repr(pattern)
            )
        group[pattern] = token
    return AddedTokens(*(_records(group, texts) for group in groups))


def _records(group: Mapping[str, Mapping[str, Any]], texts: TextArea) -> list[AddedRecord]:
    def order(pattern: str) -> tuple[int, int, bytes]:
        encoded = pattern.encode()
        return encoded[0], -len(encoded), encoded

    records = []
    for pattern in sorted(group, key=order):
        token = group[pattern]
        flags = (
            SINGLE_WORD * token["single_word"]
            + STRIP_LEFT * token["lstrip"]
            + STRIP_RIGHT * token["rstrip"]
        )
        records.append((*texts.add(pattern), token["id"], flags))
    return records


def template_ids(content: Mapping[str, Any] | None) -> tuple[Ids, Ids]:
    """The special tokens before and behind each text, of a post-processor."""
    if content is None or content["type"] == "ByteLevel":
        return (), ()
    kind = content["type"]
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (content["cls"][1],), (content["sep"][1],)
    if kind == "TemplateProcessing":
        return _template(content)
    if kind == "Sequence":
        parts = [template_ids(part) for part in content["processors"]]
        adding = [part for part in parts if part != ((), ())]
        if len(adding) > 1:
            raise UnsupportedTokenizerError("two post-processors add tokens")
        return adding[0] if adding else ((), ())
    raise UnsupportedTokenizerError(
        "the native runner does not have this post-processor",
        found=kind,
        expected="TemplateProcessing, BertProcessing, RobertaProcessing, ByteLevel, Sequence",
    )


def _template(content: Mapping[str, Any]) -> tuple[Ids, Ids]:
    sides: list[list[int]] = [[]]
    for part in content["single"]:
        if "SpecialToken" in part:
            sides[-1] += content["special_tokens"][part["SpecialToken"]["id"]]["ids"]
        elif part["Sequence"]["id"] == "A" and len(sides) == 1:
            sides.append([])
        else:
            raise UnsupportedTokenizerError("a template takes more than one text")
    if len(sides) != 2:
        raise UnsupportedTokenizerError("a template leaves the text out")
    return tuple(sides[0]), tuple(sides[1])
