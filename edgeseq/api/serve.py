"""The report of results that are still being measured, as a page of this machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from edgeseq.errors import EdgeseqError, InputError
from edgeseq.installation import command_with_extras
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.deployment_report import Report, can_draw, make_report
from edgeseq.reporting.live_page import (
    PAGE_NAME,
    REPORT_NAME,
    STATUS_NAME,
    LiveStatus,
    LiveStep,
    render_live_page,
)
from edgeseq.runtime.browser.page_server import serve_contents
from edgeseq.suite.watched_results import Versions, WatchedResults

_POLL_S = 1.0
_PORTS = range(65536)


def serve(
    paths: Sequence[str | Path] | str | Path,
    *,
    budget: str | None = None,
    port: int = 0,
    on_address: Callable[[str], None] | None = None,
    on_report: Callable[[Report], None] | None = None,
) -> None:
    """Serve the report of results on this machine alone, and renew it whenever they change.

    Runs until it is interrupted. The page reloads by itself; nothing can be sent to it, and nothing
    but the report is served.

    Args:
        paths: Result files (which need not exist yet), folders of them, or the output folder of a
            suite, alone or in a list.
        budget: Limits as for `report`; by default those of the suite.
        port: The port on 127.0.0.1; 0 for any that is free.
        on_address: Called with the address of the page; by default it is printed.
        on_report: Called with each new report.

    Raises:
        InputError: A folder is missing, the budget has an error, the port is taken, or the extra
            `report` is not installed.
        OutputError: This program may not listen on the port.
        KeyboardInterrupt: It was interrupted.

    Examples:
        >>> es.serve("runs/mine", budget="memory=64MB p95=20ms")
    """
    several = [paths] if isinstance(paths, (str, Path)) else paths
    watched = WatchedResults([Path(path) for path in several])
    if port not in _PORTS:
        raise InputError("is not a port", where="--port", found=port, expected="0 to 65535")
    if not can_draw():
        raise InputError(
            "the page needs packages that are not installed",
            expected="the extra `report`",
            fix=f"run: {command_with_extras(['report'])}",
        )
    page = _LivePage(watched, budget, on_report or (lambda _: None))
    page.refresh()
    with serve_contents(page.contents, port=port) as address:
        (on_address or print)(address)
        while True:
            time.sleep(_POLL_S)
            page.refresh()


class _Drawing(threading.Thread):
    """Draws the report of result files; ends with the program.

    A result that is half copied gives no report, but a problem. `failure` is an error of this
    program.
    """

    def __init__(self, files: list[Path], budget: str | None, watched: WatchedResults) -> None:
        super().__init__(daemon=True)
        self._files, self._budget, self._watched = files, budget, watched
        self.report: Report | None = None
        self.page, self.problem = b"", ""
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            limits = self._watched.budget if self._budget is None else self._budget
            baseline = self._watched.baseline
            report = make_report(self._files, budget=parse_budget(limits), baseline=baseline)
            self.page, self.report = report.to_html().encode(), report
        except EdgeseqError as error:
            self.problem = str(error)
        except Exception as error:  # noqa: BLE001 - raised again where it is taken
            self.failure = error


class _LivePage:
    """What is served; `refresh` writes it again where a file has changed.

    A server's threads read `contents` meanwhile: each value is replaced as a whole.
    """

    def __init__(
        self,
        watched: WatchedResults,
        budget: str | None,
        on_report: Callable[[Report], None],
    ) -> None:
        if budget is not None:
            parse_budget(budget)
        self.contents: dict[str, bytes] = {PAGE_NAME: render_live_page().encode()}
        self._watched, self._budget, self._on_report = watched, budget, on_report
        self._versions: Versions | None = None
        self._reports, self._updated_s, self._problem = 0, 0.0, ""
        self._drawing: _Drawing | None = None

    def refresh(self) -> None:
        """Takes a report that is drawn, begins one if a result has changed, and writes the status.

        A machine that measures leaves a report little time, so the status does not wait for it.
        """
        if self._drawing is not None and not self._drawing.is_alive():
            self._take(self._drawing)
            self._drawing = None
        versions = self._watched.versions()
        if versions != self._versions and self._drawing is None:
            self._versions, self._problem = versions, ""
            if versions:
                files = [path for path, _, _ in versions]
                self._drawing = _Drawing(files, self._budget, self._watched)
                self._drawing.start()
        status = LiveStatus(
            version=self._reports,
            updated_unix_s=self._updated_s,
            files=tuple(path.name for path, _, _ in versions),
            steps=tuple(self._steps()),
            problem=self._problem,
            is_drawing=self._drawing is not None,
        )
        self.contents[STATUS_NAME] = msgspec.json.encode(status)

    def _take(self, drawing: _Drawing) -> None:
        if drawing.failure is not None:
            raise drawing.failure
        self._problem = drawing.problem
        if drawing.report is None:
            return
        self.contents[REPORT_NAME] = drawing.page
        self._reports += 1
        self._updated_s = time.time()
        self._on_report(drawing.report)

    def _steps(self) -> Iterator[LiveStep]:
        for record in self._watched.finished_steps():
            yield LiveStep(
                title=record.name.replace("-", " ", 1),
                seconds=record.seconds,
                note=str(record.answer.get("note", "")),
            )
