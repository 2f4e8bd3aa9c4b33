"""A vocabulary of whole words or characters as a `tokenizer.json`, equal to Keras' own ids.

The `tokenizers` library has a model of whole words (WordLevel) that needs an unknown token. Where
Keras drops unknown words, words are BPE tokens without merges instead: a word that is a token gives
its id, any other falls apart into characters that no token has, which give none. So that a word of
one character is not found inside of others, every token begins with a sign that the normalizer puts
in front of every word.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from edgeseq.errors import CheckpointError

_WORD_SIGN = "\N{LOWER ONE EIGHTH BLOCK}"
_ESCAPED = "^\\[]-()"
# Letters with case lie below it.
_LAST_CASED = 0x20000
_ASCII_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class WordVocabulary(msgspec.Struct, frozen=True):
    """The id of each word (or of each character, with `by_character`), and how texts become words.

    Texts are lower-cased (`lower`: as Python does, or ASCII alone), characters of `removed` are
    dropped, those of `separators` become `split`, one character at which words are divided.
    `unknown` is the word whose id all unknown ones get; None: they get none.
    """

    ids: dict[str, int]
    unknown: str | None
    lower: str | None
    removed: str = ""
    separators: str = ""
    split: str = " "
    by_character: bool = False

    def tokenizer_json(self, *, rows: int, where: Path | str) -> str:
        """The vocabulary as a `tokenizer.json`.

        Raises `CheckpointError` when ids are not those of a table of `rows`, or two words share
        one, and for letters that the library lower-cases otherwise than Python.
        """
        _check_ids(self.ids, rows, where)
        if self.unknown is not None and self.unknown not in self.ids:
            raise CheckpointError(
                "has no id for its unknown words", where=where, found=f"oov_token {self.unknown!r}"
            )
        if self.lower == "python":
            _check_lowering(self.ids, where)
        marks_words = self.unknown is None and not self.by_character
        sign = _WORD_SIGN if marks_words else ""
        vocabulary = {f"{sign}{word}": token_id for word, token_id in self.ids.items()}
        unused = set(range(max(vocabulary.values()))) - set(vocabulary.values())
        # No word can hold what words are divided at, and no character is longer than one.
        vocabulary |= {f"{self.split}[UNUSED{token_id}]": token_id for token_id in sorted(unused)}
        tokenizer = Tokenizer(self._model(vocabulary))
        tokenizer.normalizer = normalizers.Sequence(self._normalizers(marks_words=marks_words))
        if not self.by_character:
            # Not the text itself: the library for JavaScript keeps what a text is split at.
            pattern = Regex(_character_set(self.split))
            tokenizer.pre_tokenizer = pre_tokenizers.Split(pattern, "removed")
        content: str = tokenizer.to_str()
        return content

    def _model(self, vocabulary: dict[str, int]) -> Any:
        if self.unknown is not None and not self.by_character:
            return models.WordLevel(vocabulary, unk_token=self.unknown)
        return models.BPE(
            vocab=vocabulary,
            merges=[],
            unk_token=self.unknown,
            ignore_merges=not self.by_character,
        )

    def _normalizers(self, *, marks_words: bool) -> list[Any]:
        steps: list[Any] = []
        if self.lower == "python":
            steps.append(normalizers.Lowercase())
        elif self.lower == "ascii":
            steps += [normalizers.Replace(char, char.lower()) for char in _ASCII_UPPER]
        if self.removed:
            steps.append(normalizers.Replace(Regex(_character_set(self.removed)), ""))
        if self.separators:
            steps.append(normalizers.Replace(Regex(_character_set(self.separators)), self.split))
        if marks_words:
            steps.append(normalizers.Replace(self.split, self.split + _WORD_SIGN))
            steps.append(normalizers.Prepend(_WORD_SIGN))
        return steps


def _character_set(characters: str) -> str:
    """A regular expression that matches one of the characters, in every dialect."""
    escaped = ("\\" + char if char in _ESCAPED else char for char in dict.fromkeys(characters))
    return f"[{''.join(escaped)}]"


def _check_ids(ids: Mapping[str, int], rows: int, where: Path | str) -> None:
    if not ids:
        raise CheckpointError("has no words", where=where)
    if min(ids.values()) < 0 or max(ids.values()) >= rows:
        raise CheckpointError(
            "has ids that the model has no row for",
            where=where,
            found=f"{min(ids.values())} to {max(ids.values())}",
            expected=f"0 to {rows - 1}",
            fix="name the vocabulary that the model was trained with, with its num_words",
        )
    if len(set(ids.values())) < len(ids):
        raise CheckpointError("has words that share an id", where=where)


def _check_lowering(words: Iterable[str], where: Path | str) -> None:
    differing = _lowered_otherwise()
    for word in words:
        if not differing.isdisjoint(word):
            raise CheckpointError(
                "has a word with a letter that Python lower-cases otherwise than the tokenizers "
                "library (of Greek: Σ at the end of a word)",
                where=where,
                found=repr(word[:60]),
                fix="train with lower=False on texts that are in lower case",
            )


@functools.cache
def _lowered_otherwise() -> frozenset[str]:
    """The letters that Python and the library lower-case differently, and what becomes of them:
    a vocabulary without them cannot tell the difference. Σ depends on its neighbours in Python."""
    letters = [chr(code) for code in range(_LAST_CASED) if not 0xD800 <= code < 0xE000]
    letters.remove("\n")
    by_library: Sequence[str] = (
        normalizers.Lowercase().normalize_str("\n".join(letters)).split("\n")
    )
    differing = set("Σσς")
    for letter, lowered in zip(letters, by_library, strict=True):
        if letter.lower() != lowered:
            differing |= {letter, *letter.lower(), *lowered}
    return frozenset(differing)
