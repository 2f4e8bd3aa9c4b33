"""A bundle's tokenizer as one of MediaPipe's, and what MediaPipe's makes of a text.

BertTokenizer lower-cases ASCII, splits at ASCII white space, punctuation and CJK characters, and
reads each word by the longest pieces. It strips no accents, lower-cases nothing else, and removes
no control characters. RegexTokenizer splits at a pattern, drops what matches, and looks up what
lies between; it does not lower-case, so the vocabulary lists the usual spellings of each word.
Both are described here exactly (tests compare them with MediaPipe itself), to count at export the
texts that they read differently.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from tokenizers import Tokenizer, models

from edgeseq.errors import RefusedError
from edgeseq.formats.codec import decode_json
from edgeseq.formats.tflite_metadata import TokenizerMetadata
from edgeseq.runtime import PADDING_ID
from edgeseq_converters.export.special_tokens import ids_around_text

VOCABULARY_FILE = "vocab.txt"
UNKNOWN, START, END = "[UNK]", "[CLS]", "[SEP]"
MAX_WORD_BYTES = 100
"""BertTokenizer gives a longer word the unknown token."""
_CJK = (
    "\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
    "\U0002b820-\U0002ceaf\uf900-\ufaff\U0002f800-\U0002fa1f"
)
TOKENIZER_FIX = "use a model with a lower-casing WordPiece tokenizer, as `edgeseq train` makes"
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII_SIGNS = "".join(char for char in map(chr, range(0x21, 0x7F)) if not char.isalnum())


class SpecialTokens(NamedTuple):
    """Whether the bundle's tokenizer puts a token before and one behind a text."""

    knows_start: bool
    knows_end: bool

    @property
    def num_dropped(self) -> int:
        """How many of BertTokenizer's two the model does not know."""
        return 2 - self.knows_start - self.knows_end


class BertTokenizer:
    """MediaPipe's BertTokenizer; `special` are the tokens that the model knows."""

    metadata = TokenizerMetadata("BertTokenizer", VOCABULARY_FILE)

    def __init__(
        self, vocabulary: Mapping[str, int], unknown: str, start: int | None, end: int | None
    ) -> None:
        """`vocabulary` gives ids from 0 on; `unknown` is its unknown token, `start` and `end` are
        the ids of the tokens around a text, None where there is none."""
        names = {token_id: token for token, token_id in vocabulary.items()}
        names[vocabulary[unknown]] = UNKNOWN
        self.special = SpecialTokens(start is not None, end is not None)
        extra = max(names) + 1
        self._start, self._end = (
            extra if start is None else start,
            extra + 1 if end is None else end,
        )
        names[self._start], names[self._end] = START, END
        # A number between the ids that no token has; a line break cannot be in a line.
        lines = []
        for index in range(max(names) + 1):
            name = names.get(index, "\n")
            lines.append(f"\u0001{index}" if set(name) & set("\r\n") else name)
        self.vocabulary_text = "".join(f"{line}\n" for line in lines)
        self._unknown_id = vocabulary[unknown]
        pieces = models.WordPiece(
            {line: index for index, line in enumerate(lines)},
            unk_token=UNKNOWN,
            max_input_chars_per_word=MAX_WORD_BYTES,
        )
        self._pieces = Tokenizer(pieces)

    def token_ids(self, text: str, max_tokens: int) -> list[int]:
        """The ids of a text, with the special tokens that the model knows."""
        words = _word_pattern().split(text.translate(_LOWER))
        ids: list[int] = []
        for word in words:
            if not word or word[0] in "\t\n\f\r ":
                continue
            if len(word.encode("utf-8")) > MAX_WORD_BYTES:
                ids.append(self._unknown_id)
                continue
            ids += self._pieces.encode([word], is_pretokenized=True, add_special_tokens=False).ids
        start = [self._start] * self.special.knows_start
        end = [self._end] * self.special.knows_end
        return [*start, *ids[: max_tokens - len(start) - len(end)], *end]


