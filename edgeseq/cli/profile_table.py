"""An operator profile in the terminal, for `edgeseq bench` and `edgeseq inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from edgeseq.report.profile_text import profile_lines, profile_remark

if TYPE_CHECKING:
    from edgeseq.formats.result import OperatorProfile

LINES = 12


def profile_table(profile: OperatorProfile, name: str) -> Table:
    """The operators that take the most time, and what XNNPACK took over."""
    table = Table(
        title=escape(f"where the time of {name} goes"),
        title_justify="left",
        caption=escape(profile_remark(profile)),
        caption_justify="left",
    )
    table.add_column("operator", overflow="fold")
    table.add_column("by")
    for title in ("calls", "time", "share"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in profile_lines(profile, limit=LINES):
        table.add_row(*(escape(cell) for cell in line))
    return table
