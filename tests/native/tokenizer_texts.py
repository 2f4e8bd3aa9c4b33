"""Generated texts in which everything occurs that tokenizers treat in a special way."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Sequence

SPECIAL = (
    *("[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "<s>", "</s>", "<mask>", "<unk>", "<eos>"),
    *("[P]", "[/P]", "[A]", "[/A]", "[B]", "[/B]", "## ", "##ing", "Ġ", "'s", "'ll", "'re", " '"),
    *("don't", "'LL", "<TOK>", "new word", "Straße", "STRASSE", "film", "films"),
)
WORDS = (
    *("the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "was", "on", "are", "as"),
    *("antidisestablishmentarianism", "http://example.org/a?b=c", "x1", "3.14", "1,000"),
    *("U.S.A.", "café", "naïve", "Ångström", "İstanbul", "ΣΊΣΥΦΟΣ", "ﬁne", "½", "²", "ﷺ"),
)
SPACES = (
    *(" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e"),
    *("\u2000", "\u200a", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff"),
)
EMOJI = ("👩‍👩‍👧", "🏳️‍🌈", "😀", "❤️", "👍🏽", "🇩🇪")
SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
BASES = "aeoucnsAEOUCNS=<>\u1100\u0415\u05d0\u0b47"
MARKS = [chr(code) for code in range(0x110000) if unicodedata.combining(chr(code))]
HANGUL = (range(0xAC00, 0xD7A4),)
JAMO = (range(0x1100, 0x1200), range(0x1161, 0x1176), range(0x11A7, 0x11C3), *HANGUL)
CJK = (range(0x4E00, 0xA000), range(0x3040, 0x3100), range(0xF900, 0xFB00), range(0x20000, 0x2A6E0))
PLANES = (
    *(range(0x80), range(0x80, 0x800), range(0x800, 0xD800), range(0xE000, 0x10000)),
    *(range(0x10000, 0x30000), range(0x30000, 0x110000)),
)


def generated_texts(count: int, seed: str) -> list[str]:
    """The same texts for the same seed; a few are long, some are empty."""
    rng = random.Random(seed)  # noqa: S311 - texts, not a secret
    return [_text(rng) for _ in range(count)]


def generated_words(count: int, seed: str) -> list[list[str]]:
    """Lists of 0 to 5 words, which may hold white space or nothing."""
    rng = random.Random(seed)  # noqa: S311 - texts, not a secret
    return [[_text(rng) for _ in range(rng.randrange(6))] for _ in range(count)]


def _text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.002:
        return rng.choice((*WORDS, "é", "あ", "😀", "a\u0301", "\u0344")) * rng.randrange(50, 300)
    if kind < 0.004:
        return "a" + _several(rng, MARKS, 20, 80)
    parts = [_part(rng) + rng.choice(("", " ")) for _ in range(rng.randrange(9))]
    return "".join(parts)


def _part(rng: random.Random) -> str:
    kind = rng.randrange(14)
    if kind < 3:
        return rng.choice(WORDS)
    if kind == 3:
        return rng.choice(BASES) + _several(rng, MARKS, 1, 6)
    simple: tuple[Sequence[str], ...] = (SPECIAL, SPACES, EMOJI, SIGNS, LETTERS)
    if kind - 4 < len(simple):
        most = {4: 2, 6: 2, 8: 30}.get(kind, 5)
        return _several(rng, simple[kind - 4], 1, most)
    if kind == 9:
        return chr(rng.randrange(0x20)) + chr(rng.randrange(0x7F, 0xA0))
    ranges = {10: HANGUL, 11: JAMO, 12: CJK}.get(kind, PLANES)
    return "".join(chr(rng.choice(rng.choice(ranges))) for _ in range(rng.randrange(1, 6)))


def _several(rng: random.Random, choices: Sequence[str], least: int, most: int) -> str:
    return "".join(rng.choice(choices) for _ in range(rng.randrange(least, most)))
