"""The report of result files: `report.html`, `report.md` with its pictures, and `summary.json`."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

from edgeseq.errors import InputError, OutputError
from edgeseq.formats.linear_baseline import LinearBaseline
from edgeseq.formats.result import ResultRecord
from edgeseq.formats.search_record import SearchRecord
from edgeseq.formats.storage import new_folder, write_bytes, write_json, write_text
from edgeseq.html import html_table
from edgeseq.installation import command_with_extras
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq.reporting.baseline_sentence import baseline_sentence, check_baseline
from edgeseq.reporting.budgets import Budget, budget_text
from edgeseq.reporting.group_view import (
    GroupView,
    group_view,
    report_command,
    report_title,
)
from edgeseq.reporting.markdown import MarkdownGroup, render_markdown
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.runner_views import (
    RunnerView,
    decisions_of_runner,
    runner_cost_sentence,
    runner_sections,
    runner_views,
)
from edgeseq.reporting.search_section import search_sections
from edgeseq.reporting.sections import (
    ReportSection,
    check_examples,
    check_examples_hash,
    measured_examples,
    table_sections,
)
from edgeseq.reporting.summary import GroupDecision, ReportSummary, read_and_decide, summarize
from edgeseq.reporting.verdict import Verdict
from edgeseq.tasks.examples import AnyExample

PICTURES = "pictures"
WRITTEN = frozenset({"report.html", "report.md", "summary.json", PICTURES})
_EXTRA = ("altair", "jinja2", "vl_convert")


def can_draw() -> bool:
    """Whether the extra `report` is installed; without it there is Markdown and JSON alone."""
    return all(importlib.util.find_spec(module) is not None for module in _EXTRA)


@dataclass(frozen=True)
class Report:
    """What to ship and why, for each group of comparable measurements.

    `examples`, all test examples of a bundle in their order, adds texts on which two models
    disagree; `baseline` adds what a linear model reaches, `search` what a search tried. Charts are
    drawn on demand; without the extra `report` there are none.
    """

    decisions: tuple[GroupDecision, ...]
    budget: Budget
    examples: Sequence[AnyExample] | None = None
    baseline: LinearBaseline | None = None
    search: SearchRecord | None = None

    @cached_property
    def summary(self) -> ReportSummary:
        """What `summary.json` holds."""
        leading = [view.decision for view in self.runner_views]
        return summarize(self.decisions, leading, self.budget)

    @cached_property
    def runner_views(self) -> tuple[RunnerView, ...]:
        """The decisions, each with those over the same models in other runners."""
        return runner_views(self.decisions)

    @property
    def rows(self) -> tuple[ReportRow, ...]:
        """One row per model and device."""
        return self.summary.rows

    @property
    def verdict(self) -> Verdict:
        """The verdict of the only group, or the bundle on which all groups agree."""
        return self.summary.verdict

    @property
    def boundary(self) -> str:
        """Under which limits each architecture wins, in words: one line per group."""
        return "\n".join(view.decision.summary.boundary for view in self.runner_views)

    @cached_property
    def sections(self) -> tuple[tuple[ReportSection, ...], ...]:
        """Charts and tables of each of `views`, in the order of the page."""
        if not can_draw():
            return tuple(
                (
                    *table_sections(view.decision.group),
                    *runner_sections(view),
                    *search_sections(self.search),
                )
                for view in self.runner_views
            )
        # altair belongs to the extra `report`, which a device lacks.
        from edgeseq.reporting.charts.chart_sections import report_sections  # noqa: PLC0415 - see above

        return tuple(
            report_sections(view, self._examples_of(view.decision), self.search)
            for view in self.runner_views
        )

    @cached_property
    def views(self) -> tuple[GroupView, ...]:
        """The text of each group; of several runners the first leads, with the others in it."""
        files = dict.fromkeys(file for decision in self.decisions for file in decision.group.files)
        command = report_command(list(files), budget_text(self.budget))
        return tuple(
            group_view(
                view.decision,
                report_command=command,
                remarks=(
                    self._baseline_sentence(view.decision),
                    *(runner_cost_sentence(view, other) for other in view.others),
                ),
            )
            for view in self.runner_views
        )

    @property
    def title(self) -> str:
        """The heading."""
        return report_title([view.decision.group for view in self.runner_views])

    def to_html(self) -> str:
        """The page, which loads nothing.

        Raises `InputError` without the extra `report`.
        """
        if not can_draw():
            raise InputError(
                "the page needs packages that are not installed",
                expected="the extra `report`",
                fix=f"run: {command_with_extras(['report'])}",
            )
        # jinja2 and vl_convert belong to the extra `report`, which a device lacks.
        from edgeseq.reporting.page import PageGroup, render_page  # noqa: PLC0415 - see above

        groups = [
            PageGroup(runners.decision, view, sections)
            for runners, view, sections in zip(
                self.runner_views, self.views, self.sections, strict=True
            )
        ]
        return render_page(self.title, self.verdict.reason, groups, self.budget)

    def to_markdown(self) -> str:
        """The same as Markdown, with links to the pictures that `save` writes."""
        groups = [
            MarkdownGroup(view, sections, self._prefix(index))
            for index, (view, sections) in enumerate(zip(self.views, self.sections, strict=True))
        ]
        return render_markdown(self.title, self.verdict.reason, groups, pictures=PICTURES)

    def save(self, folder: Path | str, *, progress: ProgressCallback = no_progress) -> Path:
        """Writes the report into `folder`; an earlier report in it is replaced at the end.

        Returns the page (or, without the extra `report`, the Markdown file).

        Raises `OutputError` where `folder` holds anything else or cannot be written to.
        """
        folder = Path(folder)
        _check_out(folder)
        with new_folder(folder, overwrite=True) as unfinished, _drawing_threads() as pool:
            # Pictures are drawn outside of the interpreter's lock, while the page is written.
            pictures = self._draw_pictures(pool)
            write_text(unfinished / "report.md", self.to_markdown())
            if can_draw():
                write_text(unfinished / "report.html", self.to_html())
            _write_pictures(unfinished / PICTURES, pictures, progress)
            write_json(unfinished / "summary.json", self.summary)
        return folder / ("report.html" if can_draw() else "report.md")

    def _examples_of(self, decision: GroupDecision) -> Sequence[AnyExample] | None:
        return None if self.examples is None else measured_examples(decision.group, self.examples)

    def _baseline_sentence(self, decision: GroupDecision) -> str:
        return "" if self.baseline is None else baseline_sentence(decision, self.baseline)

    def _prefix(self, index: int) -> str:
        return f"{index + 1}-" if len(self.runner_views) > 1 else ""

    def _draw_pictures(self, pool: ThreadPoolExecutor) -> list[tuple[str, str, Future[bytes]]]:
        """The file name, the title and the coming content of each picture."""
        figures = [
            (f"{self._prefix(index)}{figure.name}.png", figure)
            for index, sections in enumerate(self.sections)
            for section in sections
            for figure in section.figures
        ]
        if not figures:
            return []
        # vl_convert belongs to the extra `report`, which a device lacks.
        from edgeseq.reporting.charts.chart_sections import draw_png  # noqa: PLC0415 - see above

        return [(name, figure.title, pool.submit(draw_png, figure)) for name, figure in figures]

    def _repr_html_(self) -> str:
        """The verdict and the table of models of each group, for notebooks."""
        return "".join(_view_html(view) for view in self.views)


def make_report(
    results: Sequence[Path | ResultRecord],
    *,
    budget: Budget | None = None,
    examples: Sequence[AnyExample] | None = None,
    examples_sha256: str | None = None,
    runner: str | None = None,
    baseline: LinearBaseline | None = None,
    search: SearchRecord | None = None,
) -> Report:
    """Decides what to ship from results, given as files or as records; with `runner`, of the models
    that were measured in it alone. `examples_sha256` is the hash of the examples' file, `baseline`
    what a linear model reaches on the same data, `search` the search that found the models.

    Raises `ResultError` for a result that cannot be used, and `InputError` for examples or a
    baseline that are not of the results.
    """
    budget = budget or Budget()
    decisions = read_and_decide(results, budget)
    if runner is not None:
        decisions = decisions_of_runner(decisions, runner)
    report = Report(decisions, budget, examples, baseline, search)
    if baseline is not None:
        check_baseline([decision.group for decision in decisions], baseline)
    for decision in report.decisions:
        if examples is not None:
            check_examples(decision.group, measured_examples(decision.group, examples))
            if examples_sha256 is not None:
                check_examples_hash(decision.group, examples_sha256, len(examples))
    return report


@contextlib.contextmanager
def _drawing_threads() -> Iterator[ThreadPoolExecutor]:
    """Two threads; what they have not begun is left when the block ends with an error."""
    pool = ThreadPoolExecutor(2)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write_pictures(
    folder: Path, pictures: Sequence[tuple[str, str, Future[bytes]]], progress: ProgressCallback
) -> None:
    if not pictures:
        return
    folder.mkdir()
    for index, (name, title, content) in enumerate(pictures):
        progress(ProgressUpdate("pictures", index, len(pictures), note=title))
        write_bytes(folder / name, content.result())
    progress(ProgressUpdate("pictures", len(pictures), len(pictures)))


def _check_out(folder: Path) -> None:
    """An earlier report may be replaced; nothing else may be lost."""
    if not folder.exists():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise OutputError("is not a folder", where=folder, fix="choose another --out")
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in WRITTEN)
    if foreign:
        raise OutputError(
            "holds more than a report",
            where=folder,
            found=", ".join(foreign[:3]),
            fix="choose another --out or an empty folder",
        )


def _view_html(view: GroupView) -> str:
    titles = [figure.title for figure in view.table[0].figures] if view.table else []
    rows = [
        (row.bundle, *(figure.value for figure in row.figures), "; ".join(row.reasons) or "ships")
        for row in view.table
    ]
    headline, reason = view.verdict
    remarks = " ".join((view.boundary, *view.remarks))
    return (
        f"<p><b>{escape(headline)}</b> {escape(reason)}</p>"
        f"{html_table(('model', *titles, 'decision'), rows)}<p>{escape(remarks)}</p>"
    )
