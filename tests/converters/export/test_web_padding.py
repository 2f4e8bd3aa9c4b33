"""The exported page pads and cuts texts as the bundle does, with Keras' vocabulary."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import edgeseq as es
from edgeseq.errors import InputError
from edgeseq.formats.export_folder import read_export

from ...edgeseq.reporting.browser import CHROMIUM
from ...padded_keras import LENGTH, PaddedModel, write_padded_model

needs_npm = pytest.mark.skipif(
    shutil.which("npm") is None, reason="needs npm (Debian: apt install npm)"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> PaddedModel:
    return write_padded_model(tmp_path_factory.mktemp("padded"))


def convert(source: PaddedModel, out: Path, padding: str, truncation: str) -> es.Bundle:
    model = es.load_model(source.path, tokenizer=source.tokenizer_path)
    return es.convert(
        model,
        source.dataset(padding, truncation),
        recipe="float32",
        out=out,
        padding=padding,
        truncation=truncation,
        progress=None,
    )


@pytest.mark.index
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)")
@needs_npm
@pytest.mark.parametrize(("padding", "truncation"), [("pre", "pre"), ("post", "post")])
def test_the_page_answers_as_the_bundle(
    source: PaddedModel, tmp_path: Path, padding: str, truncation: str
) -> None:
    bundle = convert(source, tmp_path / "bundle", padding, truncation)
    exported = es.export(bundle, "web", out=tmp_path / "page")
    checked = es.check_export(exported.path)
    assert checked.findings == ()
    assert checked.max_abs_difference <= 1e-5
    lengths = {len(example.token_ids) for example in read_export(exported.path).golden.examples}
    assert lengths == {LENGTH}


@pytest.mark.index
@needs_npm
def test_a_padded_bundle_has_one_length(source: PaddedModel, tmp_path: Path) -> None:
    bundle = convert(source, tmp_path / "bundle", "pre", "pre")
    with pytest.raises(InputError, match="the bundle has a fixed length"):
        es.export(bundle, "web", out=tmp_path / "page", lengths=[4, LENGTH])
