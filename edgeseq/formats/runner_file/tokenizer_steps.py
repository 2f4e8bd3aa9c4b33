"""Normalizers and pre-tokenizers of a `tokenizer.json` as the steps that the file holds.

A step is eight uint32: its kind, two tables (offsets into the section of tables, or 0), two texts
(offset and size in the section of texts) of which a kind uses what it needs, and a setting.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.formats.runner_file import library_tables as library
from edgeseq.formats.runner_file.code_point_tables import TableArea
from edgeseq.formats.runner_file.library_tables import CodePointMap
from edgeseq.formats.runner_file.unsupported import UnsupportedTokenizerError

# The pattern of ByteLevel is known; those of `Split` are literal texts.
_CHARACTER_SET = re.compile(r"\[((?:\\[\^\\\[\]()-]|[^\^\\\[\]()-])+)\]", re.DOTALL)
_BEHAVIORS = ("Removed", "Isolated", "Contiguous", "MergedWithPrevious", "MergedWithNext")


class NormalizerKind(enum.IntEnum):
    """What a step does to a text."""

    MAP = 1
    DECOMPOSE = 2
    COMPOSE = 3
    STRIP = 4
    REPLACE = 5
    PREPEND = 6


class PreTokenizerKind(enum.IntEnum):
    """What a step splits at; settings are `behavior`, +16: inverted."""

    BERT = 1
    CLASS = 2
    RUNS = 3
    TEXT = 4
    BYTE_LEVEL = 5


class TextArea:
    """Texts of the tokenizer, one after another."""

    def __init__(self) -> None:
        self._content = bytearray()

    @property
    def content(self) -> bytes:
        """The section's bytes."""
        return bytes(self._content)

    def add(self, text: str) -> tuple[int, int]:
        """Offset and size of a text."""
        offset, encoded = len(self._content), text.encode()
        self._content += encoded
        return offset, len(encoded)


class TokenizerStep(NamedTuple):
    """One step; offsets and sizes in bytes."""

    kind: int
    table: int = 0
    second_table: int = 0
    text: tuple[int, int] = (0, 0)
    second_text: tuple[int, int] = (0, 0)
    setting: int = 0

    def numbers(self) -> tuple[int, ...]:
        """As the file has them."""
        return (
            *(self.kind, self.table, self.second_table),
            *(*self.text, *self.second_text, self.setting),
        )


class Steps:
    """Compiles the steps of a tokenizer; tables and texts go to the areas."""

    def __init__(self, tables: TableArea, texts: TextArea) -> None:
        self._tables, self._texts = tables, texts

    def normalizers(self, content: Mapping[str, Any] | None) -> list[TokenizerStep]:
        """The steps of a normalizer; maps that follow each other become one."""
        steps: list[TokenizerStep] = []
        maps: list[CodePointMap] = []

        def end_maps() -> None:
            if maps:
                table = maps[0]
                for later_map in maps[1:]:
                    table = library.compose_maps(table, later_map)
                steps.append(TokenizerStep(NormalizerKind.MAP, self._tables.add_map(table)))
                maps.clear()

        for part in _flat_normalizers(content):
            if isinstance(part, CodePointMap):
                maps.append(part)
            else:
                end_maps()
                steps += part(self._tables, self._texts)
        end_maps()
        return steps

    def pre_tokenizers(self, content: Mapping[str, Any] | None) -> list[TokenizerStep]:
        """The steps of a pre-tokenizer."""
        if content is None:
            return []
        kind = content["type"]
        if kind == "Sequence":
            parts = content["pretokenizers"]
            return [step for part in parts for step in self.pre_tokenizers(part)]
        builder = _PRE_TOKENIZERS.get(kind)
        if builder is None:
            raise UnsupportedTokenizerError(
                "the native runner does not have this pre-tokenizer",
                found=kind,
                expected=", ".join(_PRE_TOKENIZERS),
            )
        return [builder(content, self._tables, self._texts)]


StepBuilder = Callable[[TableArea, TextArea], list[TokenizerStep]]


