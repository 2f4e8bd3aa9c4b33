"""The page has the counts that were stored."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from studies.reliability import PAGE, STORED, page, record


def test_the_page_shows_the_stored_counts() -> None:
    text = PAGE.read_text(encoding="utf-8")
    counts = json.loads(STORED.read_text(encoding="utf-8"))
    assert counts
    assert text == page(text, counts), "run `python benchmarks/studies/reliability.py --write`"


def test_counts_are_kept_where_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counts.json"
    monkeypatch.delenv("EDGESEQ_COUNTS", raising=False)
    record("nothing", 1)
    monkeypatch.setenv("EDGESEQ_COUNTS", str(path))
    record("signals", 3)
    record("signals", 4)
    record("writes", 1_000)
    shown = page("a\n<!-- counts -->\nold\n<!-- /counts -->\nz\n", json.loads(path.read_text()))
    assert "| signals | 4 |\n| writes | 1,000 |\n" in shown
    assert "old" not in shown
    assert shown.endswith("<!-- /counts -->\nz\n")


def test_counts_of_runs_beside_each_other_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "counts.json"
    monkeypatch.setenv("EDGESEQ_COUNTS", str(path))
    names = [f"reader {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record, names, range(40)))
    assert json.loads(path.read_text(encoding="utf-8")) == dict(zip(names, range(40), strict=True))
