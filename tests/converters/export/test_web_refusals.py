"""What the target `web` refuses, and what a page cannot measure: one line each, nothing left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import edgeseq as es
from edgeseq.errors import EdgeseqError, FetchError
from edgeseq.formats.bundle import read_bundle
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.export.web import npm_package
from edgeseq_converters.export.web.npm_package import NpmPackage, fetch_npm_package
from edgeseq_converters.export.web.target import choose_lengths


def test_a_fused_lstm_is_refused(lstm_folder: Path, invented_dataset: Any, tmp_path: Path) -> None:
    options = ConversionOptions(recipes=("float32",), lowerings=("fused",))
    convert(load_model(lstm_folder), invented_dataset, tmp_path / "fused", options)
    with pytest.raises(EdgeseqError, match="does not load UNIDIRECTIONAL_SEQUENCE_LSTM") as caught:
        es.export(tmp_path / "fused", "web", out=tmp_path / "page")
    assert "convert with --lowering loop" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fused"]


@pytest.mark.parametrize("lengths", [(0,), (16, 16), (16, 100_000)])
def test_lengths_that_the_bundle_does_not_have(
    lengths: tuple[int, ...], web_bundles: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(EdgeseqError, match="are not lengths of this bundle"):
        es.export(web_bundles["bert"], "web", out=tmp_path / "page", lengths=lengths)
    assert list(tmp_path.iterdir()) == []


def test_lengths_are_doubled_up_to_the_longest_input(web_bundles: dict[str, Path]) -> None:
    bundle = read_bundle(web_bundles["bert"])
    assert bundle.manifest.max_tokens == 48
    assert choose_lengths(bundle, ()) == (16, 32, 48)
    assert choose_lengths(bundle, (32, 8)) == (8, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory_limits": ["64MB"]}, "--memory"),
        ({"threads": 2}, "--threads"),
        ({"energy": True}, "--energy"),
        ({"examples": 3}, "--examples"),
        ({"runners": ("native",)}, "--runner native"),
    ],
)
def test_a_page_cannot_measure_everything(
    options: Any, message: str, web_bundles: dict[str, Path]
) -> None:
    with pytest.raises(EdgeseqError, match=f"{message}: is not possible in a browser"):
        es.bench([web_bundles["lstm"]], device="web", progress=None, **options)


def test_a_page_measures_one_bundle(web_bundles: dict[str, Path]) -> None:
    with pytest.raises(EdgeseqError, match="one bundle at a time"):
        es.bench(list(web_bundles.values()), device="web", progress=None)


class TestNpm:
    """npm is a program that may be missing, fail, or give another file."""

    package = NpmPackage("@a/b", "1.0.0", "x" * 86 + "==")

    @pytest.fixture(autouse=True)
    def cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        monkeypatch.setattr(npm_package, "npm_cache_folder", lambda: tmp_path / "npm")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        (tmp_path / "bin").mkdir()
        return tmp_path / "npm"

    @staticmethod
    def install(tmp_path: Path, script: str) -> None:
        path = tmp_path / "bin" / "npm"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def test_it_is_missing(self, cache: Path) -> None:
        with pytest.raises(FetchError, match=r"npm is needed .* put a-b-1\.0\.0\.tgz into"):
            fetch_npm_package(self.package)

    def test_it_fails(self, cache: Path, tmp_path: Path) -> None:
        self.install(tmp_path, "echo 'no such package' >&2; exit 1")
        with pytest.raises(FetchError, match="npm cannot fetch it: found no such package"):
            fetch_npm_package(self.package)
        assert list(cache.iterdir()) == []

    def test_it_gives_another_file(self, cache: Path, tmp_path: Path) -> None:
        self.install(
            tmp_path,
            'for a in "$@"; do case "$a" in --pack-destination=*) '
            'echo other > "${a#*=}/a-b-1.0.0.tgz";; esac; done',
        )
        with pytest.raises(FetchError, match="does not have the pinned hash"):
            fetch_npm_package(self.package)
        assert list(cache.iterdir()) == []