def _flat_normalizers(content: Mapping[str, Any] | None) -> list[CodePointMap | StepBuilder]:
    if content is None:
        return []
    kind = content["type"]
    if kind == "Sequence":
        return [part for inner in content["normalizers"] for part in _flat_normalizers(inner)]
    if kind == "BertNormalizer":
        return _bert_normalizer(content)
    simple: dict[str, Callable[[], list[CodePointMap | StepBuilder]]] = {
        "Lowercase": lambda: [library.lowercase()],
        "StripAccents": lambda: [library.without_combining_marks()],
        "NFD": lambda: [_decompose(compatible=False)],
        "NFKD": lambda: [_decompose(compatible=True)],
        "NFC": lambda: [_decompose(compatible=False), _compose],
        "NFKC": lambda: [_decompose(compatible=True), _compose],
        "Strip": lambda: [_strip(content)],
        "Replace": lambda: [_replaced_characters(content) or _replace(content)],
        "Prepend": lambda: [_prepend(content)],
    }
    if kind not in simple:
        raise UnsupportedTokenizerError(
            "the native runner does not have this normalizer",
            found=kind,
            expected=", ".join(("BertNormalizer", *simple)),
        )
    return simple[kind]()


def _bert_normalizer(content: Mapping[str, Any]) -> list[CodePointMap | StepBuilder]:
    parts: list[CodePointMap | StepBuilder] = []
    if content["clean_text"]:
        parts.append(library.clean_text())
    if content["handle_chinese_chars"]:
        parts.append(library.spaced_ideographs())
    strips = content["strip_accents"]
    if content["lowercase"] if strips is None else strips:
        parts += [_decompose(compatible=False), library.without_nonspacing_marks()]
    if content["lowercase"]:
        parts.append(library.lowercase())
    return parts


def _decompose(*, compatible: bool) -> StepBuilder:
    def build(tables: TableArea, _texts: TextArea) -> list[TokenizerStep]:
        table = tables.add_map(library.decomposition(compatible=compatible))
        classes = tables.add_classes(library.combining_classes())
        return [TokenizerStep(NormalizerKind.DECOMPOSE, table, classes)]

    return build


def _compose(tables: TableArea, _texts: TextArea) -> list[TokenizerStep]:
    pairs = library.compositions()
    classes = tables.add_classes(library.combining_classes())
    return [TokenizerStep(NormalizerKind.COMPOSE, tables.add_compositions(pairs), classes)]


def _strip(content: Mapping[str, Any]) -> StepBuilder:
    sides = int(content["strip_left"]) + 2 * int(content["strip_right"])

    def build(tables: TableArea, _texts: TextArea) -> list[TokenizerStep]:
        spaces = tables.add_classes(library.whitespace())
        return [TokenizerStep(NormalizerKind.STRIP, spaces, setting=sides)]

    return build


def _single_characters(pattern: Mapping[str, Any]) -> npt.NDArray[np.bool_] | None:
    """Which code points a pattern of one character matches, [0x110000]: a text, or a set of them
    as `[!?\\-]` names it, with a backslash before `^\\[]-()`. None for other patterns."""
    characters = [pattern.get("String") or ""]
    if "Regex" in pattern:
        inside = _CHARACTER_SET.fullmatch(pattern["Regex"])
        if inside is None or "&&" in inside[1]:
            return None
        characters = re.findall(r"\\?(.)", inside[1], re.DOTALL)
    if any(len(character) != 1 for character in characters):
        return None
    matched = np.zeros(library.NUM_CODE_POINTS, np.bool_)
    matched[[ord(character) for character in characters]] = True
    return matched


def _replaced_characters(content: Mapping[str, Any]) -> CodePointMap | None:
    matched = _single_characters(content["pattern"])
    if matched is None:
        return None
    return CodePointMap(matched.astype(np.uint16), ((), tuple(map(ord, content["content"]))))


def _replace(content: Mapping[str, Any]) -> StepBuilder:
    pattern = content["pattern"].get("String")
    if not pattern:
        raise UnsupportedTokenizerError(
            "the native runner replaces texts, not patterns", found=content["pattern"]
        )

    def build(_tables: TableArea, texts: TextArea) -> list[TokenizerStep]:
        text, by = texts.add(pattern), texts.add(content["content"])
        return [TokenizerStep(NormalizerKind.REPLACE, text=text, second_text=by)]

    return build


def _prepend(content: Mapping[str, Any]) -> StepBuilder:
    def build(_tables: TableArea, texts: TextArea) -> list[TokenizerStep]:
        return [TokenizerStep(NormalizerKind.PREPEND, text=texts.add(content["prepend"]))]

    return build


