"""The output folder of a suite, and the marker by which it is known to be one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.errors import EdgeseqError, OutputError
from edgeseq.formats.drafts import is_draft, sweep
from edgeseq.formats.storage import (
    os_errors_as_output_errors,
    read_bytes,
    read_json,
    sha256_file,
    write_bytes,
    write_json,
)

MARKER = "edgeseq-run.json"
SUITE_FILE = "suite.toml"
_SUBFOLDERS = ("models", "bundles", "results", "steps")


class RunMarker(msgspec.Struct, frozen=True):
    """`edgeseq-run.json`: the folder is a suite's output.

    `suite_sha256` are the copies of the suite file that this program wrote last: the one before
    and the one of now.
    """

    edgeseq_version: str
    suite_sha256: tuple[str, ...]
    schema_version: int = 1


def claim_folder(root: Path, suite_path: Path) -> None:
    """Makes `root` the output folder of a suite, with a copy of its file.

    Drafts that killed runs left are removed. Raises `OutputError` for a folder that holds anything
    and no marker, and where the copy was edited.
    """
    with os_errors_as_output_errors(root):
        if root.exists() and not root.is_dir():
            raise OutputError("is not a folder", where=root, fix="choose another --out")
        root.mkdir(parents=True, exist_ok=True)
        for folder in (root, *(root / name for name in _SUBFOLDERS)):
            sweep(folder)
        is_empty = all(is_draft(path.name) for path in root.iterdir())
    marker = None if is_empty else _read_marker(root)
    if marker is None and not is_empty:
        raise OutputError(
            "holds files that are not a suite's output",
            where=root,
            expected=f"an empty folder, or one with {MARKER}",
            fix="choose another --out",
        )
    content, copy = read_bytes(suite_path), root / SUITE_FILE
    sha256 = hashlib.sha256(content).hexdigest()
    allowed = marker.suite_sha256 if marker else ()
    if copy.exists() and sha256_file(copy) not in (sha256, *allowed):
        raise OutputError(
            "was edited after a run copied it here",
            where=copy,
            fix=f"move it elsewhere and name it: edgeseq run FILE --out {root}",
        )
    if sha256 not in allowed or not copy.exists():
        hashes = (*allowed[-1:], sha256)
        write_json(root / MARKER, RunMarker(edgeseq.__version__, hashes))
        try:
            write_bytes(copy, content)
        except OutputError:  # the disk is full: a new folder stays empty
            if marker is None:
                (root / MARKER).unlink(missing_ok=True)
            raise


def _read_marker(root: Path) -> RunMarker | None:
    try:
        return read_json(root / MARKER, RunMarker)
    except EdgeseqError:
        return None
