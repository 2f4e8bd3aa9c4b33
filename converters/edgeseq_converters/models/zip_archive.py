"""An untrusted zip archive, read without unpacking it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from types import TracebackType

from edgeseq.errors import CheckpointError

LIMIT_BYTES = 2 << 30
"""A recurrent model with an embedding of a million words of 300 has 1.2 GB."""
_TEXT_LIMIT_BYTES = 64 << 20
_SHRUNK_AT_MOST = 100
"""Keras and PyTorch store their members as they are; zip's own best on repeated zeros is 1,032
times, and weights hardly shrink."""


class Archive:
    """An open archive whose members are read into memory, within limits.

    Raises `CheckpointError` for a file that is not a zip archive and for members with a path out
    of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as failure:
            raise CheckpointError(
                "is not a whole zip archive", where=path, found=failure, fix="save it again"
            ) from failure
        for name in self._zip.namelist():
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if name.startswith(("/", "\\")) or ".." in parts or ":" in name.split("/")[0]:
                self._zip.close()
                raise CheckpointError(
                    "holds a member with a path out of it",
                    where=path,
                    found=name,
                    fix="do not use this file",
                )

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._zip.close()

    def names(self) -> tuple[str, ...]:
        """Names of all members."""
        return tuple(self._zip.namelist())

    def holds(self, name: str) -> bool:
        """Whether there is a member of that name."""
        return name in self._zip.namelist()

    def text(self, name: str) -> bytes:
        """A small member's content; raises `CheckpointError` like `content`."""
        return self.content(name, limit_bytes=_TEXT_LIMIT_BYTES)

    def content(self, name: str, *, limit_bytes: int = LIMIT_BYTES) -> bytes:
        """A member's content.

        Raises `CheckpointError` when it is missing, damaged, beyond `limit_bytes`, or claims to
        be more than `_SHRUNK_AT_MOST` times what the archive holds of it.
        """
        if not self.holds(name):
            raise CheckpointError(f"has no {name}", where=self.path, fix="save it again")
        member = self._zip.getinfo(name)
        allowed_bytes = min(limit_bytes, max(1 << 20, _SHRUNK_AT_MOST * member.compress_size))
        if member.file_size > allowed_bytes:
            raise CheckpointError(
                f"{name} is too large",
                where=self.path,
                found=f"{member.file_size} bytes",
                expected=f"<= {allowed_bytes}",
            )
        try:
            return self._zip.read(member)
        except (
            *(OSError, EOFError, ValueError, RuntimeError),  # RuntimeError: it is encrypted
            *(zipfile.BadZipFile, NotImplementedError, zlib.error),
        ) as failure:
            raise CheckpointError(
                f"{name} is damaged", where=self.path, found=failure, fix="save it again"
            ) from failure
