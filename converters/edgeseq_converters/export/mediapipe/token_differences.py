"""The texts that MediaPipe's tokenizer reads otherwise than the model's does, and why."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from edgeseq.errors import RefusedError
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.units import format_share
from edgeseq_converters.export.mediapipe.tokenizers import (
    TOKENIZER_FIX,
    BertTokenizer,
    RegexTokenizer,
)

MAX_DIFFERENT_SHARE = 0.1
"""Of the texts; with more, the scores that were measured say little about the app's."""


class TokenDifferences(NamedTuple):
    """Of `n_texts`, those that MediaPipe reads differently, by what is in them; `different` are
    these texts."""

    n_texts: int
    different: tuple[str, ...]
    reasons: dict[str, int]

    def check_few(self, where: Path) -> None:
        """Raises `RefusedError` for more than `MAX_DIFFERENT_SHARE` of the texts."""
        if len(self.different) > MAX_DIFFERENT_SHARE * self.n_texts:
            raise RefusedError(
                f"too many texts: {self.describe()}",
                where=where,
                expected=f"at most {MAX_DIFFERENT_SHARE:.0%}",
                fix=TOKENIZER_FIX,
            )

    def describe(self) -> str:
        """One line for the user."""
        if not self.different:
            return f"MediaPipe's tokenizer reads all of {self.n_texts:,} texts as the model's does"
        share = format_share(len(self.different) / self.n_texts)
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items())
        return (
            f"MediaPipe's tokenizer reads {len(self.different):,} of {self.n_texts:,} texts "
            f"({share}) differently, and may give them another answer: {reasons}"
        )


def compare_tokenizers(
    reference: TextTokenizer,
    tokenizer: BertTokenizer | RegexTokenizer,
    texts: Iterable[str],
    max_tokens: int,
) -> TokenDifferences:
    """The texts whose tokens differ between the model's tokenizer and MediaPipe's."""
    different, reasons = [], Counter[str]()
    n_texts = 0
    for text in texts:
        n_texts += 1
        if tokenizer.token_ids(text, max_tokens) != reference.token_ids(text):
            different.append(text)
            reasons[_reason(text)] += 1
    return TokenDifferences(n_texts, tuple(different), dict(reasons.most_common()))


def _reason(text: str) -> str:
    """What in a text may be read differently, the likeliest first."""
    if any(unicodedata.combining(char) for char in unicodedata.normalize("NFD", text)):
        return "with accents, which it keeps"
    if any(char.isupper() and not char.isascii() for char in text):
        return "with capital letters beyond A–Z, which it does not lower-case"
    if not text.isascii():
        return "with other characters beyond ASCII"
    return "for their words or signs"
