"""What the index knows of the dependencies ends as lines; what it does not answer is said."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

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
def test_the_index_knows_an_old_release() -> None:
    pytest.importorskip("pip_audit", reason="pip-audit is not installed")
    found = audit(["jinja2==2.4.1"])
    if isinstance(found, str) or not found.audited:
        pytest.skip(f"the index serves no advisories: {found}")
    assert any("jinja2 2.4.1: " in line for line in found.vulnerabilities)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("echo first >&2; echo cannot connect >&2; exit 1", "cannot connect"),
        ("echo '{}'", "pip-audit said nothing"),
        ("exec sleep 60", "no answer within 1 s"),
    ],
)
def test_an_index_that_does_not_answer_is_a_reason(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\n{program}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    monkeypatch.setattr("studies.audit.TIMEOUT_S", 1.0)
    assert audit(["jinja2==2.4.1"]) == reason


def test_without_pip_audit_nothing_passes_for_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert main([]) == 2
    assert "pip-audit is not installed" in capsys.readouterr().err
