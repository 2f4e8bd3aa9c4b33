"""One thing that was looked at, and what it means."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Severity = Literal["ok", "warning", "problem"]


class Mend(NamedTuple):
    """How something is mended: commands there, commands here, and words where none will do."""

    there: tuple[str, ...] = ()
    here: tuple[str, ...] = ()
    words: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """`about` is what was looked at, `what` the finding in words, `mend` the commands that mend
    it, in their order, to be typed on the device (`mend_here`: on the machine that asked).

    A `problem` must be mended before anything can be measured. With a `warning` there are numbers,
    but fewer of them or worse ones.
    """

    severity: Severity
    about: str
    what: str
    mend: tuple[str, ...] = ()
    mend_here: tuple[str, ...] = ()


def diagnosis(severity: Severity, about: str, what: str, mend: Mend) -> Diagnosis:
    """A diagnosis whose words end with those of `mend`."""
    if mend.words:
        what = f"{what}; {mend.words}"
    return Diagnosis(severity, about, what, mend.there, mend.here)
