"""Signals that end a process as Ctrl-C does: what it began is removed, its children end.

Python runs a signal's handler between two instructions of the main thread. A signal that arrives
just before that thread starts to wait, or that the system gives to another thread, would take
effect only when the waiting ends; a thread that is told of every signal sends it on until then.
What a signal raises in a finalizer, Python drops: the signal is sent again.
What a command did is not undone by a signal that arrives after it (`finish`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from types import FrameType

GRACE_S = 10.0
"""A signal repeated within this time does not interrupt the clean-up after the first one."""

_REPEAT_S = 0.2
_heard: list[int] = []
_clean_up_began_s: list[float] = []


class SignalInterrupt(KeyboardInterrupt):
    """What a signal raises.

    A class of its own: where a plain `KeyboardInterrupt` has left an `exec` of source text, as in
    the making of a dataclass, CPython kills the process with SIGINT in the end, although it was
    caught and the process exits with another status.
    """


def listen(numbers: Iterable[int]) -> None:
    """Lets these signals raise `SignalInterrupt` in the main thread, which must call this."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1) ignores SIGHUP
            signal.signal(number, _interrupt)
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    watch = {int(number) for number in numbers}
    threading.Thread(target=_send_on, args=(told, watch), daemon=True).start()
    report = sys.unraisablehook
    sys.unraisablehook = lambda unraisable: _send_again_or_report(unraisable, report)


def finish() -> None:
    """Lets this process end undisturbed: what it was to do is done, and it cleans up now."""
    _clean_up_began_s.append(time.monotonic())


def first_signal() -> int | None:
    """The number of the first of these signals that arrived."""
    return _heard[0] if _heard else None


def interrupt_main_thread() -> None:
    """Raises `SignalInterrupt` in the main thread, from another one; needs SIGINT in `listen`."""
    _send_until_heard(signal.SIGINT, len(_heard))


def _send_on(told: int, numbers: set[int]) -> None:
    while True:
        count = len(_heard)
        for number in set(os.read(told, 64)) & numbers:
            time.sleep(_REPEAT_S)
            _send_until_heard(number, count)


def _send_until_heard(number: int, count: int) -> None:
    while len(_heard) <= count and not _is_cleaning_up():
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        time.sleep(_REPEAT_S)


def _send_again_or_report(
    unraisable: sys.UnraisableHookArgs, report: Callable[[sys.UnraisableHookArgs], object]
) -> None:
    """Sends a signal again that arrived in a finalizer, from which nothing is raised."""
    error = unraisable.exc_value
    if not isinstance(error, KeyboardInterrupt):
        report(unraisable)
        return
    number: int = signal.SIGINT
    if isinstance(error, SignalInterrupt):
        _clean_up_began_s.pop()
        number = _heard.pop()
    main = threading.main_thread().ident or 0
    later = threading.Timer(_REPEAT_S, signal.pthread_kill, (main, number))
    later.daemon = True
    later.start()


def _is_cleaning_up() -> bool:
    return bool(_clean_up_began_s) and time.monotonic() - _clean_up_began_s[-1] < GRACE_S


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    if not _is_cleaning_up():
        _heard.append(number)
        _clean_up_began_s.append(time.monotonic())
        raise SignalInterrupt
