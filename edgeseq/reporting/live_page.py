"""The page around a report that is written again while models are measured.

It shows the report in a frame, asks for `status.json`, and loads the report again when there is a
newer one. The report is the page that `edgeseq report` writes.
"""

from __future__ import annotations

import msgspec

from edgeseq.reporting.page_parts import content_policy, palette_css, template_text

PAGE_NAME, REPORT_NAME, STATUS_NAME = "index.html", "report.html", "status.json"


class LiveStep(msgspec.Struct, frozen=True):
    """A step of a suite that is finished; `note` is its outcome in a few words."""

    title: str
    seconds: float
    note: str


class LiveStatus(msgspec.Struct, frozen=True):
    """`status.json`.

    `version` counts the reports, 0: none yet, and `updated_unix_s` is when the last one was
    written. `problem` is why the files as they are now give no report, `is_drawing` whether a newer
    one is being made.
    """

    version: int
    updated_unix_s: float
    files: tuple[str, ...]
    steps: tuple[LiveStep, ...]
    problem: str
    is_drawing: bool


def render_live_page() -> str:
    """The page; all that varies comes to it through `status.json`."""
    script = template_text("live.js")
    parts = {
        "POLICY": content_policy(script, further="; connect-src 'self'; frame-src 'self'"),
        "STYLE": palette_css() + template_text("live.css"),
        "SCRIPT": script,
    }
    page = template_text("live.html")
    for name, content in parts.items():
        page = page.replace(name, content, 1)
    return page
