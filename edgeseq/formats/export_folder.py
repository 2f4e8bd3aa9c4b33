"""The export folder: files that an app takes as they are, with what is needed to check them.

    EXPORT/export.json      this module's `ExportManifest`, with size and SHA-256 of every file
    EXPORT/golden.json      `ExportGolden`: a few texts with the outputs that the app must get
    EXPORT/README.md        how an app calls it
    EXPORT/model.tflite     the model, where the target takes one
    EXPORT/…                the target's other files

`edgeseq export --check` runs the golden texts in the target's own runtime.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from edgeseq.errors import InputError
from edgeseq.formats.bundle_manifest import MANIFEST_LIMIT_BYTES, MODEL_FILE
from edgeseq.formats.listed_files import FileEntry, check_file
from edgeseq.formats.storage import check_path, read_json, write_json, write_text

SCHEMA_VERSION = 1
MANIFEST, GOLDEN, README, MODEL = "export.json", "golden.json", "README.md", MODEL_FILE
_FIX = "export the bundle again"


class ExportManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`export.json`.

    `bundle` is the exported bundle's name and `bundle_sha256` the hash of its `bundle.json`, which
    lists those of its files; for a checkpoint that was exported without a bundle they are its name
    and "". `notes` are what a user must know, such as how many texts the target reads differently;
    `settings` are the target's own figures.
    """

    target: str
    bundle: str
    bundle_sha256: str
    task: str
    recipe: str
    lowering: str
    labels: tuple[str, ...]
    files: dict[str, FileEntry]
    edgeseq_version: str
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = {}
    format: Literal["edgeseq-export"] = "edgeseq-export"
    schema_version: int = SCHEMA_VERSION


class ExportExample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text, the ids that its tokens must have, and the output, flattened."""

    text: str
    token_ids: tuple[int, ...]
    output: tuple[float, ...]


class ExportGolden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`golden.json`.

    The outputs (`quantity` says of what) are those of `runtime`, whose kernels are named; in the
    target's runtime each may differ by `tolerance` at the most.
    """

    quantity: Literal["probabilities", "logits", "embeddings"]
    runtime: str
    tolerance: float
    examples: tuple[ExportExample, ...]


class ExportFolder(msgspec.Struct, frozen=True):
    """An export that has been read and checked; its large files stay on disk at `path`."""

    path: Path
    manifest: ExportManifest
    golden: ExportGolden


def write_export_files(
    folder: Path, manifest: ExportManifest, golden: ExportGolden, readme: str
) -> ExportManifest:
    """Completes a folder that has the target's files; returns `manifest` with all files listed."""
    write_json(folder / GOLDEN, golden)
    write_text(folder / README, readme)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in paths if path != folder / MANIFEST]
    manifest = msgspec.structs.replace(
        manifest,
        files={path.relative_to(folder).as_posix(): FileEntry.of(path) for path in paths},
    )
    write_json(folder / MANIFEST, manifest)
    return manifest


def is_export_folder(path: Path) -> bool:
    """Whether `path` is a folder that `edgeseq export` wrote, by its marker."""
    return (path / MANIFEST).is_file()


def read_export(path: Path) -> ExportFolder:
    """Reads an export folder and checks every file that it lists.

    Raises `InputError` naming the file that is missing, foreign, a link, or damaged.
    """
    check_path(path)
    if not is_export_folder(path):
        what = "is not an export folder" if path.is_dir() else "no such export folder"
        raise InputError(what, where=path, fix="name what `edgeseq export` wrote")
    manifest = read_json(
        path / MANIFEST,
        ExportManifest,
        limit_bytes=MANIFEST_LIMIT_BYTES,
        schema_version=SCHEMA_VERSION,
    )
    for name, entry in manifest.files.items():
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or not parts:
            raise InputError(
                "lists a file outside of the folder", where=path / MANIFEST, found=name
            )
        check_file(path / name, entry, listed_in=MANIFEST, error=InputError, fix=_FIX)
    golden = read_json(path / GOLDEN, ExportGolden, limit_bytes=MANIFEST_LIMIT_BYTES)
    has_outputs = golden.examples and all(example.output for example in golden.examples)
    if not has_outputs or not golden.tolerance >= 0:
        raise InputError(
            "holds nothing to compare with",
            where=path / GOLDEN,
            found=f"{len(golden.examples)} examples, tolerance {golden.tolerance}",
            expected="at least 1 example, each with an output, and a tolerance of at least 0",
            fix=_FIX,
        )
    return ExportFolder(path, manifest, golden)
