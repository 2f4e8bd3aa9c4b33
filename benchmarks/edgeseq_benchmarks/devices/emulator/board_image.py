"""The image of an emulated board: kernel, first file system, disk and keys, built once.

    CACHE/emulator/image-KEY/     kernel, initramfs, disk.img (ext4, sparse), keys, image.json

KEY is a hash of everything that the content comes from, so that a change makes a new one and a
second run finds the old one. A finished disk is never written to again.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import platformdirs

from edgeseq.formats.storage import new_folder, read_json, write_bytes, write_json
from edgeseq.progress import ProgressCallback, ProgressUpdate, no_progress
from edgeseq_benchmarks.devices.emulator import board_packages, debian, initramfs, root_tree
from edgeseq_benchmarks.devices.emulator.host_tools import BUILD_TOOLS, require_tools, run_tool

# Virtual; the file holds only what was written.
_DISK_SIZE = "6G"
_TIMEOUT_S = 300.0


class ImageRecord(msgspec.Struct, frozen=True):
    """`image.json`: the Debian release, the version of Python, the packages that measure."""

    release: str
    python: str
    wheels: tuple[str, ...] = ()


class BoardImage(NamedTuple):
    """A saved image; all paths are files in it."""

    folder: Path
    release: str
    python: str
    wheels: tuple[str, ...] = ()

    @property
    def kernel(self) -> Path:
        return self.folder / "kernel"

    @property
    def initramfs(self) -> Path:
        return self.folder / "initramfs"

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def key(self) -> Path:
        """The private key that the board takes in."""
        return self.folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The board's own key, under the name `HOST_ALIAS`."""
        return self.folder / "known_hosts"


HOST_ALIAS = "edgeseq-emulated"


def emulator_folder(cache: Path | None = None) -> Path:
    """The folder of images; `cache` replaces the user's cache folder."""
    return (cache or platformdirs.user_cache_path("edgeseq")) / "emulator"


def image_folder(cache: Path | None, release: str) -> Path:
    """Where the image of that release is, or would be."""
    digest = hashlib.sha256(release.encode())
    for module in (debian, root_tree, initramfs, board_packages):
        digest.update(Path(str(module.__file__)).read_bytes())
    return emulator_folder(cache) / f"image-{digest.hexdigest()[:16]}"


def find_image(cache: Path | None = None, release: str | None = None) -> BoardImage | None:
    """The saved image, None when it must be built."""
    folder = image_folder(cache, release or debian.release_here())
    if not (folder / "image.json").exists():
        return None
    record = read_json(folder / "image.json", ImageRecord)
    return BoardImage(folder, record.release, record.python, record.wheels)


def build_image(
    cache: Path | None = None, release: str | None = None, progress: ProgressCallback = no_progress
) -> BoardImage:
    """The saved image, or a new one: about a minute, and root's rights, once.

    Raises `DeviceError` with what is missing; nothing half-built remains.
    """
    release = release or debian.release_here()
    with one_at_a_time(emulator_folder(cache)):
        image = find_image(cache, release)
        if image is not None:
            return image
        require_tools(BUILD_TOOLS)
        with new_folder(image_folder(cache, release), overwrite=True) as draft:
            _build(draft, release, progress)
    image = find_image(cache, release)
    assert image is not None  # noqa: S101 - it was made three lines above
    return image


def _build(folder: Path, release: str, progress: ProgressCallback) -> None:
    steps = ("Debian's packages", "Python's packages", "disk")
    files = folder / "tree"
    progress(ProgressUpdate("board's image", 0, len(steps), steps[0]))
    debian.unpack_debian(files, release)
    progress(ProgressUpdate("board's image", 1, len(steps), steps[1]))
    python = root_tree.python_of(files)
    wheels = board_packages.install(files, root_tree.VENV, python)
    board_packages.compile_modules(files, python, root_tree.VENV)
    for name in ("id_ed25519", "host_ed25519"):
        _make_key(folder / name)
    public = (folder / "host_ed25519.pub").read_text(encoding="ascii").split()
    write_bytes(folder / "known_hosts", f"{HOST_ALIAS} {public[0]} {public[1]}\n".encode())
    root_tree.settle(
        files,
        name="edgeseq-board",
        host_key=folder / "host_ed25519",
        public_key=folder / "id_ed25519.pub",
    )
    kernel, modules = root_tree.kernel_of(files)
    archive = initramfs.make_initramfs(files / "bin/busybox", modules)
    write_bytes(folder / "initramfs", archive)
    shutil.copyfile(kernel, folder / "kernel")
    # The kernel is started from outside, and its modules are in the first file system.
    for left_over in (files / "boot", modules.parent):
        shutil.rmtree(left_over)
        left_over.mkdir()
    progress(ProgressUpdate("board's image", 2, len(steps), steps[2]))
    run_tool(
        [
            *("mke2fs", "-q", "-t", "ext4", "-L", "edgeseq", "-d", str(files)),
            *(str(folder / "disk.img"), _DISK_SIZE),
        ],
        timeout_s=_TIMEOUT_S,
    )
    shutil.rmtree(files)
    (folder / "host_ed25519").unlink()
    write_json(folder / "image.json", ImageRecord(release, python, tuple(wheels)))
    progress(ProgressUpdate("board's image", len(steps), len(steps)))


def _make_key(path: Path) -> None:
    """A new key pair without a passphrase: it opens nothing but this machine's emulated board."""
    run_tool(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "edgeseq", "-f", str(path)],
        timeout_s=_TIMEOUT_S,
    )


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets one process work in the folder; another one waits."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
