"""Export folders: what is written is read back, and what is damaged is refused with its place."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import InputError
from edgeseq.formats.export_folder import (
    ExportExample,
    ExportGolden,
    ExportManifest,
    read_export,
    write_export_files,
)

GOLDEN = ExportGolden("probabilities", "litert", 1e-4, (ExportExample("soup", (2, 3), (0.5, 0.5)),))
MANIFEST = ExportManifest(
    target="mediapipe",
    bundle="lstm",
    bundle_sha256="0" * 64,
    task="sentiment",
    recipe="float32",
    lowering="unrolled",
    labels=("bad", "good"),
    files={},
    edgeseq_version="0.1.0",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "model.h").write_text("int answer(void);\n", encoding="utf-8")
    write_export_files(tmp_path, MANIFEST, GOLDEN, "# How to call it\n")
    return tmp_path


def test_an_export_is_read_as_it_was_written(folder: Path) -> None:
    export = read_export(folder)
    assert export.golden == GOLDEN
    assert set(export.manifest.files) == {"README.md", "golden.json", "include/model.h"}
    assert msgspec.structs.replace(export.manifest, files={}) == MANIFEST


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "include/model.h").unlink(), "include/model.h: is missing"),
        (lambda folder: (folder / "README.md").write_text("other"), "does not have the size in ex"),
        (
            lambda folder: (folder / "include/model.h").write_text("int answer(int );\n"),
            "does not have the SHA-256 in export.json",
        ),
        (lambda folder: (folder / "export.json").unlink(), "is not an export folder"),
        (lambda folder: (folder / "export.json").write_text("{}"), "is not what was expected"),
    ],
)
def test_a_damaged_export_is_refused(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as failure:
        read_export(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["../golden.json", "/etc/hostname"])
def test_no_file_outside_of_the_folder_is_opened(folder: Path, name: str) -> None:
    content = (folder / "export.json").read_text(encoding="utf-8")
    (folder / "export.json").write_text(content.replace("include/model.h", name), encoding="utf-8")
    with pytest.raises(InputError, match="a file outside of the folder"):
        read_export(folder)


def test_an_example_without_an_output_is_nothing_to_compare_with(tmp_path: Path) -> None:
    golden = msgspec.structs.replace(GOLDEN, examples=(ExportExample("soup", (2, 3), ()),))
    write_export_files(tmp_path, MANIFEST, golden, "# How to call it\n")
    with pytest.raises(InputError, match="nothing to compare with"):
        read_export(tmp_path)
