"""Windows over a text that is longer than a model sees at once.

Windows overlap by half, and each word is answered in the first one in which it has at least half
a window before it, itself included (or all that the text has). So a text of n words costs about
2·n computed ones, and a word sees 3/4 of a window on average.
"""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """The tokens `begin` to `end` of a text, those from `first` on being answered here."""

    begin: int
    first: int
    end: int


def half_overlapping(tokens: int, window: int) -> list[Window]:
    """The windows over a text of `tokens`, each of at most `window` of them; the answered parts
    follow each other without a gap. An empty text has none."""
    kept = window // 2
    windows = [Window(0, 0, min(window, tokens))] if tokens else []
    while windows and windows[-1].end < tokens:
        first = windows[-1].end
        begin = first - kept
        windows.append(Window(begin, first, min(begin + window, tokens)))
    return windows
