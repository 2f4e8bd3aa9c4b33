"""Limits on what a `tokenizer.json` may do to a text, read from its description.

A normalizer that replaces can multiply a text's length at each step, and a pattern that repeats a
repetition takes exponential time in a backtracking engine (Oniguruma gives up after 10^7 steps by
ending the thread). Tokenizers in use do neither.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeseq.errors import EdgeseqError

GROWTH_LIMIT = 256
"""How many times as long the replacements of a tokenizer may make a text."""
STEPS_LIMIT = 64
PATTERN_LIMIT = 10_000
"""Characters of a pattern or of a replacement."""

# A repeated group that holds a repetition or a choice: (a+)*, (a|b)+, (?:x{2,}y)*.
_REPEATED_GROUP = re.compile(r"\((?:\?[:=!>imsx-]+)?[^()]*[+*|{][^()]*\)(?:[+*]|\{\d+,)")


def check_steps(steps: Any, *, error: type[EdgeseqError], where: Path) -> None:
    """Checks the `normalizer` or the `pre_tokenizer` of a tokenizer.json, a table or None.

    Raises `error` for one with more than `STEPS_LIMIT` steps, whose replacements may make a text
    more than `GROWTH_LIMIT` times as long, or with a pattern that may take exponential time.
    """
    growth = 1.0
    for count, step in enumerate(_flatten(steps), start=1):
        if count > STEPS_LIMIT:
            raise error(
                "its tokenizer has too many steps", where=where, expected=f"<= {STEPS_LIMIT}"
            )
        added = str(step.get("content") or step.get("prepend") or "")
        pattern, is_regex = _pattern(step.get("pattern"))
        if is_regex and _REPEATED_GROUP.search(pattern.replace("\\(", "").replace("\\)", "")):
            raise error(
                "its tokenizer has a pattern that may take exponential time",
                where=where,
                found=repr(pattern),
                expected="no repetition or choice within a repetition",
            )
        shortest_match = 1 if is_regex else max(1, len(pattern))
        if step.get("type") == "Replace":
            growth *= max(1.0, (len(added) + (is_regex or not pattern)) / shortest_match)
        if growth > GROWTH_LIMIT or max(len(added), len(pattern)) > PATTERN_LIMIT:
            raise error(
                "its tokenizer makes texts too long",
                where=where,
                found=f"{growth:.3g} times as long",
                expected=f"<= {GROWTH_LIMIT} times, by replacements <= {PATTERN_LIMIT} characters",
            )


def _flatten(steps: Any) -> Iterator[Mapping[str, Any]]:
    if not isinstance(steps, Mapping):
        return
    parts = [steps.get(name) for name in ("normalizers", "pretokenizers")]
    inner = [part for part in parts if isinstance(part, list)]
    if not inner:
        yield steps
    for part in inner:
        for step in part:
            yield from _flatten(step)


def _pattern(value: Any) -> tuple[str, bool]:
    """The pattern of a step, and whether it is a regular expression."""
    if isinstance(value, Mapping):
        if "Regex" in value:
            return str(value["Regex"]), True
        return str(value.get("String", "")), False
    return "", False
