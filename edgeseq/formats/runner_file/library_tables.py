"""What the installed `tokenizers` library does with every code point, asked from the library.

Its Unicode version is that of the Rust crates that it was built with, not Python's. A map gives
for each code point the index of its replacement; a class table gives a small number.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import PreTokenizedString, normalizers, pre_tokenizers

NUM_CODE_POINTS = 0x110000
_SURROGATES = range(0xD800, 0xE000)
_CHUNK = 4096
# No version of Unicode assigns these planes (or assigns their meaning): the library answers alike
# for a whole chunk of them, as a few of its code points show.
_UNIFORM = (range(0x40000, 0xE0000), range(0xF0000, 0x110000))
_SAMPLE = 64

Codes = tuple[int, ...]
SELF = -1


class CodePointMap(NamedTuple):
    """`values` uint16 [0x110000] are indices into `replacements`; number 0 is "itself".

    `SELF` in a replacement stands for the code point that is replaced.
    """

    values: npt.NDArray[np.uint16]
    replacements: tuple[Codes, ...]

    def of(self, code: int) -> Codes:
        """What stands for a code point."""
        value = int(self.values[code])
        codes = self.replacements[value] if value else (code,)
        return tuple(code if part == SELF else part for part in codes)


ClassTable = npt.NDArray[np.uint8]
"""A class [0x110000] for each code point."""


@functools.cache
def clean_text() -> CodePointMap:
    """Control characters removed, white space as spaces (BertNormalizer)."""
    return _probe(_bert(clean_text=True), "|")


@functools.cache
def spaced_ideographs() -> CodePointMap:
    """Spaces around Chinese characters (BertNormalizer)."""
    return _probe(_bert(handle_chinese_chars=True), "|")


@functools.cache
def lowercase() -> CodePointMap:
    """Lower case, each character by itself."""
    return _probe(normalizers.Lowercase(), "|")


@functools.cache
def without_combining_marks() -> CodePointMap:
    """Combining marks removed (StripAccents)."""
    return _probe(normalizers.StripAccents(), "|")


@functools.cache
def decomposition(*, compatible: bool) -> CodePointMap:
    """The full decomposition of each code point in canonical order; Hangul stays as it is."""
    # The separator is a private character, because compatibility decomposition makes a `|`.
    table = _probe(normalizers.NFKD() if compatible else normalizers.NFD(), "\ue000")
    table.values[0xAC00:0xD7A4] = 0
    return table


@functools.cache
def without_nonspacing_marks() -> CodePointMap:
    """What BertNormalizer removes of decomposed text as accents."""
    stripped, canonical = _probe(_bert(strip_accents=True), "|"), decomposition(compatible=False)
    removed = (stripped.values != 0) & (canonical.values == 0)
    removed[0xAC00:0xD7A4] = False
    for code in np.flatnonzero(removed):
        if stripped.of(int(code)):
            raise AssertionError(f"U+{code:04X} is neither decomposed nor removed")
    return CodePointMap(removed.astype(np.uint16), ((), ()))


@functools.cache
def combining_classes() -> ClassTable:
    """Canonical combining classes, found by what is reordered before and behind known marks.

    Only their order matters: classes that no mark below has are given by rank.
    """
    nfd = normalizers.NFD()
    undecomposed = decomposition(compatible=False)
    # U+0345 alone has the class 240, the largest: whatever has one goes before it.
    marks = []
    for chunk in _chunks():
        if len(chunk.sample) < len(chunk.text):
            continue
        for start in range(0, len(chunk.text), _SAMPLE):
            part = chunk.text[start : start + _SAMPLE]
            behind = "".join(f"|\u0345{char}" for char in part)
            if nfd.normalize_str(behind) != behind:
                marks += [
                    ord(char)
                    for char in part
                    if undecomposed.values[ord(char)] == 0
                    and nfd.normalize_str(f"\u0345{char}") == f"{char}\u0345"
                    and char != "\u0345"
                ]

    def is_before(mark: int, earlier_mark: int) -> bool:
        # `mark` moves in front of the earlier one: its class is the smaller one.
        return bool(
            nfd.normalize_str(chr(earlier_mark) + chr(mark)) == chr(mark) + chr(earlier_mark)
        )

    ranks: list[list[int]] = []
    for mark in marks:
        low, high = 0, len(ranks)
        while low < high:
            middle = (low + high) // 2
            if is_before(ranks[middle][0], mark):
                low = middle + 1
            elif is_before(mark, ranks[middle][0]):
                high = middle
            else:
                ranks[middle].append(mark)
                break
        else:
            ranks.insert(low, [mark])
    classes = np.zeros(NUM_CODE_POINTS, np.uint8)
    for rank, members in enumerate(ranks, start=1):
        classes[members] = rank
    classes[0x345] = len(ranks) + 1
    return classes


@functools.cache
def compositions() -> tuple[tuple[int, int, int], ...]:
    """Primary composites as (first, second, composite), sorted; Hangul is computed."""
    nfc, canonical = normalizers.NFC(), decomposition(compatible=False)
    pairs = []
    for code in np.flatnonzero(canonical.values):
        parts = "".join(map(chr, canonical.of(int(code))))
        if len(parts) < 2 or nfc.normalize_str(parts) != chr(code):
            continue
        first = nfc.normalize_str(parts[:-1])
        if len(first) != 1:
            raise AssertionError(f"U+{code:04X} is not composed of a pair")
        pairs.append((ord(first), ord(parts[-1]), int(code)))
    return tuple(sorted(pairs))


@functools.cache
def whitespace() -> ClassTable:
    """1: white space, which WhitespaceSplit removes."""
    return _removed(pre_tokenizers.WhitespaceSplit())


@functools.cache
def punctuation() -> ClassTable:
    """1: what Punctuation and BertPreTokenizer split at."""
    return _isolated(pre_tokenizers.Punctuation())


@functools.cache
def numeric() -> ClassTable:
    """1: what Digits takes for a digit."""
    return _isolated(pre_tokenizers.Digits(individual_digits=True))


@functools.cache
def words() -> ClassTable:
    r"""0: a sign, 1: `\w`, 2: white space, as Whitespace has them."""
    pre_tokenizer = pre_tokenizers.Whitespace()

    return _by_runs(
        pre_tokenizer, lambda char: int(len(_split(pre_tokenizer, f"a{char}")) == 1), missing=2
    )


@functools.cache
def byte_level_classes() -> ClassTable:
    """0: a sign, 1: a letter, 2: a number, 3: white space, as ByteLevel's pattern has them."""
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def class_of(char: str) -> int:
        for number, neighbour in ((1, "a"), (2, "1"), (0, "!")):
            if len(_split(pre_tokenizer, neighbour + char)) == 1:
                return number
        return 3

    # White space alone makes runs that depend on what follows; the pattern sees it apart.
    spaces = whitespace()
    classes = _by_runs(pre_tokenizer, class_of, missing=3, skip=spaces)
    for code in np.flatnonzero(spaces):
        classes[code] = class_of(chr(code))
    return classes


