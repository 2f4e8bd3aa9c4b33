"""Progress bars in terminals and notebooks, for the Python API and the command line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape as escape_html
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress

BAR_DELAY_S = 1.0
"""Work that takes less shows no bar."""

ProgressOption = ProgressCallback | Literal["auto"] | None
"""What a function of the API takes as `progress`: a callback, `"auto"` for a bar in a terminal or a
notebook once the work has taken a second, or None for no progress."""


@contextmanager
def progress_of(option: ProgressOption, *, still: bool = False) -> Iterator[ProgressCallback]:
    """Gives the callback that `option` stands for, for as long as the block lasts.

    With `still`, bars move only with updates: no clock ticks while something is measured.
    """
    if option is None:
        yield no_progress
    elif option != "auto":
        yield option
    elif in_notebook():
        with _notebook_bars() as callback:
            yield callback
    else:
        console = Console(stderr=True, highlight=False)
        with terminal_bars(console, still=still) if console.is_terminal else _silent() as callback:
            yield callback


@contextmanager
def _silent() -> Iterator[ProgressCallback]:
    yield no_progress


@contextmanager
def terminal_bars(console: Console, *, still: bool = False) -> Iterator[ProgressCallback]:
    """Gives a callback that shows one bar per stage on `console`, after `BAR_DELAY_S`."""
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        auto_refresh=not still,
    )
    show_at = time.monotonic() + BAR_DELAY_S
    tasks: dict[str, Any] = {}

    def show(update: ProgressUpdate) -> None:
        if update.stage not in tasks:
            tasks[update.stage] = bars.add_task(update.stage, total=None, note="")
        bars.update(
            tasks[update.stage],
            completed=update.done,
            total=update.total,
            note=escape(update.note),
        )
        if not bars.live.is_started and time.monotonic() >= show_at:
            bars.start()
        elif still and bars.live.is_started:
            bars.refresh()

    try:
        yield show
    finally:
        if bars.live.is_started:
            bars.stop()


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel, whose output is HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _notebook_bars() -> Iterator[ProgressCallback]:
    """Gives a callback that shows the latest stage as one HTML bar; it disappears at the end."""
    from IPython.display import HTML, display  # noqa: PLC0415 - only a notebook has it

    handle: Any = None
    show_at = time.monotonic() + BAR_DELAY_S

    def show(update: ProgressUpdate) -> None:
        nonlocal handle, show_at
        now = time.monotonic()
        if now < show_at:
            return
        show_at = now + 0.2  # a notebook is a browser at the end of a queue
        bar = HTML(_bar_html(update))
        if handle is None:
            handle = display(bar, display_id=True)
        else:
            handle.update(bar)

    try:
        yield show
    finally:
        if handle is not None:
            handle.update(HTML(""))


def _bar_html(update: ProgressUpdate) -> str:
    bar = "<progress></progress>"
    if update.total:
        bar = f'<progress value="{update.done:g}" max="{update.total:g}"></progress>'
    return f"{escape_html(update.stage)} {bar} {escape_html(update.note)}"
