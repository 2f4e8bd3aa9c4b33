"""Putting a finished draft in its place, so that the old or the new thing is there at any time.

A file is replaced by rename(2). A folder that holds something cannot be, so the two names are
exchanged by renameat2(2), Linux 3.15; where the kernel or the file system lacks that, the old one
stays beside the new one until that stands, in a folder from which `drafts.sweep` moves it back
when the process was killed in between.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from edgeseq.formats.drafts import draft_folder

PlacementObserver = Callable[[Path, Path], None]
"""Called with the draft and the path that it is about to take."""

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)
_observers: list[PlacementObserver] = []


def observe_placements(observer: PlacementObserver) -> None:
    """Calls `observer` before each file or folder of this process is put in its place."""
    _observers.append(observer)


def place(draft: Path, path: Path) -> None:
    """Renames `draft` to `path`, in place of what is there; what was there ends beside `draft`.

    Both are in folders of one file system, and the caller removes the draft's folder. Raises
    `OSError`.
    """
    for observer in _observers:
        observer(draft, path)
    if draft.is_dir() and not draft.is_symlink() and os.path.lexists(path):
        _replace_folder(draft, path)
    else:
        draft.replace(path)


def _replace_folder(draft: Path, path: Path) -> None:
    if exchange(draft, path):
        return
    with draft_folder(path.parent, suffix=".old") as aside:
        old = aside / path.name
        try:
            path.rename(old)
            draft.rename(path)
        except BaseException:
            if os.path.lexists(old) and not os.path.lexists(path):
                old.rename(path)
            raise


def exchange(first: Path, second: Path) -> bool:
    """Exchanges two names atomically; False where the kernel or the file system cannot."""
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


@lru_cache(maxsize=1)
def _renameat2() -> Any:
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # an older C library, or not Linux
        return None
    function.argtypes = (
        *(ctypes.c_int, ctypes.c_char_p),
        *(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint),
    )
    return function
