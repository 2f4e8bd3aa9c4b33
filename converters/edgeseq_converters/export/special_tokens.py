"""The special tokens that a tokenizer puts around a text."""

from __future__ import annotations

from typing import Any


def ids_around_text(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer of the library `tokenizers`, which must not truncate, puts before
    each text and behind it; () for none."""
    encoded = tokenizer.encode(["a"], is_pretokenized=True)
    mask = encoded.special_tokens_mask
    begin = mask.index(0) if 0 in mask else len(mask)
    end = begin + mask[begin:].count(0)
    return tuple(encoded.ids[:begin]), tuple(encoded.ids[end:])
