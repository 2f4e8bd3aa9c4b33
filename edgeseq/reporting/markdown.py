"""The report as Markdown: without a template engine, so that a device can write it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from edgeseq.reporting.group_view import GroupView
from edgeseq.reporting.sections import ReportSection, ReportTable

# An underscore within a word is not markup: names like dynamic_wi8_afp32 stay readable.
_SPECIAL = re.compile(r"[\\`*\[\]#|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


class MarkdownGroup(NamedTuple):
    """A group to be written; pictures are `FOLDER/PREFIXNAME.png` beside the file."""

    view: GroupView
    sections: Sequence[ReportSection]
    prefix: str


def escape_markdown(text: str) -> str:
    """`text` on one line, without a character that Markdown or HTML could take as markup."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", text)


def render_markdown(
    title: str, overall: str, groups: Sequence[MarkdownGroup], *, pictures: str
) -> str:
    """The document; `overall` is the sentence over several groups."""
    escape, has_groups = escape_markdown, len(groups) > 1
    lines = [f"# {escape(title)}", ""]
    if not groups:
        lines += ["Nothing was measured: the result files hold no run.", ""]
    if has_groups:
        lines += [f"{escape(overall)} Results of different devices, settings or data are never "
                  "merged.", ""]  # fmt: skip
    for group in groups:
        if has_groups:
            lines += [f"## {escape(group.view.title)}", ""]
        lines += _verdict_lines(group.view)
        for section in group.sections:
            lines += _section_lines(section, f"{pictures}/{group.prefix}")
        lines += _evidence_lines(group.view)
    return "\n".join(lines).rstrip() + "\n"


def _verdict_lines(view: GroupView) -> Iterator[str]:
    escape = escape_markdown
    headline, reason = view.verdict
    yield from (f"**{escape(headline)}** {escape(reason)}", "")
    yield from (f"Limits: {escape(view.limits)}. {escape(view.validity)}", "")
    yield from ("; ".join(escape(fact) for fact in (view.title, *view.facts)) + ".", "")
    titles = tuple(figure.title for figure in view.table[0].figures) if view.table else ()
    lines = []
    for row in view.table:
        cells = [f"{f.value} ({f.remark})" if f.remark else f.value for f in row.figures]
        decision = "**ships**" if row.ships else escape("; ".join(row.reasons))
        lines.append((*(escape(cell) for cell in (row.bundle, *cells)), decision))
    yield from _table_lines(("model", *titles, "decision"), lines)
    for remark in view.remarks:
        yield from (escape(remark), "")
    yield from ("## Where an LSTM beats a BERT, and where it doesn’t", "")
    yield from (escape(view.boundary), "")


def _section_lines(section: ReportSection, prefix: str) -> Iterator[str]:
    escape = escape_markdown
    if section.title:
        yield from (f"## {escape(section.title)}", "")
    if section.text:
        yield from (escape(section.text), "")
    for figure in section.figures:
        yield from (f"![{escape(figure.title)}]({prefix}{figure.name}.png)", "")
        yield from (f"**{escape(figure.title)}.** {escape(figure.caption)}", "")
    for table in section.tables:
        yield from _escaped_table(table)


def _evidence_lines(view: GroupView) -> Iterator[str]:
    """Validity, details, provenance, and the commands that repeat it all."""
    escape = escape_markdown
    yield from ("## Validity", "", f"{escape(view.validity)} {escape(view.energy)}", "")
    if view.findings:
        findings = tuple((line.severity, line.models, line.message) for line in view.findings)
        yield from _escaped_table(ReportTable(("severity", "models", "finding"), findings))
    yield from ("## More numbers of each model", "")
    details = tuple((bundle, *cells) for bundle, cells in view.details)
    yield from _escaped_table(ReportTable(("model", *view.detail_head), details))
    yield from ("## Provenance", "")
    for title, pairs in view.provenance:
        values = "; ".join(f"{escape(name)} {escape(value)}" for name, value in pairs)
        yield f"- **{escape(title)}**: {values}"
    yield from ("", "## Repeat it", "")
    # Four spaces make a code block, in which nothing is markup.
    yield from (f"    {' '.join(command.split())}" for command in view.commands)
    yield ""


def _escaped_table(table: ReportTable) -> Iterator[str]:
    yield from markdown_table(table.head, table.lines).splitlines()
    yield ""


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of plain text: everything in it is escaped."""
    escaped = [tuple(map(escape_markdown, line)) for line in (head, *lines)]
    return "\n".join(_table_lines(escaped[0], escaped[1:]))


def _table_lines(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""
