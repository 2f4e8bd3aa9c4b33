"""File pages that belong to the limited process alone.

The kernel charges a page of a file to the control group that reads it first. Pages that are in
memory already cost a limited process nothing, which would make its limit meaningless. So the bundle
is copied, with the native runner and its library, and the copies and other libraries are dropped
from the page cache (posix_fadvise(2), POSIX_FADV_DONTNEED; pages that another process has mapped
remain, and are counted with mincore(2)).
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from edgeseq.errors import OutputError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.storage import os_errors_as_output_errors
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.launcher import Launcher, python_launcher
from edgeseq_benchmarks.bench.limits.private_mounts import can_mount, with_mounts

# Pages of these are memory themselves: they cannot be read from a disk again.
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "rootfs", "devtmpfs"})
# Of a library, less than this is not worth a copy.
_KEPT_BYTES = 100_000
_RETRY_PAUSES_S = (0.01, 0.1, 0.5)


class Eviction(NamedTuple):
    """What dropping files from the page cache left in it, in words and as bytes that other
    processes keep, which no limit on a new process counts."""

    description: str
    shared_bytes: int


class FreshFiles(Protocol):
    """Files that no other process has mapped; `launcher` starts a process with them."""

    @property
    def launcher(self) -> Launcher: ...

    def evict(self) -> Eviction:
        """Drops all of them from the page cache."""


class PrivateFiles:
    """A copy of the files of a bundle and its process, and the library files that it maps.

    A library that other processes keep in memory is copied too, where this user may mount the copy
    for the process.
    """

    def __init__(
        self, copies: Sequence[Path], launcher: Launcher, libraries: Sequence[str], *, on_disk: bool
    ) -> None:
        self.folder = copies[0].parent
        self._launcher = launcher
        self._copies = list(map(str, copies))
        self._libraries = list(libraries)
        self._mounts: dict[str, str] = {}
        self._on_disk = on_disk

    @property
    def launcher(self) -> Launcher:
        """Starts a process with the copies."""
        mounts = [(copy, original) for original, copy in self._mounts.items()]
        return self._launcher._replace(command=tuple(with_mounts(mounts, self._launcher.command)))

    def evict(self) -> Eviction:
        """See `FreshFiles.evict`."""
        for path in (*self._copies, *self._libraries):
            evict(path)
        if self._on_disk and can_mount():
            self._copy_kept_libraries()
        if self._on_disk:
            self._drop_own_pages()
        copies_left = sum(resident_bytes(path) for path in self._copies)
        libraries_left = sum(resident_bytes(path) for path in self._libraries)
        copy = "own copy of the bundle, "
        if not self._on_disk:
            copy += "on a memory file system (its pages are not charged)"
        elif copies_left:
            copy += f"{format_bytes(copies_left)} of it already in the page cache"
        else:
            copy += "dropped from the page cache"
        description = (
            f"{copy}; runtime libraries dropped or copied, {format_bytes(libraries_left)} of them "
            "kept by other processes"
        )
        return Eviction(description, copies_left + libraries_left)

    def _drop_own_pages(self) -> None:
        """Asks again for pages that only this process's copies have: the kernel keeps a page that
        it is looking at itself."""
        for pause_s in _RETRY_PAUSES_S:
            left = [path for path in self._copies if resident_bytes(path)]
            if not left:
                return
            time.sleep(pause_s)
            for path in left:
                evict(path)

    def _copy_kept_libraries(self) -> None:
        kept = [path for path in self._libraries if resident_bytes(path) > _KEPT_BYTES]
        for path in kept:
            folder = self.folder / f"library-{len(self._mounts)}"
            folder.mkdir()
            copy = str(_copy_to_disk(Path(path), folder))
            evict(copy)
            self._libraries.remove(path)
            self._mounts[path] = copy
            self._copies.append(copy)


@contextmanager
def private_files(
    bundle: BundleFiles, mapped: Iterable[str], launcher: Launcher | None = None
) -> Iterator[PrivateFiles]:
    """A copy of `bundle`, and of the programs of `launcher`, for as long as the block lasts.

    `mapped` are the files that a process with this model had mapped; those that are copied are
    left out. Raises `OutputError` when the copy cannot be written.
    """
    launcher = launcher or python_launcher()
    scratch, on_disk = scratch_folder(bundle.path.parent)
    originals = [bundle.path / name for name in (MODEL_FILE, launcher.input_file(bundle))]
    originals += [*map(Path, launcher.programs)]
    with temporary_folder(scratch) as folder:
        copies = [_copy_to_disk(path, folder) for path in originals]
        bundle_path = os.path.realpath(bundle.path)
        copied = {os.path.realpath(path) for path in originals}
        libraries = [
            path
            for path in mapped
            if not path.startswith(f"{bundle_path}/")
            and os.path.realpath(path) not in copied
            and Path(path).is_file()
        ]
        yield PrivateFiles(copies, launcher.with_copies(folder), libraries, on_disk=on_disk)


def _copy_to_disk(source: Path, folder: Path) -> Path:
    """Copies a file into `folder`; only pages that are on the disk can be dropped."""
    target = folder / source.name
    with os_errors_as_output_errors(target):
        shutil.copy(source, target)  # with its mode: programs are among them
        with target.open("rb") as file:
            os.fsync(file.fileno())
    return target


def scratch_folder(fallback: Path | None = None) -> tuple[Path, bool]:
    """A folder for copies of bundles, on a disk if there is one, and whether it is.

    `fallback` is the last choice. Raises `OutputError` when none is writable.
    """
    choices = [Path(tempfile.gettempdir()), Path("/var/tmp")]  # noqa: S108
    choices += [fallback.resolve()] if fallback else []
    usable = [path for path in choices if path.is_dir() and os.access(path, os.W_OK)]
    for path in usable:
        if file_system(path) not in _MEMORY_FILE_SYSTEMS:
            return path, True
    if not usable:
        raise OutputError("no folder for a copy of a bundle", fix="set TMPDIR to a folder")
    return usable[0], False


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds `path`, "" when it is not known."""
    resolved = str(path.resolve())
    best, kind = "", ""
    for line in mounts.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        point = fields[1].replace("\\040", " ")
        inside = resolved == point or resolved.startswith(point.rstrip("/") + "/")
        # Of two mounts at one place, the later one covers the earlier.
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind


def evict(path: str) -> None:
    """Asks the kernel to drop a file's clean, unmapped pages; does nothing when it may not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident_bytes(path: str) -> int:
    """How much of a file is in the page cache; 0 when the kernel does not tell this user."""
    try:
        size_bytes = Path(path).stat().st_size
        if size_bytes == 0:
            return 0
        with (
            Path(path).open("rb") as file,
            mmap.mmap(file.fileno(), size_bytes, mmap.MAP_PRIVATE) as mapping,
        ):
            pages = -(-size_bytes // mmap.PAGESIZE)
            states = (ctypes.c_ubyte * pages)()
            # A private writable mapping that is never written to: only its address is needed.
            address = ctypes.byref(ctypes.c_char.from_buffer(mapping))
            libc = ctypes.CDLL(None, use_errno=True)
            failed = libc.mincore(address, ctypes.c_size_t(size_bytes), states)
            del address
            return 0 if failed else sum(state & 1 for state in states) * mmap.PAGESIZE
    except (OSError, ValueError, BufferError):
        return 0
