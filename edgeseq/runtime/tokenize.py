"""From a text to token ids, as an application on the device would do it.

Of a text that is too long the beginning is taken; where the tokenizer has markers of mentions
(`edgeseq.tasks.mentions`), what lies nearest to these.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from edgeseq.errors import DataError
from edgeseq.tasks.mentions import encode_marked, marker_ids


class Encoded(NamedTuple):
    """A text's token ids; `unknown_only`: none of them stands for a known piece of the text."""

    token_ids: list[int]
    truncated: bool
    unknown_only: bool


class TextEncoder:
    """A bundle's tokenizer, cutting at `max_tokens` (special tokens included)."""

    def __init__(self, path: str, max_tokens: int) -> None:
        """Loads `tokenizer.json`; check it with `check_tokenizer` first, errors are not caught."""
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(path)
        self._tokenizer.no_padding()
        self._max_tokens: int | None = max_tokens
        self._marked = marker_ids(self._tokenizer) is not None
        self._cut_at_limit()
        unknown = getattr(self._tokenizer.model, "unk_token", None)
        self._unknown_id = None if unknown is None else self._tokenizer.token_to_id(unknown)

    def token_ids(self, text: str) -> list[int]:
        """The ids of one text, never empty: what is timed as tokenizing."""
        if self._marked:
            return self._around_mentions(text).token_ids
        return self._tokenizer.encode(text).ids or self._nothing()

    def plain_tokenizer(self) -> Any:
        """The tokenizer itself, set to cut nothing: for texts that come as words."""
        self._tokenizer.no_truncation()
        self._max_tokens = None
        return self._tokenizer

    def word(self, token_id: int) -> str:
        """The token of an id."""
        return str(self._tokenizer.id_to_token(token_id))

    def unknown_in(self, token_ids: list[int]) -> int:
        """How many of the tokens are the unknown one."""
        return sum(one == self._unknown_id for one in token_ids)

    def _cut_at_limit(self) -> None:
        if self._marked or self._max_tokens is None:
            self._tokenizer.no_truncation()
        else:
            self._tokenizer.enable_truncation(max_length=self._max_tokens)

    def _around_mentions(self, text: str) -> Encoded:
        try:
            found = encode_marked(self._tokenizer, text, self._max_tokens or 0)
        except DataError:  # mentions that are themselves too long: the beginning, and it is said
            ids = self._tokenizer.encode(text).ids
            return Encoded(ids[: self._max_tokens], truncated=True, unknown_only=False)
        return Encoded(list(found.ids) or self._nothing(), bool(found.left_out), unknown_only=False)

    def _nothing(self) -> list[int]:
        # A tokenizer without special tokens makes nothing of an empty text, and no model takes
        # an input of length 0; it reads as one unknown token.
        return [self._unknown_id or 0]

    def encode(self, text: str) -> Encoded:
        """The same ids with what happened to the text."""
        if self._marked:
            return self._around_mentions(text)
        encoding = self._tokenizer.encode(text)
        known = any(
            not special and token_id != self._unknown_id
            for token_id, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        )
        return Encoded(encoding.ids or self._nothing(), bool(encoding.overflowing), not known)

    def exactly(self, text: str, tokens: int) -> list[int] | None:
        """The ids of `text` cut to exactly `tokens`; None when it is shorter."""
        self._tokenizer.enable_truncation(max_length=tokens)
        try:
            token_ids: list[int] = self._tokenizer.encode(text).ids
        finally:
            self._cut_at_limit()
        return token_ids if len(token_ids) == tokens else None
