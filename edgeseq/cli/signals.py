"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it began is removed, its children end."""

from __future__ import annotations

import signal
import time
from types import FrameType

GRACE_S = 10.0
"""A signal repeated within this time does not interrupt the clean-up after the first one."""

_received: list[tuple[int, float]] = []


def listen() -> None:
    """Lets SIGTERM and SIGHUP raise `KeyboardInterrupt` in the main thread."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup(1) ignores SIGHUP
            signal.signal(number, _interrupt)


def exit_code() -> int | None:
    """128 + the number of the first signal that was received, as shells report it; None: none."""
    return 128 + _received[0][0] if _received else None


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    now = time.monotonic()
    if _received and now - _received[-1][1] < GRACE_S:
        return
    _received.append((number, now))
    raise KeyboardInterrupt
