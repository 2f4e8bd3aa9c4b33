"""A bundle whose model is damaged, and whose manifest was written for it, ends in one line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

import edgeseq as es
from edgeseq.errors import BundleError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.storage import sha256_file, write_json


@pytest.mark.parametrize("target", ["mediapipe", "micro", "native", "web"])
def test_a_damaged_model_is_not_exported(
    target: str, web_bundles: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(web_bundles["bert"], folder)
    manifest = read_bundle(folder).manifest
    model = folder / "model.tflite"
    model.write_bytes(model.read_bytes()[:5000])
    entry = FileEntry(model.stat().st_size, sha256_file(model))
    files = manifest.files | {model.name: entry}
    write_json(folder / "bundle.json", replace(manifest, files=files))
    with pytest.raises(BundleError, match="is damaged, no runtime can load it"):
        es.export(folder, target, out=tmp_path / "export")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged"]
