"""What a word looks like, beside its word pieces: shape, prefix and suffix, as rows of tables.

An uncased vocabulary lower-cases every word, and names are written in capitals. Each feature of a
word is hashed into a table of its own, as in spaCy's MultiHashEmbed (Miranda et al. 2022, "Multi
hash embeddings in spaCy"), but once: with so few features collisions are rare.

Everything here is defined by the numbers in this module, not by a version of Unicode, so that a
program in another language computes the same; `tests/edgeseq/tasks/word_features.json` has
examples.

- Upper case are the code points in `UPPER_CASE`, whose lower case is their number plus an offset.
- The shape of a word has `X` for upper case, `d` for 0 to 9, each code point in `SIGNS` as it is,
  and `x` for all others; of a run of one sign the first four are kept.
- Prefix and suffix are its first and last three code points in lower case, or the whole word.
- A feature's row is 1 + number · rows + FNV-1a(its UTF-8 bytes) mod rows, with the features
  numbered in the order of `FEATURES`; row 0 is for tokens that belong to no word.
"""

from __future__ import annotations

from typing import Annotated, Final, NamedTuple

import msgspec

FEATURES = ("shape", "prefix", "suffix")
WORD_FEATURES: Final = "word_features"
"""The name of the input that takes the rows of words."""
AFFIX_LENGTH = 3
RUN_LENGTH = 4
NO_WORD = (0,) * len(FEATURES)
"""The rows of a token that belongs to no word."""


class CaseRange(NamedTuple):
    """Every `step`-th code point from `first` to `last` is upper case; its lower case is `offset`
    further."""

    first: int
    last: int
    step: int
    offset: int


UPPER_CASE = (
    CaseRange(0x41, 0x5A, 1, 32),
    CaseRange(0xC0, 0xD6, 1, 32),
    CaseRange(0xD8, 0xDE, 1, 32),
    CaseRange(0x100, 0x12E, 2, 1),
    CaseRange(0x132, 0x136, 2, 1),
    CaseRange(0x139, 0x147, 2, 1),
    CaseRange(0x14A, 0x176, 2, 1),
    CaseRange(0x178, 0x178, 1, -121),
    CaseRange(0x179, 0x17D, 2, 1),
    CaseRange(0x386, 0x386, 1, 38),
    CaseRange(0x388, 0x38A, 1, 37),
    CaseRange(0x38C, 0x38C, 1, 64),
    CaseRange(0x38E, 0x38F, 1, 63),
    CaseRange(0x391, 0x3A1, 1, 32),
    CaseRange(0x3A3, 0x3AB, 1, 32),
    CaseRange(0x400, 0x40F, 1, 80),
    CaseRange(0x410, 0x42F, 1, 32),
    CaseRange(0x531, 0x556, 1, 48),
    CaseRange(0x1E00, 0x1E94, 2, 1),
    CaseRange(0x1EA0, 0x1EFE, 2, 1),
)
"""Latin, Greek, Cyrillic and Armenian capitals."""
SIGNS = (
    (0x00, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0xBF),
    (0xD7, 0xD7),
    (0xF7, 0xF7),
    (0x2000, 0x2BFF),
    (0x3000, 0x303F),
)
"""First and last code points that stand for themselves in a shape: control characters, punctuation
and symbols."""

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


class WordFeatures(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tables of a model's word features: `rows` and `size` numbers per row of each feature.

    All are one array [1 + 3 · rows, size], in which the rows of this module's docstring lie.
    """

    rows: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    size: Annotated[int, msgspec.Meta(ge=1, le=8192)]

    @property
    def table_rows(self) -> int:
        """Rows of all features together, and the one of tokens without a word."""
        return 1 + len(FEATURES) * self.rows

    @property
    def width(self) -> int:
        """Numbers that a token gets from all features."""
        return len(FEATURES) * self.size

    def rows_of(self, word: str) -> tuple[int, ...]:
        """The rows [3] of a word."""
        return tuple(
            1 + number * self.rows + fnv1a(feature.encode("utf-8", "surrogatepass")) % self.rows
            for number, feature in enumerate(features_of(word))
        )


class _LowerCase(dict[int, int]):
    """The lower case of each code point, for `str.translate`."""

    def __missing__(self, code: int) -> int:
        return code


class _Shapes(dict[int, int]):
    """The code point that stands for each in a shape, for `str.translate`."""

    def __missing__(self, code: int) -> int:
        return code if any(first <= code <= last for first, last in SIGNS) else ord("x")


_LOWER = _LowerCase(
    (code, code + part.offset)
    for part in UPPER_CASE
    for code in range(part.first, part.last + 1, part.step)
)
_SHAPES = _Shapes(dict.fromkeys(_LOWER, ord("X")) | dict.fromkeys(map(ord, "0123456789"), ord("d")))
_SHAPES.update({code: _SHAPES[code] for code in range(0x80)})


def features_of(word: str) -> tuple[str, str, str]:
    """Shape, prefix and suffix of a word, which are empty for an empty one."""
    lower = word.lower() if word.isascii() else word.translate(_LOWER)
    shape = word.translate(_SHAPES)
    if len(shape) > RUN_LENGTH:
        shape = _cut_runs(shape)
    return shape, lower[:AFFIX_LENGTH], lower[-AFFIX_LENGTH:]


def _cut_runs(shape: str) -> str:
    """The shape with at most `RUN_LENGTH` equal signs in a row."""
    # A regular expression with a back-reference takes four times as long.
    kept, before, length = [], "", 0
    for sign in shape:
        length = length + 1 if sign == before else 1
        before = sign
        if length <= RUN_LENGTH:
            kept.append(sign)
    return "".join(kept)


def fnv1a(content: bytes) -> int:
    """The 32-bit FNV-1a hash (Fowler, Noll & Vo; http://www.isthe.com/chongo/tech/comp/fnv)."""
    value = _FNV_OFFSET
    for byte in content:
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value
