"""Files that a folder's manifest lists, each with its size and SHA-256."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeseq.errors import EdgeseqError
from edgeseq.formats.storage import sha256_file

FILE_LIMIT_BYTES = 2 << 30


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and SHA-256 of one file of a folder."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileEntry:
        """The entry of a file; raises `OSError`."""
        return cls(path.stat().st_size, sha256_file(path))


def check_file(
    path: Path,
    entry: FileEntry,
    *,
    listed_in: str,
    error: type[EdgeseqError],
    fix: str,
    verify_hashes: bool = True,
) -> None:
    """Raises `error` where a file is missing, a link, or not what `listed_in` says of it."""
    if path.is_symlink() or not path.is_file():
        raise error("is missing or not an ordinary file", where=path, fix=fix)
    size_bytes = path.stat().st_size
    if size_bytes != entry.size_bytes or size_bytes > FILE_LIMIT_BYTES:
        raise error(
            f"does not have the size in {listed_in}",
            where=path,
            found=f"{size_bytes} bytes",
            expected=f"{entry.size_bytes} bytes",
            fix=fix,
        )
    if verify_hashes and (sha256 := sha256_file(path)) != entry.sha256:
        raise error(
            f"does not have the SHA-256 in {listed_in}",
            where=path,
            found=sha256,
            expected=entry.sha256,
            fix=fix,
        )
