"""The report as an object: from result records in memory, without a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseq.errors import InputError
from edgeseq.reporting import deployment_report
from edgeseq.reporting.budgets import parse_budget
from edgeseq.reporting.comparison import compare_results
from edgeseq.reporting.deployment_report import make_report

from ...fake_results import Fake, make_result, save_report, write_result

LITTLE = Fake(n_queries=200, n_examples=300, limited=False, lengths=False)


def test_a_record_is_reported_as_its_file_is(tmp_path: Path) -> None:
    path, budget = write_result(tmp_path / "result.json", LITTLE), parse_budget("memory=64MB")
    report = make_report([make_result(LITTLE)], budget=budget)
    from_file = make_report([path], budget=budget)
    assert report.rows == from_file.rows
    assert report.verdict == from_file.verdict
    assert report.verdict.budget == budget
    assert report.boundary == from_file.boundary
    assert report.verdict.reason in report._repr_html_()
    commands = [view.commands for view in from_file.views]
    assert "edgeseq report result.json --out report --budget memory=64MB" in commands[0]
    assert not any("edgeseq report" in line for line in report.views[0].commands)


def test_the_page_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    report = make_report([make_result(LITTLE)])
    monkeypatch.setattr(deployment_report, "can_draw", lambda: False)
    with pytest.raises(InputError, match=r"run: .+\[report\]'"):
        report.to_html()
    assert report.verdict.reason in report.to_markdown().replace("\\", "")


def test_regressions_are_what_fails_or_cannot_be_checked(tmp_path: Path) -> None:
    record = make_result(LITTLE)
    comparison = compare_results(record, record)
    assert comparison.regressions("p95>10% score>1pt") == ()
    assert len(comparison.check("p95>10% score>1pt")) == 2 * len(record.runs)
    for change in comparison.changes:
        assert len(change.cells) == 4
        assert all(cell for cell in change.cells[:3])
    assert save_report([write_result(tmp_path / "r.json", LITTLE)], tmp_path / "out").rows
