"""The report as Markdown: written by hand, so that it needs no template engine on a device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edgeseq.report.parts import Part, Table
from edgeseq.report.view import GroupView

# An underscore inside of a word is no markup, and names like dynamic_wi8_afp32 stay readable.
_SPECIAL = re.compile(r"[\\`*\[\]#|~$]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


class MarkdownGroup(NamedTuple):
    """A group to be written; pictures are `FOLDER/PREFIXNAME.png` beside the file."""

    view: GroupView
    parts: Sequence[Part]
    prefix: str


def escape(text: str) -> str:
    """`text` on one line, so that no character of it is taken as markup or HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def render(title: str, overall: str, groups: Sequence[MarkdownGroup], *, pictures: str) -> str:
    """The whole document; `overall` is the sentence over several groups."""
    lines = [f"# {escape(title)}", ""]
    if not groups:
        lines += ["Nothing was measured: the result files hold no run.", ""]
    if len(groups) > 1:
        lines += [f"{escape(overall)} Results of different devices, settings or data are never "
                  "merged.", ""]  # fmt: skip
    for group in groups:
        lines += _group(group, several=len(groups) > 1, pictures=pictures)
    return "\n".join(lines).rstrip() + "\n"


def _group(group: MarkdownGroup, *, several: bool, pictures: str) -> Iterator[str]:
    view = group.view
    if several:
        yield from (f"## {escape(view.title)}", "")
    yield from (f"**{escape(view.headline)}.** {escape(view.why)}", "")
    yield from (f"Limits: {escape(view.limits)}. {escape(view.trust)}", "")
    yield from ("; ".join(escape(fact) for fact in (view.title, *view.facts)) + ".", "")
    yield from _models(view)
    yield from ("## Where an LSTM beats a BERT, and where it doesn’t", "")
    yield from (escape(view.boundary), "")
    for part in group.parts:
        if part.title:
            yield from (f"## {escape(part.title)}", "")
        for figure in part.figures:
            path = f"{pictures}/{group.prefix}{figure.name}.png"
            yield from (f"![{escape(figure.title)}]({path})", "")
            yield from (f"**{escape(figure.title)}.** {escape(figure.caption)}", "")
        for table in part.tables:
            yield from _table(table)
    yield from ("## Validity", "", f"{escape(view.trust)} {escape(view.energy)}", "")
    if view.findings:
        findings = tuple((one.severity, one.about, one.message) for one in view.findings)
        yield from _table(Table(("severity", "about", "finding"), findings))
    yield from ("## More numbers of each model", "")
    details = tuple((bundle, *cells) for bundle, cells in view.details)
    yield from _table(Table(("model", *view.detail_head), details))
    yield from ("## Provenance", "")
    for title, pairs in view.provenance:
        said = "; ".join(f"{escape(name)} {escape(value)}" for name, value in pairs)
        yield f"- **{escape(title)}**: {said}"
    yield from ("", "## Repeat it", "")
    # Four spaces make a code block, in which nothing is markup.
    yield from (f"    {' '.join(command.split())}" for command in view.commands)
    yield ""


def _models(view: GroupView) -> Iterator[str]:
    heads = tuple(title for title, _, _ in view.table[0].cells) if view.table else ()
    lines = []
    for row in view.table:
        cells = tuple(f"{value} ({remark})" if remark else value for _, value, remark in row.cells)
        decision = "**ships**" if row.ships else escape("; ".join(row.reasons))
        lines.append((*(escape(cell) for cell in (row.bundle, *cells)), decision))
    yield from _rows(("model", *heads, "decision"), lines)


def _table(table: Table) -> Iterator[str]:
    lines = [tuple(escape(cell) for cell in line) for line in table.lines]
    yield from _rows(tuple(escape(head) for head in table.head), lines)


def _rows(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(line)} |" for line in lines)
    yield ""
