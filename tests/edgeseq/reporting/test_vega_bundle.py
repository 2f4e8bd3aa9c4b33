"""The stored script is the bundled one, whatever happened to its file."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("vl_convert", reason="the extra `report` is not installed")

import vl_convert

from edgeseq.reporting.vega_bundle import vega_bundle


def test_the_script_is_bundled_once_and_never_taken_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(vl_convert, "javascript_bundle", lambda: calls.append(1) or "let a = 1;")

    def bundle() -> str:
        vega_bundle.cache_clear()
        return vega_bundle(tmp_path / "new")

    script = bundle()
    assert script == bundle() == "(()=>{let a = 1;})();"
    assert len(calls) == 1
    [path] = (tmp_path / "new").iterdir()
    content = path.read_text(encoding="utf-8")
    for damaged in (content.replace("= 1", "= 2"), content[:-4], "", "\n" + content):
        path.write_text(damaged, encoding="utf-8")
        assert bundle() == script
    path.write_bytes(b"\xff\xfe")
    assert bundle() == script
    assert len(calls) == 6
    # A folder that cannot be written to is no reason to fail.
    (tmp_path / "file").write_text("", encoding="utf-8")
    vega_bundle.cache_clear()
    assert vega_bundle(tmp_path / "file") == script
    vega_bundle.cache_clear()
