"""What the command line shows: progress bars, tables, one-line errors, JSON for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from edgeseq.api.progress import terminal_bars
from edgeseq.errors import OBEYED, printable
from edgeseq.progress import ProgressCallback, ProgressUpdate

LINE_INTERVAL_S = 30.0


class PlainConsole(Console):
    """Shows control characters of names, labels and texts instead of sending them on."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


out = PlainConsole(highlight=False, emoji=False)
"""Answers to commands."""
err = PlainConsole(stderr=True, highlight=False, emoji=False)
"""Everything else: progress, warnings, errors."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def print_json(value: Any) -> None:
    """Prints a struct or plain value as JSON, indented, without any styling."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"
    # JSON's escapes for what a terminal would obey; msgspec escapes the first 32 characters alone.
    sys.stdout.write(OBEYED.sub(lambda match: json.dumps(match[0])[1:-1], text))


def print_line(line: str) -> None:
    """Prints a line to stdout as it is: without markup, and not broken at the terminal's width."""
    out.print(line, markup=False, soft_wrap=True)


def print_error(line: str) -> None:
    """Prints the line of an error to stderr, without interpreting markup."""
    err.print(f"[bold red]error:[/] {escape(line)}", soft_wrap=True)


def print_note(line: str) -> None:
    """Prints a remark to stderr."""
    err.print(escape(line), soft_wrap=True)


@contextmanager
def progress_bars(*, still: bool = False) -> Iterator[ProgressCallback]:
    """Yields a callback that shows one bar per stage on stderr; without a terminal, lines.

    With `still`, bars move only on an update: no clock ticks during a measurement.
    """
    if not err.is_terminal:
        yield _progress_lines()
        return
    with terminal_bars(err, still=still) as callback:
        yield callback


def _progress_lines() -> ProgressCallback:
    """A line when a stage begins and ends, and every `LINE_INTERVAL_S` while it lasts."""
    last_line_s: dict[str, float] = {}
    first_updates: dict[str, tuple[float, float]] = {}
    finished: set[str] = set()

    def show(update: ProgressUpdate) -> None:
        stage, now_s = update.stage, time.monotonic()
        if update.done == update.total:
            if stage not in finished:
                finished.add(stage)
                print_note(f"{stage}: done {update.note}".rstrip())
        elif stage not in last_line_s:
            last_line_s[stage] = now_s
            first_updates[stage] = (now_s, update.done)
            print_note(f"{stage} … {update.note}".rstrip())
        elif now_s - last_line_s[stage] >= LINE_INTERVAL_S:
            last_line_s[stage] = now_s
            share = f"{update.done / update.total:.0%}" if update.total else update.done
            remaining = _format_remaining(update, now_s, *first_updates[stage])
            print_note(f"{stage}: {share} {remaining}{update.note}".rstrip())

    return show


def _format_remaining(
    update: ProgressUpdate, now_s: float, start_s: float, done_at_start: float
) -> str:
    """The remaining time at the speed so far, as `3:20 left, `; empty if unknown.

    What was done before the stage began here (by an earlier, interrupted run) does not count.
    """
    done = update.done - done_at_start
    if not update.total or done <= 0:
        return ""
    seconds = round((update.total - update.done) * (now_s - start_s) / done)
    return f"{seconds // 60}:{seconds % 60:02} left, "
