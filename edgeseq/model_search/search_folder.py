"""The output folder of a search, and the marker by which it is known to be one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

import edgeseq
from edgeseq.errors import EdgeseqError, InputError, OutputError
from edgeseq.formats.drafts import is_draft, sweep
from edgeseq.formats.storage import os_errors_as_output_errors, read_json, write_json

MARKER = "edgeseq-search.json"


class SearchMarker(msgspec.Struct, frozen=True):
    """`edgeseq-search.json`."""

    edgeseq_version: str
    identity: dict[str, str]
    schema_version: int = 1


def check_folder(root: Path) -> None:
    """Raises `OutputError` for a folder with anything but a search's output."""
    with os_errors_as_output_errors(root):
        for folder in (root, *(root / name for name in ("models", "bundles", "shapes", "steps"))):
            sweep(folder)
        is_empty = all(is_draft(path.name) for path in root.iterdir())
    if is_empty or (root / MARKER).is_file():
        if is_empty:
            write_json(root / MARKER, SearchMarker(edgeseq.__version__, {}))
        return
    raise OutputError(
        "holds files that are not a search's output",
        where=root,
        expected=f"an empty folder, or one with {MARKER}",
        fix="choose another --out",
    )


def claim(root: Path, identity: dict[str, str]) -> None:
    """Raises `InputError` when the folder is the output of another search."""
    try:
        known = read_json(root / MARKER, SearchMarker).identity
    except EdgeseqError:
        known = {}
    if known:
        check_same_search(known, identity, where=root, fix="choose another --out")
    write_json(root / MARKER, SearchMarker(edgeseq.__version__, identity))


def check_same_search(
    known: Mapping[str, str], identity: Mapping[str, str], *, where: str | Path, fix: str
) -> None:
    """Raises `InputError` naming what differs between the search that `where` holds and this one;
    `fix` is what else than searching for the same helps."""
    changed = [key for key in {**known, **identity} if known.get(key) != identity.get(key)]
    if changed:
        raise InputError(
            f"holds a search with another {' and '.join(changed)}",
            where=where,
            found=", ".join(str(known.get(key, "none")) for key in changed),
            expected=", ".join(identity.get(key, "none") for key in changed),
            fix=f"{fix}, or search for the same",
        )
