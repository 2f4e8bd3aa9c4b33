"""Looks at the output's place before minutes are spent on what is to be put there."""

from __future__ import annotations

from pathlib import Path

from edgeseq.errors import OutputError


def check_place(out: Path, *, overwrite: bool) -> None:
    """Raises `OutputError` when `out` exists, unless it may be replaced."""
    if out.exists() and not overwrite:
        raise OutputError("already exists", where=out, fix="choose another --out or remove it")