class RegexTokenizer:
    """MediaPipe's RegexTokenizer, with every spelling of a word that the bundle's tokenizer reads
    as that word: lower case, capitalized and upper case."""

    def __init__(
        self, spellings: Mapping[str, int], unknown_id: int, start: int | None, delimiter: Delimiter
    ) -> None:
        self.metadata = TokenizerMetadata("RegexTokenizer", VOCABULARY_FILE, delimiter.re2)
        self._unknown_id, self._start = unknown_id, start
        self._pattern = re.compile(delimiter.python)
        special = {"<PAD>": PADDING_ID, "<UNKNOWN>": unknown_id}
        if start is not None:
            special["<START>"] = start
        self._entries = {**spellings, **special}
        lines = (f"{word} {index}\n" for word, index in self._entries.items())
        self.vocabulary_text = "".join(lines)

    def token_ids(self, text: str, max_tokens: int) -> list[int]:
        """The ids of a text, from the start token on if there is one."""
        words = filter(None, self._pattern.split(text))
        ids = [self._entries.get(word, self._unknown_id) for word in words]
        return [*([] if self._start is None else [self._start]), *ids][:max_tokens]


class Delimiter(msgspec.Struct, frozen=True):
    """A pattern of what separates words, in RE2's syntax and in Python's; it has no groups."""

    re2: str
    python: str


