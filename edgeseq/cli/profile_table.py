"""An operator profile in the terminal, for `edgeseq bench` and `edgeseq inspect`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from edgeseq.formats.result import OperatorProfile
from edgeseq.reporting.format import format_profile_lines, format_profile_summary

LINES = 12


def profile_table(profile: OperatorProfile, name: str) -> Table:
    """The operators that take the most time, and what XNNPACK runs."""
    table = Table(
        title=escape(f"where the time of {name} goes"),
        title_justify="left",
        caption=escape(format_profile_summary(profile)),
        caption_justify="left",
    )
    table.add_column("operator", overflow="fold")
    table.add_column("run by")
    for title in ("calls per query", "time per query", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in format_profile_lines(profile, limit=LINES):
        table.add_row(*(escape(cell) for cell in line))
    return table