def compose_maps(first: CodePointMap, second: CodePointMap) -> CodePointMap:
    """One map that does what `first` and then `second` do."""
    replacements: dict[Codes, int] = {}
    numbers = np.zeros(len(first.replacements), np.uint16)

    def number(codes: Codes) -> int:
        return replacements.setdefault(codes, len(replacements) + 1)

    def after(codes: Codes) -> Codes:
        parts = ((SELF,) if code == SELF else second.of(code) for code in codes)
        return tuple(itertools.chain(*parts))

    for index, codes in enumerate(first.replacements[1:], start=1):
        numbers[index] = number(after(codes))
    later = np.zeros(len(second.replacements), np.uint16)
    for index, codes in enumerate(second.replacements[1:], start=1):
        later[index] = number(codes)
    values = np.where(first.values == 0, later[second.values], numbers[first.values])
    keeps_itself = np.array([SELF in codes for codes in first.replacements])
    for code in np.flatnonzero(keeps_itself[first.values] & (second.values != 0)).tolist():
        codes = tuple(itertools.chain(*map(second.of, first.of(code))))
        values[code] = number(codes)
    return CodePointMap(values.astype(np.uint16), ((), *replacements))


def _bert(**settings: bool) -> Any:
    off = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return normalizers.BertNormalizer(**{**dict.fromkeys(off, False), **settings})


class _Chunk(NamedTuple):
    """Code points in a row without surrogates, as numbers and as text.

    The library gets `sample` first: of a uniform plane a few of them.
    """

    codes: npt.NDArray[np.int64]
    text: str
    sample: str


