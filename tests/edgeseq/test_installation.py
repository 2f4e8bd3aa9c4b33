"""The command that adds an extra, by the tool that made the environment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgeseq import installation
from edgeseq.installation import command_with_extras

UV_ENVIRONMENT = "home = /usr/bin\nuv = 0.13.9\n"


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment below a folder `venvs`, with no extra and edgeseq from an index."""
    folder = tmp_path / "venvs" / "edgeseq"
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr(sys, "argv", ["/x/bin/edgeseq", "demo", "--out", "my demo"])
    monkeypatch.setattr(installation, "_is_installed", lambda extra: False)
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def _record_source(prefix: Path, record: object) -> None:
    """What the installing tool wrote down about where edgeseq is from (PEP 610)."""
    folder = prefix / "edgeseq-0.1.0.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "direct_url.json").write_text(json.dumps(record))


def test_environments_of_pip(prefix: Path) -> None:
    assert command_with_extras(["convert", "report"]) == "pip install 'edgeseq[convert,report]'"
    (prefix / "pyvenv.cfg").write_text(UV_ENVIRONMENT)  # of `uv venv`, outside of uv's cache
    assert command_with_extras(["device"]) == "pip install 'edgeseq[device]'"
    wheel = {"url": "file:///a%20b/edgeseq-0.1.0-py3-none-any.whl", "archive_info": {}}
    _record_source(prefix, wheel)
    path = "/a b/edgeseq-0.1.0-py3-none-any.whl"
    assert command_with_extras(["hub"]) == f"pip install '{path}[hub]'"
    _record_source(prefix, {"url": "file:///src", "dir_info": {"editable": True}})
    assert command_with_extras(["hub"]) == "pip install -e '/src[hub]'"
    _record_source(prefix, {"url": "https://example.org/e.git", "vcs_info": {}})
    assert command_with_extras(["hub"]) == "pip install 'edgeseq[hub]'"


def test_environments_of_uv(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (prefix / "pyvenv.cfg").write_text(UV_ENVIRONMENT)
    (prefix.parent / "CACHEDIR.TAG").touch()
    assert (
        command_with_extras(["convert", "report"])
        == "uvx --from 'edgeseq[convert,report]' edgeseq demo --out 'my demo'"
    )
    monkeypatch.setattr(installation, "_is_installed", lambda extra: extra == "convert")
    assert command_with_extras(["hub"]).startswith("uvx --from 'edgeseq[hub,convert]' edgeseq ")
    # A program of another name is not a command of edgeseq, which could be started again.
    monkeypatch.setattr(sys, "argv", ["script.py"])
    assert command_with_extras(["hub"]) == "pip install 'edgeseq[hub]'"
    (prefix / "uv-receipt.toml").touch()
    assert command_with_extras(["hub"]) == "uv tool install 'edgeseq[hub,convert]'"


def test_environments_of_pipx(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (prefix / "pipx_metadata.json").touch()
    assert command_with_extras(["hub"]) == "pipx install --force 'edgeseq[hub]'"
    cached = prefix.parents[1] / "70849371eba21b7"
    prefix.rename(cached)
    monkeypatch.setattr(sys, "prefix", str(cached))
    assert (
        command_with_extras(["convert"])
        == "pipx run --spec 'edgeseq[convert]' edgeseq demo --out 'my demo'"
    )


def test_an_extra_counts_with_all_of_its_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"convert": ("json", "csv"), "report": ("json", "no_such_module")}
    monkeypatch.setattr(installation, "EXTRA_MODULES", modules)
    kept = [one for one in modules if installation._is_installed(one)]
    assert kept == ["convert"]