# Unicode's White_Space, which `tokenizers` splits at; RE2's \s has ASCII's alone.
_SPACES = (
    *((0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)
_WHITE_SPACE = Delimiter(
    "".join(rf"\x{{{low:x}}}-\x{{{high:x}}}" for low, high in _SPACES),
    "".join(f"{chr(low)}-{chr(high)}" for low, high in _SPACES),
)


def mediapipe_tokenizer(tokenizer_json: str, *, where: str) -> BertTokenizer | RegexTokenizer:
    """The tokenizer of MediaPipe's that reads as a bundle's does, or nearly so.

    Raises `RefusedError` for tokenizers of another kind.
    """
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    content = decode_json(tokenizer.to_str(), dict[str, Any])
    model = content["model"]
    vocabulary: dict[str, int] = model.get("vocab") or {}
    if model["type"] not in ("WordPiece", "WordLevel") or model["unk_token"] not in vocabulary:
        raise RefusedError(
            "MediaPipe has no tokenizer that reads like this one",
            where=where,
            found=f"{model['type']} with unknown token {model.get('unk_token')!r}",
            expected="WordPiece or WordLevel with an unknown token",
            fix=TOKENIZER_FIX,
        )
    start, end = _special_ids(tokenizer, where)
    if model["type"] == "WordPiece":
        if model["continuing_subword_prefix"] != "##":
            raise RefusedError(
                "MediaPipe's BertTokenizer marks what continues a word by ##",
                where=where,
                found=model["continuing_subword_prefix"],
                fix=TOKENIZER_FIX,
            )
        return BertTokenizer(vocabulary, model["unk_token"], start, end)
    if end is not None:
        raise RefusedError(
            "MediaPipe's RegexTokenizer puts no token behind a text",
            where=where,
            found=tokenizer.id_to_token(end),
            fix=TOKENIZER_FIX,
        )
    unknown_id = vocabulary[model["unk_token"]]
    delimiter = _delimiter(content["pre_tokenizer"], where)
    return RegexTokenizer(_spellings(tokenizer, vocabulary), unknown_id, start, delimiter)


def _special_ids(tokenizer: Any, where: str) -> tuple[int | None, int | None]:
    """The ids of the token before a text and of the one behind it; None where there is none."""
    before, after = ids_around_text(tokenizer)
    if len(before) > 1 or len(after) > 1:
        raise RefusedError(
            "MediaPipe puts one token before a text and one behind it",
            where=where,
            found=f"{len(before)} and {len(after)}",
            fix=TOKENIZER_FIX,
        )
    return (before[0] if before else None), (after[0] if after else None)


@functools.lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    r"""BertTokenizer's delimiters: ASCII white space (`\s` of RE2), and each character of
    punctuation or CJK, which is a word itself."""
    return re.compile(f"([\t\n\f\r ]+|[{re.escape(_ASCII_SIGNS)}{_members('P')}{_CJK}])")


@functools.lru_cache(maxsize=4)
def _members(*categories: str) -> str:
    """Every character of these Unicode categories, as ranges for a bracket expression."""
    codes = range(sys.maxunicode + 1)
    is_member = [unicodedata.category(chr(code)).startswith(categories) for code in codes]
    starts = (code for code in codes if is_member[code] and not (code and is_member[code - 1]))
    ends = (code for code in codes if is_member[code] and not any(is_member[code + 1 : code + 2]))
    return "".join(
        f"{re.escape(chr(start))}-{re.escape(chr(end))}"
        for start, end in zip(starts, ends, strict=True)
    )


def _spellings(tokenizer: Any, vocabulary: Mapping[str, int]) -> dict[str, int]:
    """The words that one line can hold, with those spellings that the tokenizer normalizes to
    them."""
    normalizer = tokenizer.normalizer
    spellings = {word: index for word, index in vocabulary.items() if _is_entry(word)}
    if normalizer is None:
        return spellings
    for word, index in list(spellings.items()):
        for spelling in (word.capitalize(), word.upper()):
            if spelling not in spellings and normalizer.normalize_str(spelling) == word:
                spellings[spelling] = index
    return spellings


def _is_entry(word: str) -> bool:
    return bool(word) and not set(word) & set(" \n\r") and word not in ("<PAD>", "<UNKNOWN>")


def _delimiter(pre_tokenizer: Mapping[str, Any] | None, where: str) -> Delimiter:
    """The pattern that a word-level tokenizer splits at, or that it gives tokens of their own."""
    classes = list(_classes(pre_tokenizer, where))
    return Delimiter(
        "[" + "".join(part.re2 for part in classes) + "]+",
        "[" + "".join(part.python for part in classes) + "]+",
    )


def _classes(pre_tokenizer: Mapping[str, Any] | None, where: str) -> Iterator[Delimiter]:
    """The insides of bracket expressions, one for each pre-tokenizer."""
    kind = None if pre_tokenizer is None else pre_tokenizer["type"]
    if pre_tokenizer is not None and kind == "Sequence":
        for part in pre_tokenizer["pretokenizers"]:
            yield from _classes(part, where)
    elif pre_tokenizer is not None and kind == "CharDelimiterSplit":
        char = pre_tokenizer["delimiter"]
        yield Delimiter(rf"\x{{{ord(char):x}}}", re.escape(char))
    elif kind == "Whitespace":
        # Runs of what is no \w: white space, which goes, and signs, which are tokens there.
        categories = ("Z", "C", "S", "No", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")
        re2 = "".join(rf"\p{{{category}}}" for category in categories)
        yield Delimiter(re2, _members(*categories))
    elif kind in ("WhitespaceSplit", "Punctuation", "BertPreTokenizer"):
        if kind != "Punctuation":
            yield _WHITE_SPACE
        if kind != "WhitespaceSplit":
            signs = "".join(rf"\x{{{ord(char):x}}}" for char in _ASCII_SIGNS)
            yield Delimiter(rf"{signs}\p{{P}}", re.escape(_ASCII_SIGNS) + _members("P"))
    else:
        raise RefusedError(
            "MediaPipe's RegexTokenizer cannot split as this tokenizer does",
            where=where,
            found=kind or "no pre-tokenizer",
            expected="WhitespaceSplit, Whitespace, BertPreTokenizer, Punctuation or "
            "CharDelimiterSplit",
            fix=TOKENIZER_FIX,
        )
