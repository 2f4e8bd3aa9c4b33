"""`edgeseq serve` as a process: its page follows the result file."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeseq
from edgeseq.api import serve
from edgeseq.formats.storage import write_json
from edgeseq.reporting.deployment_report import Report
from edgeseq.reporting.live_page import STATUS_NAME
from edgeseq.suite.output_folder import MARKER, SUITE_FILE, RunMarker
from edgeseq.suite.steps import StepRecord
from edgeseq.suite.watched_results import WatchedResults

from ...fake_results import MODELS, Fake, write_result
from ..reporting.browser import CHROMIUM, Browser, browser
from ..suite.test_watched_results import SUITE

WIDTHS_PX = (1280, 390)
FEW = Fake(n_queries=60, n_examples=200, models=MODELS[2:3])


@contextlib.contextmanager
def served(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that the command prints, and its process, which is killed in the end."""
    command = [sys.executable, "-m", "edgeseq", "serve", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip(), process
        finally:
            process.kill()


def status_of(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}status.json", timeout=10) as answer:  # noqa: S310
        return dict(json.load(answer))


def wait_for(address: str, is_reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not is_reached(status := status_of(address)):
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    return status


def replace_result(path: Path, fake: Fake) -> None:
    """As a run does: the whole file at once."""
    write_result(path.with_suffix(".draft"), fake).replace(path)


@pytest.mark.slow
def test_the_report_follows_a_file_and_outlives_a_half_copied_one(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with served(str(result), "--budget", "memory=64MB") as (address, process):
        assert address.startswith("http://127.0.0.1:")
        assert status_of(address)["version"] == 0
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}report.html", timeout=10)  # noqa: S310
        replace_result(result, FEW)
        assert wait_for(address, lambda status: status["version"] == 1)["files"] == ["result.json"]
        result.write_bytes(result.read_bytes()[:-100])
        problem = wait_for(address, lambda status: status["problem"])
        assert "result.json: is not what was expected" in problem["problem"]
        with urllib.request.urlopen(f"{address}report.html", timeout=10) as answer:  # noqa: S310
            assert b"64 MB" in answer.read()
        process.send_signal(signal.SIGINT)
        _, notes = process.communicate(timeout=20)
        assert process.returncode == 0
        assert notes.splitlines()[-1] == "ended"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json"]


def test_steps_are_shown_while_a_report_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, may_draw = start_suite(tmp_path / "run"), threading.Event()
    write_result(suite / "measured.json", FEW)
    draw = serve.make_report

    def draw_when_allowed(*arguments: Any, **options: Any) -> Report:
        assert may_draw.wait(60)
        return draw(*arguments, **options)

    monkeypatch.setattr(serve, "make_report", draw_when_allowed)
    page = serve._LivePage(WatchedResults([suite]), None, lambda _: None)

    def status() -> tuple[int, bool, int]:
        page.refresh()
        content = json.loads(page.contents[STATUS_NAME])
        return content["version"], content["is_drawing"], len(content["steps"])

    assert status() == (0, True, 1)
    record = StepRecord("bench", "g", 2.0, {}, began_unix_s=2.0)
    write_json(suite / "steps" / "bench.json", record)
    assert status() == (0, True, 2)
    may_draw.set()
    until = time.monotonic() + 60
    while status() != (1, False, 2):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert FEW.models[0].name.encode() in page.contents["report.html"]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")
def test_the_page_reloads_by_itself_but_not_under_moved_limits(tmp_path: Path) -> None:
    results, result = tmp_path / "results", tmp_path / "results" / "result.json"
    results.mkdir()
    suite = start_suite(tmp_path / "run")
    with served(str(results), str(suite)) as (address, _), browser() as page:
        page.navigate(address, width_px=WIDTHS_PX[0])
        page.wait_for(
            "document.querySelector('.text')?.textContent === 'Waiting for the first result'"
        )
        # Until there is a report, the page explains itself and lists what is finished.
        seen = "[document.querySelector('.waiting').hidden, document.querySelector('details').open]"
        assert page.evaluate(seen) == [False, True]
        assert page.evaluate("document.querySelector('ol').innerText") == "train lstm, 1 s: half"
        replace_result(result, FEW)
        wait_for_models(page, 1)
        assert page.evaluate(seen) == [True, False]
        for width_px in WIDTHS_PX:
            if width_px != WIDTHS_PX[0]:
                page.navigate(address, width_px=width_px, height_px=700)
                wait_for_models(page, 1)
            for window in ("window", "frames[0]"):
                width = f"{window}.document.documentElement.scrollWidth"
                assert page.evaluate(f"{width} <= {window}.innerWidth"), width_px
        page.evaluate(
            "(() => { const input = frames[0].document.querySelector('input[type=range]');"
            "input.value = 0; input.dispatchEvent(new Event('input', {bubbles: true}));"
            "frames[0].scrollTo({top: 400, behavior: 'instant'}); })()"
        )
        replace_result(result, replace(FEW, models=MODELS[2:4]))
        page.wait_for("document.querySelector('button').hidden === false")
        assert page.evaluate("frames[0].document.querySelectorAll('.models tbody tr').length") == 1
        page.evaluate("document.querySelector('button').click()")
        wait_for_models(page, 2)
        page.wait_for("frames[0].scrollY === 400")
        assert page.problems == []
        assert {url.partition("?")[0] for url in page.requests} <= {
            f"{address}{name}" for name in ("", "status.json", "report.html")
        }


def start_suite(root: Path) -> Path:
    """The output folder of a suite that has finished one step."""
    (root / "steps").mkdir(parents=True)
    write_json(root / MARKER, RunMarker(edgeseq.__version__, ()))
    (root / SUITE_FILE).write_text(SUITE)
    record = StepRecord("train-lstm", "f", 1.0, {"note": "half"}, began_unix_s=1.0)
    write_json(root / "steps" / "train-lstm.json", record)
    return root


def wait_for_models(page: Browser, count: int) -> None:
    drawn = "frames[0]?.document.documentElement?.dataset.ready === 'yes'"
    rows = "frames[0].document.querySelectorAll('.models tbody tr').length"
    page.wait_for(f"{drawn} && {rows} === {count}")
