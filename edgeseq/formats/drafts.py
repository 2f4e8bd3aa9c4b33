"""Folders for what is not finished, named after the process that works in them.

    .edgeseq-HOST-BOOT-PID-START-RANDOM        beside the file or folder that is being written
    .edgeseq-HOST-BOOT-PID-START-RANDOM.old    holds what is about to be replaced, where the file
                                               system cannot exchange two names
    edgeseq-HOST-BOOT-PID-START-RANDOM         in the system's temporary folder

A process removes its folders at the end, at an error and at a signal that it can hear. After
SIGKILL or a power cut they stay, and the next process that writes to the same place removes them:
the name tells whether the process is still there. HOST and BOOT are hashes of the host's name with
its process namespace, and of the kernel's boot; START is the process's start in clock ticks since
then, because process ids are used again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from edgeseq.errors import OutputError

FOREIGN_AGE_S = 7 * 24 * 3600.0
"""A draft of another host cannot be asked for its process; after a week nobody works in it."""

_PREFIX = "edgeseq-"
_NAME = re.compile(
    r"\.?edgeseq-(?P<host>[0-9a-f]{8})-(?P<boot>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-\w{8}"
    r"(?P<old>\.old)?"
)
_swept: set[tuple[int, str]] = set()


def owner_prefix() -> str:
    """What the names of this process's temporary folders begin with, for `tempfile`."""
    return f"{_PREFIX}{_owner(os.getpid())}-"


def is_draft(name: str) -> bool:
    """Whether a file name is that of a draft or temporary folder of this or another process."""
    return _NAME.fullmatch(name) is not None


@contextlib.contextmanager
def draft_folder(parent: Path, *, suffix: str = "") -> Iterator[Path]:
    """Gives a new hidden folder in `parent`, removed at the end with all that it then holds.

    What processes that are gone left in `parent` is removed first. Raises `OSError`.
    """
    with _new_folder(parent, f".{owner_prefix()}{os.urandom(4).hex()}{suffix}") as folder:
        yield folder


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Gives a new folder in `parent`, by default the system's temporary folder (see above).

    Raises `OutputError` where there can be none.
    """
    parent = Path(tempfile.gettempdir()) if parent is None else parent
    with contextlib.ExitStack() as stack:
        name = f"{owner_prefix()}{os.urandom(4).hex()}"
        try:
            folder = stack.enter_context(_new_folder(parent, name))
        except OSError as error:
            raise OutputError(
                "cannot hold temporary files",
                where=parent,
                found="the disk is full" if error.errno == errno.ENOSPC else error.strerror,
                fix="free some space, or set TMPDIR to another folder",
            ) from error
        yield folder


@contextlib.contextmanager
def _new_folder(parent: Path, name: str) -> Iterator[Path]:
    sweep(parent)
    folder = parent / name
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        except KeyboardInterrupt:  # raised once, so that the second attempt comes to its end
            shutil.rmtree(folder, ignore_errors=True)
            raise


def sweep(parent: Path) -> None:
    """Removes what processes that are gone left in `parent`, once per process and folder.

    What such a process had moved aside to replace it is moved back where nothing took its place.
    """
    key = (os.getpid(), str(parent))
    if key in _swept:
        return
    _swept.add(key)
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in list(entries):
            match = _NAME.fullmatch(entry.name)
            if match and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry, match):
                if match["old"]:
                    _move_back(Path(entry.path))
                shutil.rmtree(entry.path, ignore_errors=True)


def _move_back(folder: Path) -> None:
    for path in list(folder.iterdir()):
        target = folder.parent / path.name
        if not os.path.lexists(target):
            path.rename(target)


def _is_abandoned(entry: os.DirEntry[str], match: re.Match[str]) -> bool:
    if match["host"] != _host():
        return _age_s(Path(entry.path)) > FOREIGN_AGE_S
    if match["boot"] != _boot():
        return True
    return _start_ticks(int(match["pid"])) != int(match["start"])


def _age_s(path: Path) -> float:
    """How old a file is by the clock that wrote its time, which may be another machine's."""
    with tempfile.TemporaryFile(dir=path.parent) as written_now:
        return os.fstat(written_now.fileno()).st_mtime - path.lstat().st_mtime


@lru_cache(maxsize=4)
def _owner(pid: int) -> str:
    return f"{_host()}-{_boot()}-{pid}-{_start_ticks(pid) or 0}"


@lru_cache(maxsize=1)
def _host() -> str:
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    return _short_hash(f"{os.uname().nodename} {namespace}")


@lru_cache(maxsize=1)
def _boot() -> str:
    try:
        return _short_hash(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
    except OSError:
        return "0" * 8


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since the boot (proc(5)); None: there is none.

    None also for one that has ended and whose parent has not waited for it, which in a container
    without an init may be never; 0 for a process of a system without /proc.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
        state, *numbers = status.rpartition(b")")[2].split()
        return None if state in (b"Z", b"X") else int(numbers[18])
    except (OSError, IndexError, ValueError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (PermissionError, OverflowError):
        pass
    return 0
