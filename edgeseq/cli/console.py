"""What the command line shows: progress bars, tables, one-line errors, JSON for machines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
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

from edgeseq.progress import ProgressCallback, ProgressUpdate

LINE_INTERVAL_S = 30.0

out = Console(highlight=False)
"""Answers: what a command was asked for."""
err = Console(stderr=True, highlight=False)
"""Everything else: progress, warnings, errors."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def print_json(value: Any) -> None:
    """Prints a struct or plain value as JSON, indented, without any styling."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_error(line: str) -> None:
    """Prints the one line of an error to stderr; nothing in it is taken as markup."""
    err.print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True)


def print_note(line: str) -> None:
    """Prints a remark to stderr."""
    err.print(escape(line), soft_wrap=True)


@contextmanager
def mute_native_stderr() -> Iterator[None]:
    """Drops what native code writes to stderr meanwhile, of which no logger can be asked."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def progress_bars(*, still: bool = False) -> Iterator[ProgressCallback]:
    """Gives a `Report` that shows one bar a stage on stderr; on a dumb terminal, a line a stage.

    With `still`, bars move only when something is reported: no clock ticks beside what is measured.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    if not err.is_terminal:
        yield _line_a_stage()
        return
    with Progress(*columns, console=err, transient=False, auto_refresh=not still) as bars:
        tasks: dict[str, Any] = {}

        def report(update: ProgressUpdate) -> None:
            if update.stage not in tasks:
                tasks[update.stage] = bars.add_task(update.stage, total=None, note="")
            bars.update(
                tasks[update.stage],
                completed=update.done,
                total=update.total,
                note=escape(update.note),
            )
            if still:
                bars.refresh()

        yield report


def _line_a_stage() -> ProgressCallback:
    """A line when a stage begins and ends, and every `LINE_INTERVAL_S` while it lasts."""
    said_at: dict[str, float] = {}
    began: dict[str, tuple[float, float]] = {}
    ended: set[str] = set()

    def report(update: ProgressUpdate) -> None:
        stage, now = update.stage, time.monotonic()
        if update.done == update.total:
            if stage not in ended:
                ended.add(stage)
                print_note(f"{stage}: done {update.note}".rstrip())
        elif stage not in said_at:
            said_at[stage] = now
            began[stage] = (now, update.done)
            print_note(f"{stage} … {update.note}".rstrip())
        elif now - said_at[stage] >= LINE_INTERVAL_S:
            said_at[stage] = now
            share = f"{update.done / update.total:.0%}" if update.total else update.done
            left = _time_left(update, now, *began[stage])
            print_note(f"{stage}: {share} {left}{update.note}".rstrip())

    return report


def _time_left(update: ProgressUpdate, now: float, began: float, done_then: float) -> str:
    """The time that the rest takes at the speed so far, as `3:20 left, `; nothing if unknown.

    What was done before the stage began here (a training that is gone on with) is no speed.
    """
    done = update.done - done_then
    if not update.total or done <= 0:
        return ""
    seconds = round((update.total - update.done) * (now - began) / done)
    return f"{seconds // 60}:{seconds % 60:02} left, "
