"""The gallery's page and pictures are small, whole, and made by its command."""

from __future__ import annotations

import importlib
import re
import shutil
from pathlib import Path

import pytest

from ..fake_results import MODELS, Fake, write_result

ROOT = Path(__file__).parents[2]


def check_pictures(docs: Path) -> int:
    names = re.findall(r"\]\((gallery/[^)]+)\)", (docs / "gallery.md").read_text("utf-8"))
    for name in names:
        assert (docs / name).read_bytes().startswith(b"\x89PNG")
        assert (docs / name).stat().st_size <= 100_000
    assert sorted(names) == [
        f"gallery/{path.name}" for path in sorted((docs / "gallery").iterdir())
    ]
    return len(names)


def test_the_pictures_of_the_gallery_are_few_and_small() -> None:
    assert 1 <= check_pictures(ROOT / "docs") <= 3


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pngquant") is None, reason="needs pngquant (Debian's package)")
def test_the_command_makes_the_gallery_of_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    gallery = importlib.import_module("studies.gallery")
    result = write_result(
        tmp_path / "result.json", Fake(n_queries=200, n_examples=300, models=MODELS[2:4])
    )
    monkeypatch.setattr(gallery, "SHOWN", ("winners",))
    monkeypatch.setattr(gallery, "BUDGET", "memory=64MB")
    assert gallery.main([str(result)], root=tmp_path) == 0
    assert check_pictures(tmp_path / "docs") == 1
    page = (tmp_path / "docs" / "gallery.md").read_text("utf-8")
    assert "**Ship minilm-l6-dynamic_wi8_afp32.**" in page
    assert "Cortex-A76" in page
    assert gallery.main(["--write"]) == 2
    assert gallery.main([str(tmp_path / "missing.json")]) == 2
