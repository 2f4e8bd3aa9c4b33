"""What the tests of written reports share: budgets, hostile names, and a page's tags."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from edgeseq.reporting.budgets import parse_budget

from ...fake_results import (
    MODELS,
    Fake,
)

BUDGET = parse_budget("memory=64MB p95=20ms")

WORKING_BUDGET = parse_budget("memory=40MB p95=20ms")
"""Where working memory was measured, what a limit of 64 MB is by the peak is one of 40 MB."""

SMALL = Fake(n_queries=300, models=(MODELS[0], MODELS[2], MODELS[5]))

HOSTILE = (
    "</script><script>alert(1)</script>\"'`&<img src=x onerror=alert(2)>{{7*7}}\u2028ü|*_[a](b)"
)


class PageTags(HTMLParser):
    """Every start tag with its attributes, and the text that is not in a script or style."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data


def page_of(folder: Path) -> tuple[str, PageTags]:
    content = (folder / "report.html").read_text(encoding="utf-8")
    return content, PageTags(content)
