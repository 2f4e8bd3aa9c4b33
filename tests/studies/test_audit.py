"""What the index knows of the dependencies ends as lines; what it does not answer is said."""

from __future__ import annotations

import importlib.util

import pytest

from studies.audit import audit, main, read_report


def test_a_known_vulnerability_is_named_with_the_release_that_mends_it() -> None:
    found = read_report(
        {
            "dependencies": [
                {"name": "a", "version": "1.0", "vulns": []},
                {"name": "b", "skip_reason": "Dependency not found"},
                {
                    **{"name": "c", "version": "2.1"},
                    "vulns": [
                        {"id": "GHSA-1", "fix_versions": ["2.2", "3.0"], "description": "x"},
                        {"id": "GHSA-2", "fix_versions": []},
                    ],
                },
            ],
            "fixes": [],
        }
    )
    assert found.vulnerabilities == (
        "c 2.1: GHSA-1, fixed in 2.2, 3.0",
        "c 2.1: GHSA-2, fixed in no release",
    )
    assert (found.audited, found.skipped) == (2, 1)


@pytest.mark.index
def test_the_index_is_asked_or_the_reason_is_given() -> None:
    pytest.importorskip("pip_audit", reason="pip-audit is not installed")
    found = audit(["jinja2==2.4.1"])
    if isinstance(found, str):
        assert found
    elif found.audited:
        assert any("jinja2 2.4.1: " in line for line in found.vulnerabilities)
    else:
        assert found.skipped == 1


def test_without_pip_audit_nothing_passes_for_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main([]) == 2
    assert "pip-audit is not installed" in capsys.readouterr().err
