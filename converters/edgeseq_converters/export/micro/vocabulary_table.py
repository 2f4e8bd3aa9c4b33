"""A bundle's tokenizer as a table and settings for `src/tokenizer.c`, where it is simple enough.

What a microcontroller gets is exact for texts in ASCII without special tokens in them; other texts
are counted at export.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from tokenizers import Tokenizer

from edgeseq.formats.codec import decode_json
from edgeseq.formats.runner_file import UnsupportedTokenizerError
from edgeseq.tasks.mentions import marker_ids
from edgeseq_converters.export.micro.c_text import array, c_string
from edgeseq_converters.export.special_tokens import ids_around_text

ASCII_NEUTRAL = ("NFC", "NFD", "NFKC", "NFKD", "StripAccents")
"""Normalizers that change no character of ASCII."""
_SPLITS = {
    "BertPreTokenizer": "SPLIT_PUNCTUATION",
    "Whitespace": "SPLIT_WORDS",
    "WhitespaceSplit": "SPLIT_WHITESPACE",
}
_CHARACTER_PATTERNS = ({"Regex": ""}, {"String": ""})
_NUMBERS = ("SPLIT_WHITESPACE", "SPLIT_PUNCTUATION", "SPLIT_WORDS", "SPLIT_CHARACTERS")
_UNLIMITED = 0x7FFFFFFF
_WORD_LIMIT_BYTES = 4096
"""A word is on the stack of `src/tokenizer.c` while it is looked up."""


@dataclass(frozen=True)
class VocabularyTable:
    """The settings of `src/tokenizer.c`, and the tokens sorted by their bytes."""

    tokens: dict[bytes, int]
    split: str
    piece_prefix: str | None
    lowercase: bool
    removes_controls: bool
    unknown_id: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    max_characters: int
    max_tokens: int

    @property
    def size_bytes(self) -> int:
        """Bytes of flash that the table takes."""
        entries = len(self.tokens) * (_width(max(self.tokens.values())) // 8)
        offsets = (len(self.tokens) + 1) * (_width(self._num_bytes) // 8)
        return self._num_bytes + entries + offsets

    @property
    def word_limit_bytes(self) -> int:
        """Bytes of the longest word that may have a token, in UTF-8."""
        if self.piece_prefix is not None:
            return 4 * self.max_characters
        return max(map(len, self.tokens))

    @property
    def _num_bytes(self) -> int:
        return sum(map(len, self.tokens))

    def header(self) -> str:
        """`vocabulary.h`: the settings, and the declarations of the table."""
        return "\n".join(
            (
                "/* Settings and tokens of the tokenizer. Written by edgeseq export. */",
                "#ifndef EDGESEQ_VOCABULARY_H",
                "#define EDGESEQ_VOCABULARY_H",
                "",
                "#include <stdint.h>",
                "",
                f"enum {{ {', '.join(_NUMBERS)} }};",
                "enum {",
                f"    HAS_PIECES = {int(self.piece_prefix is not None)},",
                f"    LOWERCASE = {int(self.lowercase)},",
                f"    REMOVE_CONTROLS = {int(self.removes_controls)},",
                f"    UNKNOWN_ID = {self.unknown_id},",
                f"    MAX_TOKENS = {self.max_tokens},",
                f"    NUM_IDS_AFTER = {len(self.after)},",
                f"    WORD_LIMIT_CHARACTERS = {self.max_characters},",
                f"    WORD_LIMIT_BYTES = {self.word_limit_bytes},",
                f"    VOCABULARY_SIZE = {len(self.tokens)}",
                "};",
                f"#define PIECE_PREFIX {c_string(self.piece_prefix or '')}",
                f"#define SPLIT {self.split}",
                "",
                "/* Special tokens around each text; -1 ends the list. */",
                f"static const int32_t ids_before[] = {{{_ids(self.before)}}};",
                f"static const int32_t ids_after[] = {{{_ids(self.after)}}};",
                "",
                "/* The bytes of all tokens, sorted; where each begins, and the end; their ids. */",
                "extern const char vocabulary_bytes[];",
                f"extern const uint{_width(self._num_bytes)}_t vocabulary_offsets[];",
                f"extern const uint{_width(max(self.tokens.values()))}_t vocabulary_ids[];",
                "",
                "#endif",
                "",
            )
        )

    def source(self) -> str:
        """`vocabulary.c`: the table."""
        ordered = sorted(self.tokens)
        content = b"".join(ordered)
        offsets = [0, *accumulate(map(len, ordered))]
        offset_type = f"const uint{_width(self._num_bytes)}_t"
        id_type = f"const uint{_width(max(self.tokens.values()))}_t"
        signed = [byte - 256 if byte > 127 else byte for byte in content]
        return "\n".join(
            (
                "/* Written by edgeseq export. */",
                '#include "vocabulary.h"',
                "",
                array("const char", "vocabulary_bytes", signed),
                array(offset_type, "vocabulary_offsets", offsets),
                array(id_type, "vocabulary_ids", [self.tokens[token] for token in ordered]),
            )
        )


def vocabulary_table(tokenizer_json: str, max_tokens: int) -> VocabularyTable:
    """The table of a tokenizer, or `UnsupportedTokenizerError` with what a table cannot do."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    # As the library writes it: every setting has its value.
    content = decode_json(tokenizer.to_str(), dict[str, Any])
    model = content["model"]
    if model["type"] not in ("WordPiece", "WordLevel"):
        raise UnsupportedTokenizerError(
            "a table of words has no such model",
            found=model["type"],
            expected="WordPiece, WordLevel",
        )
    before, after = ids_around_text(tokenizer)
    if marker_ids(tokenizer) is not None:
        raise UnsupportedTokenizerError("texts with marked mentions need a longer tokenizer")
    if len(before) + len(after) >= max_tokens:
        raise UnsupportedTokenizerError(
            "special tokens fill the model's input", found=len(before) + len(after)
        )
    lowercase, removes_controls = _normalization(content["normalizer"])
    pieces = model["type"] == "WordPiece"
    table = VocabularyTable(
        tokens={token.encode(): token_id for token, token_id in model["vocab"].items()},
        split=_split(content["pre_tokenizer"]),
        piece_prefix=model["continuing_subword_prefix"] if pieces else None,
        lowercase=lowercase,
        removes_controls=removes_controls,
        unknown_id=model["vocab"].get(model["unk_token"], 0),
        before=before,
        after=after,
        max_characters=model["max_input_chars_per_word"] if pieces else _UNLIMITED,
        max_tokens=max_tokens,
    )
    if not 0 < table.word_limit_bytes <= _WORD_LIMIT_BYTES:
        raise UnsupportedTokenizerError(
            "a microcontroller's stack does not hold the longest word",
            found=f"{table.word_limit_bytes:,} bytes",
            expected=f"1 to {_WORD_LIMIT_BYTES:,}",
        )
    return table


