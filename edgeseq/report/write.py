"""Writes a report: `report.html`, `report.md` with its pictures, and `summary.json`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq.errors import OutputError
from edgeseq.formats.storage import new_folder, write_bytes, write_json, write_text
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.report import markdown
from edgeseq.report.budgets import Budget, budget_text
from edgeseq.report.parts import Part, asked_of, check_examples, parts_of, table_parts
from edgeseq.report.summary import Decided, Summary, read_and_decide, summarize
from edgeseq.report.view import group_view, report_command, report_title
from edgeseq.tasks.examples import AnyExample

if TYPE_CHECKING:
    from edgeseq.report.chart_parts import Figure

PICTURES = "pictures"
WRITTEN = frozenset({"report.html", "report.md", "summary.json", PICTURES})
_EXTRA = ("altair", "jinja2", "vl_convert")
_PICTURE_SCALE = 2.0


def can_draw() -> bool:
    """Whether the extra `report` is installed; without it there is Markdown and JSON alone."""
    return all(importlib.util.find_spec(module) is not None for module in _EXTRA)


def write_report(
    results: Sequence[Path],
    out: Path,
    *,
    budget: Budget | None = None,
    examples: Sequence[AnyExample] | None = None,
    progress: ProgressCallback = no_progress,
) -> Summary:
    """Writes the report of result files into the folder `out` and gives its summary.

    `examples`, all of a bundle's in its order, adds sentences on which two models disagree. A
    folder that holds only an earlier report is replaced, as a whole and at the end. Without the
    extra `report`, only Markdown without pictures and `summary.json` are written (see `can_draw`).

    Raises `ResultError` for a result file that cannot be used, `InputError` for examples that are
    not those of the results, and `OutputError` where `out` holds anything else or cannot be
    written to.
    """
    _check_out(out)
    budget = budget or Budget()
    progress(ProgressUpdate("reading", 0, len(results)))
    decided = read_and_decide(results, budget)
    asked = [None if examples is None else asked_of(one.group, examples) for one in decided]
    for one, own in zip(decided, asked, strict=True):
        if own is not None:
            check_examples(one.group, own)
    progress(ProgressUpdate("reading", len(results), len(results)))
    summary = summarize(decided, budget)
    parts = [
        parts_of(one, own) if can_draw() else table_parts(one.group)
        for one, own in zip(decided, asked, strict=True)
    ]
    with new_folder(out, overwrite=True) as folder:
        _write_pictures(folder / PICTURES, parts, progress)
        _write_documents(folder, decided, parts, summary, budget)
        write_json(folder / "summary.json", summary)
    return summary


def _check_out(out: Path) -> None:
    """An earlier report may be replaced; nothing else may be lost."""
    if not out.exists():
        return
    if not out.is_dir() or out.is_symlink():
        raise OutputError("is not a folder", where=out, fix="choose another --out")
    others = sorted(path.name for path in out.iterdir() if path.name not in WRITTEN)
    if others:
        raise OutputError(
            "holds other files than a report",
            where=out,
            found=", ".join(others[:3]),
            fix="choose another --out or an empty folder",
        )


def _write_pictures(
    folder: Path, parts: Sequence[Sequence[Part]], progress: ProgressCallback
) -> None:
    figures = [
        (_prefix(number, len(parts)), figure)
        for number, group in enumerate(parts, start=1)
        for part in group
        for figure in part.figures
    ]
    if not figures:
        return
    folder.mkdir()
    for done, (prefix, figure) in enumerate(figures):
        progress(ProgressUpdate("pictures", done, len(figures), note=figure.title))
        write_bytes(folder / f"{prefix}{figure.name}.png", _png(figure))
    progress(ProgressUpdate("pictures", len(figures), len(figures)))


def _png(figure: Figure) -> bytes:
    import vl_convert

    from edgeseq.report.theme import colour, config

    spec = {**figure.spec, "config": {**config(), "background": colour("paper")}}
    return bytes(vl_convert.vegalite_to_png(spec, scale=_PICTURE_SCALE))


def _prefix(number: int, groups: int) -> str:
    return f"{number}-" if groups > 1 else ""


def _write_documents(
    folder: Path,
    decided: Sequence[Decided],
    parts: Sequence[Sequence[Part]],
    summary: Summary,
    budget: Budget,
) -> None:
    title = report_title([one.group.task for one in decided])
    files = dict.fromkeys(file for one in decided for file in one.group.files)
    command = report_command(list(files), budget_text(budget))
    views = [group_view(one.group, one.summary, report_command=command) for one in decided]
    groups = [
        markdown.MarkdownGroup(view, part, _prefix(number, len(views)))
        for number, (view, part) in enumerate(zip(views, parts, strict=True), start=1)
    ]
    text = markdown.render(title, summary.verdict.why, groups, pictures=PICTURES)
    write_text(folder / "report.md", text)
    if can_draw():
        from edgeseq.report import page

        page_groups = [
            page.PageGroup(one, view, part)
            for one, view, part in zip(decided, views, parts, strict=True)
        ]
        html = page.render(title, summary.verdict.why, page_groups, budget)
        write_text(folder / "report.html", html)
