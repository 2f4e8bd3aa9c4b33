"""The result of one check of a device."""

from __future__ import annotations

from typing import Literal, NamedTuple

import msgspec

Severity = Literal["ok", "warning", "problem"]


class Fix(NamedTuple):
    """How to fix something: commands on the device and on the host, and advice in words."""

    on_device: tuple[str, ...] = ()
    on_host: tuple[str, ...] = ()
    advice: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """`subject` is what was checked; `fix` and `fix_on_host` are commands in their order, to be
    typed on the device and on the machine that asked.

    A `problem` must be fixed before anything can be measured. With a `warning` there are numbers,
    but fewer or worse ones.
    """

    severity: Severity
    subject: str
    message: str
    fix: tuple[str, ...] = ()
    fix_on_host: tuple[str, ...] = ()


def problem(subject: str, message: str, fix: Fix) -> Diagnosis:
    """A problem whose message ends with the advice of `fix`."""
    if fix.advice:
        message = f"{message}; {fix.advice}"
    return Diagnosis("problem", subject, message, fix.on_device, fix.on_host)
