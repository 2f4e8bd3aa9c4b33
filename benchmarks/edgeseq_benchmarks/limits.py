"""A hard memory limit on a whole process: a memory control group of Linux, version 2 or 1.

The group counts everything that a device would need RAM for: anonymous memory, page tables, and
the pages of files that were read inside of it. Swap is off in it, so that a model that does not
fit is seen to be slow or killed, not swapped. Sources: the kernel's `admin-guide/cgroup-v2.rst`
and `admin-guide/cgroup-v1/memory.rst`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from edgeseq.errors import DeviceError

Mechanism = Literal["cgroup-v1", "cgroup-v2"]

_PREFIX = "edgeseq"
_NUMBERS = itertools.count()
# A group can be removed once the kernel has let go of its last task, shortly after its end.
_REMOVE_TIMEOUT_S = 5.0
_MISSING = (
    "run as root (sudo); on a Raspberry Pi also add `cgroup_enable=memory` to the line in "
    "/boot/firmware/cmdline.txt and start it again"
)


class Hierarchy(NamedTuple):
    """A place in which this process may make memory groups."""

    mechanism: Mechanism
    path: Path


def find_hierarchy(mounts: Path = Path("/proc/self/mounts")) -> Hierarchy:
    """The memory controller of this machine.

    Raises `DeviceError` that says what is missing: no controller, or not allowed to use it.
    """
    found: list[str] = []
    for mechanism, path in _mounted(mounts):
        try:
            usable = _prepare(mechanism, path)
        except OSError as failure:
            found.append(f"{mechanism} at {path} ({failure.strerror})")
            continue
        if usable:
            return Hierarchy(mechanism, path)
        found.append(f"{mechanism} at {path} without the memory controller")
    raise DeviceError(
        "cannot limit memory",
        where="this machine",
        found="; ".join(found) or "no control groups",
        expected="a memory control group that this user may write to",
        fix=_MISSING,
    )


def _mounted(mounts: Path) -> Iterator[tuple[Mechanism, Path]]:
    """Hierarchies that may hold the memory controller; version 2 first, it is the current one."""
    lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    for fields in lines:
        if fields[2] == "cgroup2":
            yield "cgroup-v2", Path(fields[1])
    for fields in lines:
        if fields[2] == "cgroup" and "memory" in fields[3].split(","):
            yield "cgroup-v1", Path(fields[1])


def _prepare(mechanism: Mechanism, path: Path) -> bool:
    """Whether groups below `path` have memory limits; tries by making and removing one."""
    if mechanism == "cgroup-v2":
        if "memory" not in (path / "cgroup.controllers").read_text().split():
            return False
        subtree = path / "cgroup.subtree_control"
        if "memory" not in subtree.read_text().split():
            subtree.write_text("+memory")
    elif not (path / "memory.limit_in_bytes").exists():
        return False
    _remove_left_over(path)
    trial = path / f"{_PREFIX}-{os.getpid()}-trial-{next(_NUMBERS)}"
    trial.mkdir()
    trial.rmdir()
    return True


def _remove_left_over(path: Path) -> None:
    """Removes groups of runs that were killed before they could: their process is gone."""
    for group in path.glob(f"{_PREFIX}-*"):
        owner = group.name.split("-")[1]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            # A group that still holds a task refuses to go, which is right.
            with contextlib.suppress(OSError):
                group.rmdir()


class MemoryGroup:
    """A control group with a hard limit, made by `memory_group`."""

    def __init__(self, hierarchy: Hierarchy, path: Path) -> None:
        self.mechanism = hierarchy.mechanism
        self.path = path
        self._v2 = hierarchy.mechanism == "cgroup-v2"

    def limit(self, limit_bytes: int) -> None:
        """Sets the limit (rounded down to whole pages by the kernel) and switches swap off."""
        text = str(limit_bytes)
        if self._v2:
            (self.path / "memory.max").write_text(text)
            self._write_if_there("memory.swap.max", "0")
            return
        (self.path / "memory.limit_in_bytes").write_text(text)
        # Memory and swap together not above memory alone: no swap. Without swap accounting
        # the file is missing, and a swappiness of 0 is the nearest.
        self._write_if_there("memory.memsw.limit_in_bytes", text)
        self._write_if_there("memory.swappiness", "0")

    def _write_if_there(self, name: str, text: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if (self.path / name).exists():
                (self.path / name).write_text(text)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that starts `command` inside the group.

        The shell puts itself in and becomes the program, so every page that the program touches
        is the group's. Its script is a constant; the parts come as arguments.
        """
        script = 'echo $$ > "$1" && shift && exec "$@"'
        return ["/bin/sh", "-c", script, "sh", str(self.path / "cgroup.procs"), *command]

    def kill(self) -> None:
        """Kills everything in the group."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")  # version 2, Linux 5.14
        for pid in self._field_lines("cgroup.procs"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid), 9)

    def oom_kills(self) -> int:
        """Tasks of the group that the kernel killed for want of memory."""
        name = "memory.events" if self._v2 else "memory.oom_control"
        return self._number_after("oom_kill", name)

    def major_faults(self) -> int:
        """Faults of the group's tasks that had to wait for the disk."""
        return self._number_after("pgmajfault", "memory.stat")

    def peak_bytes(self) -> int | None:
        """The most that was charged to the group; None where the kernel keeps no peak (< 5.19)."""
        lines = self._field_lines("memory.peak" if self._v2 else "memory.max_usage_in_bytes")
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def _number_after(self, key: str, name: str) -> int:
        for line in self._field_lines(name):
            fields = line.split()
            if len(fields) == 2 and fields[0] == key:
                return int(fields[1])
        return 0

    def _field_lines(self, name: str) -> list[str]:
        try:
            return (self.path / name).read_text(encoding="ascii").splitlines()
        except OSError:
            return []

    def remove(self) -> None:
        """Ends what is inside and removes the group; raises `DeviceError` when it stays."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        while True:
            self.kill()
            with contextlib.suppress(OSError):
                # Version 1: the pages of its files would outlive the group and stay charged.
                (self.path / "memory.force_empty").write_text("0")
            try:
                self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError as failure:
                if failure.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise DeviceError(
                    "memory group cannot be removed",
                    where=self.path,
                    found=failure.strerror,
                    fix="remove it with rmdir when no process is left in it",
                ) from failure
            return


@contextmanager
def memory_group(hierarchy: Hierarchy, limit_bytes: int) -> Iterator[MemoryGroup]:
    """A new group with the limit; whatever happens inside, it is emptied and removed at the end.

    Raises `DeviceError` when the kernel refuses the limit.
    """
    path = hierarchy.path / f"{_PREFIX}-{os.getpid()}-{next(_NUMBERS)}"
    group = MemoryGroup(hierarchy, path)
    try:
        path.mkdir()
        group.limit(limit_bytes)
    except OSError as failure:
        with contextlib.suppress(OSError):
            path.rmdir()
        raise DeviceError(
            "refuses the memory limit",
            where=path,
            found=f"{failure.strerror} for {limit_bytes} bytes",
            fix="choose another --memory",
        ) from failure
    try:
        yield group
    finally:
        group.remove()
