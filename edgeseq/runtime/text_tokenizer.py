"""From a text to token ids, as an application on the device would do it.

A text that is too long is cut at its end, or at its beginning where the model's padding says so,
and is filled up to the model's length where the model was trained so; where the tokenizer has
markers of mentions (`edgeseq.tasks.mentions`), what lies nearest to these remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from edgeseq.errors import DataError
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.tasks.mentions import encode_marked, marker_ids

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edgeseq.formats.bundle import BundleFiles

UNLIMITED_TOKENS = 1 << 30
_DIRECTIONS = {"pre": "left", "post": "right"}


class TokenizedText(NamedTuple):
    """A text's token ids; `unknown_only`: none of them stands for a known piece of the text."""

    token_ids: list[int]
    truncated: bool
    unknown_only: bool


class TextTokenizer:
    """A model's tokenizer, truncating at `max_tokens` (special tokens included) and padding."""

    def __init__(
        self, tokenizer: Tokenizer, max_tokens: int, padding: Padding = TEXT_ALONE
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._max_tokens = max_tokens
        self._padding = padding
        self.has_markers = marker_ids(tokenizer) is not None
        self._enable_truncation()
        unknown = getattr(tokenizer.model, "unk_token", None)
        self._unknown_id = None if unknown is None else tokenizer.token_to_id(unknown)

    @classmethod
    def from_file(cls, path: str, max_tokens: int, padding: Padding = TEXT_ALONE) -> TextTokenizer:
        """Loads `tokenizer.json`; check it with `check_tokenizer` first, errors are not caught."""
        return cls(_tokenizer_class().from_file(path), max_tokens, padding)

    @classmethod
    def from_json(
        cls, content: str, max_tokens: int, padding: Padding = TEXT_ALONE
    ) -> TextTokenizer:
        """Parses the content of `tokenizer.json`; errors are not caught."""
        return cls(_tokenizer_class().from_str(content), max_tokens, padding)

    @classmethod
    def of_bundle(cls, bundle: BundleFiles) -> TextTokenizer:
        """The tokenizer of a bundle, as `from_file` loads it."""
        manifest = bundle.manifest
        return cls.from_file(str(bundle.tokenizer_path), manifest.max_tokens, manifest.padding)

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def vocabulary(self) -> dict[str, int]:
        """The id of each token."""
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return vocabulary

    def token_ids(self, text: str) -> list[int]:
        """The ids of one text, never empty: what is timed as tokenizing."""
        if self.has_markers:
            return self._encode_around_mentions(text).token_ids
        return self._tokenizer.encode(text).ids or self._empty_text()

    def token_ids_strict(self, text: str) -> list[int]:
        """As `token_ids`; raises `DataError` when the mentions of a marked text are too long."""
        if self.has_markers:
            ids = encode_marked(self._tokenizer, text, self._max_tokens).ids
            return list(ids) or self._empty_text()
        return self.token_ids(text)

    def disable_truncation(self) -> Tokenizer:
        """Stops truncating; returns the library's tokenizer, for texts that come as words."""
        self._max_tokens = UNLIMITED_TOKENS
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        tokenizer: Tokenizer = self._tokenizer
        return tokenizer

    def token(self, token_id: int) -> str:
        """The token of an id."""
        return str(self._tokenizer.id_to_token(token_id))

    def count_unknown(self, token_ids: list[int]) -> int:
        """How many of the tokens are the unknown one."""
        return sum(token_id == self._unknown_id for token_id in token_ids)

    def encode(self, text: str) -> TokenizedText:
        """The same ids as `token_ids`, and what was lost of the text."""
        if self.has_markers:
            return self._encode_around_mentions(text)
        encoding = self._tokenizer.encode(text)
        known = any(
            not special and token_id != self._unknown_id
            for token_id, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        )
        ids = encoding.ids or self._empty_text()
        return TokenizedText(ids, bool(encoding.overflowing), not known)

    def encode_exact(self, text: str, tokens: int) -> list[int] | None:
        """The ids of `text` truncated to exactly `tokens`, not padded; None when it is shorter."""
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length=tokens)
        try:
            token_ids: list[int] = self._tokenizer.encode(text).ids
        finally:
            self._enable_truncation()
        return token_ids if len(token_ids) == tokens else None

    def _enable_truncation(self) -> None:
        padding = self._padding
        self._tokenizer.no_padding()
        if self.has_markers or self._max_tokens == UNLIMITED_TOKENS:
            self._tokenizer.no_truncation()
            return
        self._tokenizer.enable_truncation(
            max_length=self._max_tokens, direction=_DIRECTIONS[padding.truncation]
        )
        if padding.is_padded:
            self._tokenizer.enable_padding(
                length=self._max_tokens,
                direction=_DIRECTIONS[padding.side],
                pad_id=padding.pad_id,
                pad_token=self.token(padding.pad_id),
            )

    def _encode_around_mentions(self, text: str) -> TokenizedText:
        try:
            shortened = encode_marked(self._tokenizer, text, self._max_tokens)
        except DataError:  # the mentions alone are too long: the beginning of the text is used
            ids = self._tokenizer.encode(text).ids
            return TokenizedText(ids[: self._max_tokens], truncated=True, unknown_only=False)
        ids = list(shortened.ids) or self._empty_text()
        return TokenizedText(ids, bool(shortened.num_dropped), unknown_only=False)

    def _empty_text(self) -> list[int]:
        # A tokenizer without special tokens returns nothing for an empty text, and no model takes
        # an input of length 0; it reads as one unknown token.
        return [self._unknown_id or 0]


def _tokenizer_class() -> Any:
    # Not loaded where only other machines measure: the parent of a bench stays small.
    from tokenizers import Tokenizer  # noqa: PLC0415 - see above

    return Tokenizer
