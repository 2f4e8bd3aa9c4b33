"""`benchmarks/studies/figures.py`: what the READMEs claim comes from a run's own files."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.formats.storage import write_json
from edgeseq.suite.steps import StepRecord

from ..fake_results import Fake, make_result, write_result

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "benchmarks/README.md")
ANSWER = {
    "verdict": {"winner": "lstm", "why": "It is good enough. " * 10},
    "boundaries": ["Ship a BERT if you can spare 100 MB."],
    "note": "report",
}
RECORDS = (
    StepRecord("data", "f", 1.0, {"note": "invented: 3 texts"}, 10_000_000, 1_000.0),
    StepRecord("train-bert", "f", 400.0, {"note": "2 M"}, 2_000_000_000, 1_001.0),
    StepRecord("train-lstm", "f", 120.0, {"note": "1 M"}, 1_000_000_000, 1_401.0),
    StepRecord("convert-bert-float32", "f", 30.0, {"note": "8 MB"}, 1_500_000_000, 1_401.0),
    StepRecord("bench", "f", 160.0, {"note": "9 answers"}, 100_000_000, 1_521.0),
    StepRecord("report", "f", 9.0, ANSWER, 100_000_000, 1_681.0),
)


@pytest.fixture
def figures() -> Any:
    path = ROOT / "benchmarks" / "studies" / "figures.py"
    spec = importlib.util.spec_from_file_location("figures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """Copies of the pages that are written to."""
    for name in PAGES:
        copy = tmp_path / "pages" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    return tmp_path / "pages"


@pytest.fixture
def result_path(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    for record in RECORDS:
        write_json(root / "steps" / f"{record.name}.json", record)
    return write_result(root / "result.json")


def test_writes_times_transcript_and_tables(figures: Any, pages: Path, result_path: Path) -> None:
    assert figures.main([str(result_path), "--write"], pages=pages) == 0
    readme, own = ((pages / name).read_text(encoding="utf-8") for name in PAGES)
    # 690 seconds of wall clock; the seconds of the steps add up to 30 more.
    assert "<!-- demo-time -->11.5 minutes on " in readme
    block = readme.partition("<!-- demo -->\n```\n")[2].partition("\n```\n<!-- /demo -->")[0]
    lines = block.split("\n")
    assert lines[:4] == [
        "✓ data  1 s  invented: 3 texts",
        "✓ train bert  400 s  2 M",
        "✓ convert bert-float32  30 s  8 MB",
        "✓ train lstm  120 s  1 M",
    ]
    assert "Ship lstm. It is good enough." in block
    assert "report   run/report/report.html" in lines
    assert lines[-1] == "took     11.5 min, at most 2.5 GB of memory"
    assert max(map(len, lines)) <= figures.WIDTH
    assert "<!-- demo-target -->11.5 minutes | holds; “train bert” takes 6.7 of them<!--" in own
    # What was measured on other processors stays.
    part = own.partition("<!-- figures -->")[2].partition("<!-- /figures -->")[0]
    headings = [line for line in part.split("\n") if line.startswith("### ")]
    assert headings[-1] == "### aarch64 with dot products"
    assert "### x86_64 without VNNI" in headings
    assert "on Cortex-A76 (" in part.partition(headings[-1])[2]
    # Once more changes nothing.
    assert figures.main([str(result_path), "--write"], pages=pages) == 0
    assert (pages / PAGES[0]).read_text(encoding="utf-8") == readme


def test_what_is_missed_is_said(figures: Any) -> None:
    slow = [StepRecord("train-bert", "f", 960.0, {}, None, 0.0)]
    assert figures.demo_target(slow).startswith("16.0 minutes | **missed** by 4.0 minutes")


def test_a_cell_without_a_number_is_a_dash(figures: Any) -> None:
    python = make_result(Fake(limited=False, cold_starts=0))
    native = make_result(Fake(limited=False, cold_starts=0, runner="native"))
    both = msgspec.structs.replace(native, runs=(*native.runs, *python.runs))
    _, _, *rows = figures._processes(both)
    assert len(rows) == len(native.runs)
    for row in rows:
        _, _, _, working_memory, cold_start, *_ = row.split("|")
        assert working_memory == cold_start == " – / – "


def test_without_write_nothing_is_written(figures: Any, pages: Path, result_path: Path) -> None:
    before = [(pages / name).read_bytes() for name in PAGES]
    assert figures.main([str(result_path)], pages=pages) == 0
    assert [(pages / name).read_bytes() for name in PAGES] == before


def test_bad_input_is_one_line(
    figures: Any, pages: Path, result_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = pages / PAGES[0]
    page.write_text(page.read_text(encoding="utf-8").replace("<!-- /demo-time -->", ""))
    assert figures.main([str(result_path), "--write"], pages=pages) == 2
    assert "has no place for the figures" in capsys.readouterr().err
    old = StepRecord("data", "f", 1.0, {}, None)
    write_json(result_path.parent / "steps" / "data.json", old)
    assert figures.main([str(result_path)], pages=pages) == 2
    assert "does not say when a step began: found data" in capsys.readouterr().err
