"""The files of JSON between this machine and a board's measuring process (`agent`)."""

from __future__ import annotations

import msgspec

from edgeseq.formats.result import Settings
from edgeseq.progress import ProgressUpdate
from edgeseq.subprocesses.job_processes import JobFailure


class RunRequest(msgspec.Struct, frozen=True):
    """`request.json`: measure `tree/bundles/0`, … with these settings.

    The run ends itself, and removes everything that was sent to the board, when it had no sign of
    life for `grace_s`. It writes the result so far every `checkpoint_s`.
    """

    bundles: int
    settings: Settings
    grace_s: float
    checkpoint_s: float


class LogLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of `log.jsonl`; exactly one of the four is set.

    `checkpoint`: there is a new `checkpoint.json`.
    """

    progress: ProgressUpdate | None = None
    failure: JobFailure | None = None
    checkpoint: bool = False
    done: bool = False
