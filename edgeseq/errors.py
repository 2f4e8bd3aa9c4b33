"""Every error that edgeseq raises on purpose.

    EdgeseqError
    ├── InputError        exit 2   what the user gave is wrong: a file, a name, a setting
    │   ├── DataError              a data set or a line of one
    │   ├── CheckpointError        weights, config or tokenizer of a model to convert
    │   ├── BundleError            a bundle or a .tflite file
    │   ├── ResultError            a result file
    │   └── FetchError             something could not be fetched from a package index or hub
    ├── OutputError       exit 2   the place to write to does not take it (full, read-only)
    ├── ConversionError   exit 3   the converter cannot make this model, or made a wrong one
    ├── RefusedError      exit 3   the honest answer is no: nothing fits, a gate failed
    ├── DeviceError       exit 4   a device cannot be reached, was lost, or lacks something
    │   ├── ClusterError           a scheduler or its workers cannot be reached, or were lost
    │   └── StoreError             a store of results is full, gone or damaged
    └── StepError         exit 1   a step of a run died without saying why: a bug, or no memory

A message is one line that says what, where, what was found, what was expected and what to do.
The command line prints that line and exits with `exit_code`; nothing below it prints or exits.
"""

from __future__ import annotations

import re
from pathlib import Path

PART_LIMIT = 1200
"""How many characters of a file name or of a quoted value a message shows."""

# Control characters, line separators, what reverses the order of letters, surrogates, tags.
OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)


class EdgeseqError(Exception):
    """Base of all errors raised on purpose; `str(error)` is the one line for the user.

    `where` is a file, `file:line`, setting or device; `found` and `expected` are short
    descriptions; `fix` says what to do next, as an imperative.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: str | Path | None = None,
        found: object = None,
        expected: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.found = found
        self.expected = expected
        self.fix = fix
        super().__init__(self._line())

    def _line(self) -> str:
        line = f"{_shorten(self.where)}: " if self.where else ""
        line += _shorten(self.what)
        details = []
        if self.found is not None:
            details.append(f"found {_shorten(str(self.found))}")
        if self.expected is not None:
            details.append(f"expected {_shorten(str(self.expected))}")
        if details:
            line += ": " + ", ".join(details)
        if self.fix:
            line += f"; {_shorten(self.fix)}"
        # One line, whatever a file name or a quoted value held.
        return printable(" ".join(line.split()))


def printable(text: str) -> str:
    r"""The text with escapes (`\x1b`) for what a terminal would obey, and for broken Unicode.

    Line ends and tabs stay.
    """
    return OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _shorten(text: str) -> str:
    """A part of a message, cut where it quotes more than anyone reads."""
    if len(text) <= PART_LIMIT:
        return text
    return f"{text[:PART_LIMIT]}… ({len(text):,} characters)"


class InputError(EdgeseqError):
    """What the user gave is wrong."""


class DataError(InputError):
    """A data set, or one line of one, is not what its format promises."""


class CheckpointError(InputError):
    """Weights, configuration or tokenizer of a model cannot be used."""


class BundleError(InputError):
    """A bundle or a .tflite file is damaged, foreign or unsafe."""


class ResultError(InputError):
    """A result file cannot be read or does not fit the others."""


class FetchError(InputError):
    """Something could not be fetched, or was not what its hash promises."""


class OutputError(EdgeseqError):
    """The place to write to does not take it: full, read-only, in the way."""


class ConversionError(EdgeseqError):
    """The converter cannot make this model, crashed, or made one that answers differently."""

    exit_code = 3


class RefusedError(EdgeseqError):
    """The honest answer is no: no model fits, a gate failed, a regression was found."""

    exit_code = 3


class DeviceError(EdgeseqError):
    """A device cannot be reached, was lost, or lacks what a run needs."""

    exit_code = 4


class ClusterError(DeviceError):
    """A scheduler or its workers cannot be reached, were lost, or lack what a run needs."""


class StoreError(DeviceError):
    """A store of what steps made is full, cannot be reached, or holds something damaged."""


class StepError(EdgeseqError):
    """A step in a child process died without reporting an error."""

    exit_code = 1


def library_panic(error: BaseException) -> InputError | None:
    """What `tokenizers` gave up on: its panic is a `BaseException` and not the end of the process.

    None for any other error.
    """
    if type(error).__name__ != "PanicException":
        return None
    return InputError(
        "the tokenizer gave up on a text",
        found=str(error),
        fix="use the tokenizer of a model that you trust",
    )
