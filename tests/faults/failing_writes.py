"""A file system, in this process, that refuses the n-th write of `edgeseq.formats`."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class FailingWrites:
    """Counts the calls that change a disk; the one numbered `fail_at` raises, and all after it."""

    def __init__(self, fail_at: int, number: int = errno.ENOSPC) -> None:
        self.count = 0
        self._fail_at = fail_at
        self._number = number

    def step(self) -> None:
        self.count += 1
        if self.count >= self._fail_at:
            raise OSError(self._number, "No space left on device")

    @contextmanager
    def installed(self) -> Iterator[FailingWrites]:
        """Lets folders, writing opens, writes and renames count; removing always works."""
        with pytest.MonkeyPatch.context() as patch:
            open_path, mkdir, replace, rename = Path.open, Path.mkdir, Path.replace, Path.rename

            def counted_open(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
                if set(mode) & set("wxa+"):
                    self.step()
                    return _CountedFile(open_path(path, mode, *args, **options), self)
                return open_path(path, mode, *args, **options)

            def counted(original: Any) -> Any:
                def call(path: Path, *args: Any, **options: Any) -> Any:
                    self.step()
                    return original(path, *args, **options)

                return call

            patch.setattr(Path, "open", counted_open)
            patch.setattr(Path, "mkdir", counted(mkdir))
            patch.setattr(Path, "replace", counted(replace))
            patch.setattr(Path, "rename", counted(rename))
            yield self


class _CountedFile:
    def __init__(self, file: Any, writes: FailingWrites) -> None:
        self._file = file
        self._writes = writes

    def write(self, content: Any) -> Any:
        self._writes.step()
        return self._file.write(content)

    def __enter__(self) -> _CountedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