def _bert(_content: Mapping[str, Any], tables: TableArea, _texts: TextArea) -> TokenizerStep:
    classes = library.whitespace() + 2 * library.punctuation()
    return TokenizerStep(PreTokenizerKind.BERT, tables.add_classes(classes))


def _whitespace(_content: Mapping[str, Any], tables: TableArea, _texts: TextArea) -> TokenizerStep:
    return TokenizerStep(PreTokenizerKind.RUNS, tables.add_classes(library.words()))


def _whitespace_split(
    _content: Mapping[str, Any], tables: TableArea, _texts: TextArea
) -> TokenizerStep:
    table = tables.add_classes(library.whitespace())
    return TokenizerStep(PreTokenizerKind.CLASS, table, setting=_behavior("Removed"))


def _punctuation(content: Mapping[str, Any], tables: TableArea, _texts: TextArea) -> TokenizerStep:
    table = tables.add_classes(library.punctuation())
    return TokenizerStep(PreTokenizerKind.CLASS, table, setting=_behavior(content["behavior"]))


def _digits(content: Mapping[str, Any], tables: TableArea, _texts: TextArea) -> TokenizerStep:
    behavior = _behavior("Isolated" if content["individual_digits"] else "Contiguous")
    table = tables.add_classes(library.numeric())
    return TokenizerStep(PreTokenizerKind.CLASS, table, setting=behavior)


def _split(content: Mapping[str, Any], tables: TableArea, texts: TextArea) -> TokenizerStep:
    pattern = content["pattern"].get("String")
    matched = _single_characters(content["pattern"])
    if not pattern and matched is not None and not content["invert"]:
        table = tables.add_classes(matched.astype(np.uint8))
        return TokenizerStep(PreTokenizerKind.CLASS, table, setting=_behavior(content["behavior"]))
    if not pattern:
        raise UnsupportedTokenizerError(
            "the native runner splits at texts, not at patterns", found=content["pattern"]
        )
    behavior = _behavior(content["behavior"]) + 16 * bool(content["invert"])
    return TokenizerStep(PreTokenizerKind.TEXT, text=texts.add(pattern), setting=behavior)


def _delimiter(content: Mapping[str, Any], _tables: TableArea, texts: TextArea) -> TokenizerStep:
    text = texts.add(content["delimiter"])
    return TokenizerStep(PreTokenizerKind.TEXT, text=text, setting=_behavior("Removed"))


def _byte_level(content: Mapping[str, Any], tables: TableArea, _texts: TextArea) -> TokenizerStep:
    flags = int(content["add_prefix_space"]) + 2 * int(content["use_regex"])
    table = tables.add_classes(library.byte_level_classes()) if content["use_regex"] else 0
    return TokenizerStep(PreTokenizerKind.BYTE_LEVEL, table, setting=flags)


_PRE_TOKENIZERS: dict[str, Callable[[Mapping[str, Any], TableArea, TextArea], TokenizerStep]] = {
    "BertPreTokenizer": _bert,
    "Whitespace": _whitespace,
    "WhitespaceSplit": _whitespace_split,
    "Punctuation": _punctuation,
    "Digits": _digits,
    "Split": _split,
    "CharDelimiterSplit": _delimiter,
    "ByteLevel": _byte_level,
}


def _behavior(name: str) -> int:
    return _BEHAVIORS.index(name)


def has_byte_level(steps: Sequence[TokenizerStep]) -> bool:
    """Whether words are bytes; raises where something follows the step that makes them so."""
    kinds = [step.kind for step in steps]
    if PreTokenizerKind.BYTE_LEVEL not in kinds:
        return False
    if kinds.index(PreTokenizerKind.BYTE_LEVEL) != len(kinds) - 1:
        raise UnsupportedTokenizerError("the native runner takes ByteLevel as the last step only")
    return True


def ascii_map(normalizer: Any, steps: Sequence[TokenizerStep]) -> bytes | None:
    """What an ASCII text becomes, character by character: 128 bytes, 0xFF is "removed".

    None where a character's replacement depends on others, or is not one of ASCII.
    """
    charwise = (NormalizerKind.MAP, NormalizerKind.DECOMPOSE, NormalizerKind.COMPOSE)
    if any(step.kind not in charwise for step in steps):
        return None
    table = np.arange(128, dtype=np.uint8)
    for code in range(128) if steps else ():
        text = normalizer.normalize_str(chr(code))
        if len(text) > 1 or not text.isascii():
            return None
        table[code] = ord(text) if text else 0xFF
    return table.tobytes()
