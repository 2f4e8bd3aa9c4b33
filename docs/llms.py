"""`llms.txt`: the pages of the site and the commands, for language models (https://llmstxt.org)."""

from __future__ import annotations

import re
from pathlib import Path

from edgeseq.cli.app import COMMANDS

HERE = Path(__file__).parent
NAV_LINE = re.compile(r"^( +)- ([^:]+):(?: (\S+\.md))?$", re.MULTILINE)
NO_PROSE = ("#", "<", "|", "!", "```", "-", ":")


def index() -> str:
    """The text, from `mkdocs.yml`, the pages' first sentences and the table of commands."""
    settings = (HERE.parent / "mkdocs.yml").read_text(encoding="utf-8")
    summary = re.search(r"^site_description: (.+)$", settings, re.MULTILINE)
    if summary is None:
        raise SystemExit("mkdocs.yml: expected a site_description")
    lines = ["# edgeseq", "", f"> {summary[1]}", "", "## Start", ""]
    for indent, title, page in NAV_LINE.findall(settings.partition("\nnav:\n")[2]):
        if page:
            lines.append(f"- [{title}]({page.removesuffix('.md')}.html){_about(HERE / page)}")
        elif len(indent) == 2:
            lines += ["", f"## {title}", ""]
    lines += ["", "## Commands", ""]
    lines += [f"- `edgeseq {name}`: {entry.summary}" for name, entry in COMMANDS.items()]
    return "\n".join(lines) + "\n"


def _about(page: Path) -> str:
    """`: ` and the first sentence of a page's text; "" for a page that begins otherwise."""
    text = page.read_text(encoding="utf-8")
    if text.startswith("---\n"):
        text = text.split("---\n", 2)[2]
    _, paragraph, *_ = (*re.split(r"\n\s*\n", text[max(0, text.find("# ")) :]), "", "")
    paragraph = " ".join(paragraph.split())
    if paragraph.startswith(NO_PROSE):
        return ""
    sentence = re.split(r"(?<=[.!?])\s", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", paragraph))[0]
    return f": {sentence}" if sentence.endswith((".", "!", "?")) else ""
