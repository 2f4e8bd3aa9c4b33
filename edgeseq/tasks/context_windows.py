"""Windows over a text that is longer than a model sees at once.

Half a window is answered at a time, with as much before it as fits: so each word has at least half
a window before it, itself included (or all that the text has), and 3/4 of one on average. A text
of n words costs about 2·n computed ones; a window for each word alone would cost n·window.
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
    part = max(1, window // 2)
    # The second half of the first window has the context that it would have in its own window.
    windows = [Window(0, 0, min(2 * part if window > 1 else 1, tokens))] if tokens else []
    while windows and windows[-1].end < tokens:
        first = windows[-1].end
        end = min(first + part, tokens)
        windows.append(Window(max(0, end - window), first, end))
    return windows