@functools.cache
def _chunks() -> tuple[_Chunk, ...]:
    chunks = []
    for start in range(0, NUM_CODE_POINTS, _CHUNK):
        codes = np.arange(start, start + _CHUNK)
        codes = codes[(codes < _SURROGATES.start) | (codes >= _SURROGATES.stop)]
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        is_uniform = any(start in plane for plane in _UNIFORM)
        sample = text[:: _CHUNK // _SAMPLE] + text[-1] if is_uniform else text
        if text:
            chunks.append(_Chunk(codes, text, sample))
    return tuple(chunks)


def _probe(normalizer: Any, separator: str) -> CodePointMap:
    """What `normalizer` makes of each code point by itself; `separator` must pass unchanged."""
    values = np.zeros(NUM_CODE_POINTS, np.uint16)
    replacements: dict[Codes, int] = {}

    def store(code: int, text: str) -> int:
        codes = tuple(SELF if ord(char) == code else ord(char) for char in text)
        return replacements.setdefault(codes, len(replacements) + 1)

    def probe(text: str, codes: npt.NDArray[np.int64]) -> None:
        # Most parts stay as they are or vanish as a whole.
        normalized = normalizer.normalize_str(text)
        if normalized == text:
            return
        if normalized == "":
            values[codes] = store(-1, "")
        elif len(codes) > _SAMPLE:
            for start in range(0, len(codes), _SAMPLE):
                probe(text[start : start + _SAMPLE], codes[start : start + _SAMPLE])
        else:
            # The separator itself comes alone, below.
            chars = [char for char in text if char != separator]
            parts = normalizer.normalize_str(separator.join(chars)).split(separator)
            if len(parts) != len(chars):
                raise AssertionError("a separator did not stay as it is")
            for char, part in zip(chars, parts, strict=True):
                if part != char:
                    values[ord(char)] = store(ord(char), part)

    for chunk in _chunks():
        normalized = normalizer.normalize_str(chunk.sample)
        if len(chunk.sample) == len(chunk.text) or normalized not in (chunk.sample, ""):
            probe(chunk.text, chunk.codes)
        elif normalized == "":
            values[chunk.codes] = store(-1, "")
    if (normalized := normalizer.normalize_str(separator)) != separator:
        values[ord(separator)] = store(ord(separator), normalized)
    return CodePointMap(values, ((), *replacements))


def _split(pre_tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Where the pieces of a text begin and end, in bytes."""
    pieces = PreTokenizedString(text)
    pre_tokenizer.pre_tokenize(pieces)
    splits = pieces.get_splits(offset_referential="original", offset_type="byte")
    return [offsets for _piece, offsets, _tokens in splits]


def _runs(pre_tokenizer: Any, skip: ClassTable | None) -> Iterator[npt.NDArray[np.int64]]:
    """The code points of each piece that the pre-tokenizer makes of all of them in a row."""
    for chunk in _chunks():
        codes, text = chunk.codes, chunk.text
        if len(chunk.sample) < len(text) and len(_split(pre_tokenizer, chunk.sample)) == 1:
            yield codes
            continue
        if skip is not None and skip[codes].any():
            codes = codes[skip[codes] == 0]
            text = "".join(map(chr, codes))
        sizes = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        starts = np.concatenate(([0], np.cumsum(sizes)))
        pieces = np.array(_split(pre_tokenizer, text)).reshape(-1, 2)
        for first, last in np.searchsorted(starts, pieces):
            yield codes[first:last]


def _by_runs(
    pre_tokenizer: Any,
    class_of: Callable[[str], int],
    *,
    missing: int,
    skip: ClassTable | None = None,
) -> ClassTable:
    """A class for each code point: all of a run have that of its first."""
    classes = np.full(NUM_CODE_POINTS, missing, np.uint8)
    for run in _runs(pre_tokenizer, skip):
        classes[run] = class_of(chr(run[0]))
    classes[_SURROGATES] = 0
    return classes


def _removed(pre_tokenizer: Any) -> ClassTable:
    return _by_runs(pre_tokenizer, lambda _char: 0, missing=1)


def _isolated(pre_tokenizer: Any) -> ClassTable:
    return _by_runs(
        pre_tokenizer, lambda char: int(len(_split(pre_tokenizer, char + char)) == 2), missing=0
    )
