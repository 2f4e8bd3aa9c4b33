"""The files of JSON between this machine and a board's measuring process (`agent`)."""

from __future__ import annotations

import msgspec

from edgeseq import errors
from edgeseq.errors import DeviceError, EdgeseqError
from edgeseq.formats.result import Settings
from edgeseq.progress import ProgressUpdate


class RunRequest(msgspec.Struct, frozen=True):
    """`request.json`: measure `tree/bundles/0`, … with these settings.

    The run ends itself, and removes everything that was sent to the board, when it had no sign of
    life for `grace_s`. It writes the result so far every `checkpoint_s`.
    """

    bundles: int
    settings: Settings
    grace_s: float
    checkpoint_s: float


class RunFailure(msgspec.Struct, frozen=True):
    """An error of the run: the name of its class in `edgeseq.errors`, and its parts."""

    error: str
    what: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    fix: str | None = None


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `log.jsonl`; exactly one of the four is set.

    `checkpoint`: there is a new `checkpoint.json`.
    """

    progress: ProgressUpdate | None = None
    failure: RunFailure | None = None
    checkpoint: bool = False
    done: bool = False


def failure_of(error: EdgeseqError) -> RunFailure:
    """The parts of an error, to be raised on another machine."""
    return RunFailure(
        error=type(error).__name__,
        what=error.what,
        where=error.where,
        found=None if error.found is None else str(error.found),
        expected=None if error.expected is None else str(error.expected),
        fix=error.fix,
    )


def error_of(failure: RunFailure, *, device: str) -> EdgeseqError:
    """The error again, of the same class, with the device before the place."""
    kind = getattr(errors, failure.error, DeviceError)
    if not (isinstance(kind, type) and issubclass(kind, EdgeseqError)):
        kind = DeviceError
    return kind(
        failure.what,
        where=device if failure.where is None else f"{device}: {failure.where}",
        found=failure.found,
        expected=failure.expected,
        fix=failure.fix,
    )
