"""The special tokens that a tokenizer puts around a text."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer

_WORD = "a"


def ids_around_text(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids that a tokenizer of the library `tokenizers`, which must not truncate, puts before
    each text and behind it; () for none."""
    # As an added token the word has an id in every vocabulary, and no normalizer sees it.
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_tokens([AddedToken(_WORD, normalized=False)])
    encoded = copy.encode([_WORD], is_pretokenized=True)
    begin = encoded.special_tokens_mask.index(0)
    return tuple(encoded.ids[:begin]), tuple(encoded.ids[begin + 1 :])
