"""The first file system of the emulated board: a shell, the disk's drivers, and one script.

Debian's kernel has the drivers of QEMU's disk as modules, so something must load them before the
disk can be used. The archive format is cpio's "newc" (the kernel's
`Documentation/driver-api/early-userspace/buffer-format.rst`).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Sequence
from pathlib import Path

from edgeseq.errors import DeviceError

MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "virtio_console")
_SCRIPT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /disk
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
tries=0
until [ -b /dev/vda ] || [ $tries = 50 ]; do /bin/busybox sleep 0.2; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 /dev/vda /disk || exec /bin/busybox poweroff -f
/bin/busybox umount /dev
exec /bin/busybox switch_root /disk /sbin/edgeseq-init
"""
_FOLDER, _PROGRAM, _FILE = 0o040755, 0o100755, 0o100644


def module_order(folder: Path, names: Sequence[str]) -> list[Path]:
    """The files of the named kernel modules and of all that they need, in an order that loads.

    The dependencies of a module are in its file (`depends=`). A named one that the kernel does not
    have as a file is taken to be built in.
    """
    files = {path.name.split(".ko")[0].replace("-", "_"): path for path in folder.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name)
        if path is None or path in order:
            return
        match = re.search(rb"\0depends=([\w,-]*)\0", path.read_bytes())
        for dependency in (match[1].decode() if match else "").replace("-", "_").split(","):
            add(dependency)
        order.append(path)

    for name in names:
        add(name)
    return order


def make_initramfs(busybox: Path, modules_folder: Path) -> bytes:
    """The compressed archive; raises `DeviceError` when a driver comes in an unknown form."""
    modules = module_order(modules_folder, MODULES)
    if not any(path.name.startswith("virtio_blk") for path in modules):
        raise DeviceError(
            "has no driver of QEMU's disk", where="Debian's kernel", expected="virtio_blk.ko"
        )
    script = _SCRIPT.format(modules=" ".join(path.name for path in modules))
    entries = [
        ("bin", _FOLDER, b""),
        ("modules", _FOLDER, b""),
        ("bin/busybox", _PROGRAM, busybox.read_bytes()),
        ("init", _PROGRAM, script.encode()),
        *((f"modules/{path.name}", _FILE, path.read_bytes()) for path in modules),
    ]
    return gzip.compress(cpio(entries), 6, mtime=0)


def cpio(entries: Sequence[tuple[str, int, bytes]]) -> bytes:
    """A "newc" archive of (path, mode, content), owned by root, without times."""
    parts = []
    for number, (name, mode, content) in enumerate((*entries, ("TRAILER!!!", 0, b"")), start=1):
        encoded = name.encode() + b"\0"
        # inode, mode, uid, gid, links, mtime, size, device ×4, name's length, check
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        parts += [header, bytes(-len(header) % 4), content, bytes(-len(content) % 4)]
    return b"".join(parts)
