"""Words that name nothing by themselves, and phrases that a reader has to decode.

A name should say what a thing is. `found`, `other` or `place` alone do not; `found_tokens` may.
The project's own terms are in `docs/glossary.md`.
"""

from __future__ import annotations

import re

# Participles, adverbs, pronouns and bare verbs, in all their forms.
EMPTY_WORDS = frozenset(
    """
    anything asked asks beside better brought came cheap cheaper come comes dearer each every
    everything fewest find finds found gave given gives goes gone happened happens have heard held
    here hold holds keep keeps kept lack lacking lacks lain lay leave left less lesson lies
    likeliest looked looks made make makes many mend mended met more most nobody nothing offer one
    ones other others own place placed places reach reached said same saw say says seem seen
    several show shown shows somebody something spoilt stand stands stay stays stood such take
    taken taker takers takes taught teach tell tells taught there thing things thus together told
    took tried try turn turned want wanted wants went what whole worse
    """.split()  # noqa: SIM905 - a list of words reads as words
)

# Verbs that may name a function by themselves.
VERBS = frozenset({"find", "read", "show"})

ODD_PHRASES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bstands? (?!for\b)",
        r"\bstood\b",
        r"\b(?:is|are) no (?!longer\b)\w+",
        r"\b(?:another|other) \w+ than\b",
        r"\bgo(?:es|ne)? on\b",
        r"\b(?:some|no)body\b",
        r"\bwhoever\b",
        r"\bmend(?:s|ed|ing)?\b",
        r"\bforetold\b",
        r"\bdearer\b",
        r"\bspoilt\b",
        r"\blikeliest\b",
        r"\bheard\b",
        r"\bgive[ns]? back\b",
        r"\bof (?:its|their|one's) own\b",
        r"\bby heart\b",
        r"\bsays? what\b",
        r"\b(?:ms|mJ|MB|s|minutes?|seconds?) an? (?:query|model|word|text|step|bundle)\b",
        r"\b(?:one|an?) (?:label|tag|answer) a (?:text|word|token)\b",
    )
)


def is_empty_name(name: str) -> bool:
    """Whether every part of `name` (snake or camel case) is an empty word."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    parts = [part for part in snake.lower().split("_") if part]
    if len(parts) == 1 and parts[0] in VERBS:
        return False
    return bool(parts) and all(part in EMPTY_WORDS for part in parts)