def _normalization(content: Mapping[str, Any] | None) -> tuple[bool, bool]:
    """Whether ASCII is lower-cased, and whether its control characters are removed."""
    lowercase = removes_controls = False
    for part in _parts(content, "normalizers"):
        if part["type"] == "Lowercase":
            lowercase = True
        elif part["type"] == "BertNormalizer":
            lowercase |= bool(part["lowercase"])
            removes_controls |= bool(part["clean_text"])
        elif part["type"] not in ASCII_NEUTRAL:
            raise UnsupportedTokenizerError(
                "a table of words has no such normalizer", found=part["type"]
            )
    return lowercase, removes_controls


def _split(content: Mapping[str, Any] | None) -> str:
    parts = list(_parts(content, "pretokenizers"))
    if len(parts) == 1:
        [part] = parts
        if part["type"] in _SPLITS:
            return _SPLITS[part["type"]]
        is_split = part["type"] == "Split" and part["behavior"] == "Isolated"
        if is_split and part["pattern"] in _CHARACTER_PATTERNS:
            return "SPLIT_CHARACTERS"
    raise UnsupportedTokenizerError(
        "a table of words has no such pre-tokenizer",
        found=" and ".join(part["type"] for part in parts) or "none",
        expected=", ".join(_SPLITS) + ", Split into characters",
    )


def _parts(content: Mapping[str, Any] | None, name: str) -> Iterator[Mapping[str, Any]]:
    if content is None:
        return
    if content["type"] == "Sequence":
        for part in content[name]:
            yield from _parts(part, name)
    else:
        yield content


def _ids(ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, (*ids, -1)))


def _width(largest: int) -> int:
    """Bits of the smallest unsigned integer of C that holds the number."""
    return next(bits for bits in (8, 16, 32) if largest < 1 << bits)
