"""Hard limits on a whole process: a control group of Linux, version 2 or 1.

The memory group counts everything that a device would need RAM for: anonymous memory, page
tables, and the pages of files that were read inside of it. Swap is off in it, so that a model that
does not fit is seen to be slow or killed, not swapped. A limit on processor time is a quota of
every 10 ms. Sources: the kernel's `admin-guide/cgroup-v2.rst`, `admin-guide/cgroup-v1/memory.rst`
and `scheduler/sched-bwc.rst`. For users who may not make a group, see `unprivileged`.
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
from edgeseq.formats.memory_limits import Mechanism

CgroupVersion = Literal["cgroup-v1", "cgroup-v2"]

_PREFIX = "edgeseq"
_NUMBERS = itertools.count()
# A group can be removed once the kernel has let go of its last task, shortly after its end.
_REMOVE_TIMEOUT_S = 5.0
_MISSING = (
    "run as root (sudo); on a Raspberry Pi also add `cgroup_enable=memory` to the line in "
    "/boot/firmware/cmdline.txt and start it again"
)


class Hierarchy(NamedTuple):
    """A way in which this process may limit another one.

    `path` is where memory groups are made (of the user's systemd: the folder of its groups);
    `cpu_path` is where version 1 has its groups for processor time, None if it has none.
    """

    mechanism: Mechanism
    path: Path
    cpu_path: Path | None = None


def find_hierarchy(mounts: Path = Path("/proc/self/mounts")) -> Hierarchy:
    """The memory controller of this machine.

    Raises `DeviceError` when the machine has none, or this user may not use it.
    """
    problems: list[str] = []
    for mechanism, path in _mounted(mounts):
        try:
            usable = _prepare(mechanism, path)
        except OSError as failure:
            problems.append(f"{mechanism} at {path} ({failure.strerror})")
            continue
        if usable:
            return Hierarchy(mechanism, path, _cpu_path(mechanism, path, mounts))
        problems.append(f"{mechanism} at {path} without the memory controller")
    raise DeviceError(
        "cannot limit memory",
        where="this machine",
        found="; ".join(problems) or "no control groups",
        expected="a memory control group that this user may write to",
        fix=_MISSING,
    )


def _cpu_path(version: CgroupVersion, path: Path, mounts: Path) -> Path | None:
    """Where groups may get a quota of processor time."""
    if version == "cgroup-v2":
        subtree = path / "cgroup.subtree_control"
        with contextlib.suppress(OSError):
            if "cpu" not in subtree.read_text().split():
                subtree.write_text("+cpu")
            return path
        return None
    for line in mounts.read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[2] == "cgroup" and "cpu" in fields[3].split(","):
            path = Path(fields[1])
            with contextlib.suppress(OSError):
                _remove_left_over(path)
            return path if os.access(path, os.W_OK) else None
    return None


def _mounted(mounts: Path) -> Iterator[tuple[CgroupVersion, Path]]:
    """Hierarchies that may hold the memory controller; version 2 first, it is the current one."""
    lines = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    for fields in lines:
        if fields[2] == "cgroup2":
            yield "cgroup-v2", Path(fields[1])
    for fields in lines:
        if fields[2] == "cgroup" and "memory" in fields[3].split(","):
            yield "cgroup-v1", Path(fields[1])


def _prepare(mechanism: CgroupVersion, path: Path) -> bool:
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
            # A group that still holds a task cannot be removed, which is right.
            with contextlib.suppress(OSError):
                group.rmdir()


def cpu_quota_us(cpus: float) -> tuple[int, int]:
    """Quota and period of `cpus` seconds of processor time per second.

    In slices of 10 ms, so that a query feels a slower processor and not a pause of many ms; of 100
    ms where the kernel's least quota of 1 ms would be more than `cpus`.
    """
    period_us = 10_000 if cpus >= 0.1 else 100_000
    return max(1_000, round(cpus * period_us)), period_us


def enter_groups(groups: Sequence[Path | None], command: Sequence[str]) -> list[str]:
    """The command that starts `command` inside the groups that there are.

    The shell puts itself in and becomes the program, so every page that the program touches is the
    group's. Its script is a constant; the parts come as arguments.
    """
    script = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'
    existing = dict.fromkeys(path for path in groups if path is not None)
    files = [str(path / "cgroup.procs") for path in existing]
    return ["/bin/sh", "-c", script, "sh", *files, "--", *command]


class MemoryGroup:
    """A control group with a hard limit, made by `memory_group`.

    `cpu` is the group for processor time: the same one in version 2, another in version 1.
    """

    limitations = ""

    def __init__(self, hierarchy: Hierarchy, path: Path, cpu: Path | None = None) -> None:
        self.mechanism = hierarchy.mechanism
        self.path = path
        self.cpu = cpu
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

    def limit_cpus(self, cpus: float) -> None:
        """Sets the processor time that the group gets: `cpus` seconds per second."""
        if self.cpu is None:
            raise OSError(errno.ENOENT, "no control group for processor time")
        quota_us, period_us = cpu_quota_us(cpus)
        if self._v2:
            (self.cpu / "cpu.max").write_text(f"{quota_us} {period_us}")
            return
        (self.cpu / "cpu.cfs_period_us").write_text(str(period_us))
        (self.cpu / "cpu.cfs_quota_us").write_text(str(quota_us))

    def _write_if_there(self, name: str, text: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            if (self.path / name).exists():
                (self.path / name).write_text(text)

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that starts `command` inside the group."""
        return enter_groups([self.path, self.cpu], command)

    def started(self, pid: int) -> None:
        """Nothing: the process has put itself in."""

    def settle(self) -> None:
        """Nothing: the group outlives its process."""

    def throttled_ns(self) -> int | None:
        """Time for which the group was kept waiting for its next slice; None without a quota."""
        if self.cpu is None:
            return None
        if self._v2:
            return 1_000 * self._number_after("throttled_usec", "cpu.stat", folder=self.cpu)
        return self._number_after("throttled_time", "cpu.stat", folder=self.cpu)

    def kill(self) -> None:
        """Kills everything in the group."""
        with contextlib.suppress(OSError):
            (self.path / "cgroup.kill").write_text("1")  # version 2, Linux 5.14
        for pid in self._field_lines("cgroup.procs"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.kill(int(pid), 9)

    def oom_kills(self) -> int:
        """Tasks of the group that the kernel killed because it was out of memory."""
        name = "memory.events" if self._v2 else "memory.oom_control"
        return self._number_after("oom_kill", name)

    def major_faults(self) -> int:
        """Major page faults of the group's tasks."""
        return self._number_after("pgmajfault", "memory.stat")

    def peak_bytes(self) -> int | None:
        """The most that was charged to the group; None where the kernel keeps no peak (< 5.19)."""
        lines = self._field_lines("memory.peak" if self._v2 else "memory.max_usage_in_bytes")
        return int(lines[0]) if lines and lines[0].isdigit() else None

    def _number_after(self, key: str, name: str, *, folder: Path | None = None) -> int:
        for line in self._field_lines(name, folder=folder):
            fields = line.split()
            if len(fields) == 2 and fields[0] == key:
                return int(fields[1])
        return 0

    def _field_lines(self, name: str, *, folder: Path | None = None) -> list[str]:
        try:
            return ((folder or self.path) / name).read_text(encoding="ascii").splitlines()
        except OSError:
            return []

    def remove(self) -> None:
        """Ends what is inside and removes the group; raises `DeviceError` when it stays."""
        deadline = time.monotonic() + _REMOVE_TIMEOUT_S
        paths = list(dict.fromkeys(path for path in (self.path, self.cpu) if path is not None))
        while paths:
            self.kill()
            with contextlib.suppress(OSError):
                # Version 1: the pages of its files would outlive the group and stay charged.
                (self.path / "memory.force_empty").write_text("0")
            try:
                paths[0].rmdir()
            except FileNotFoundError:
                pass
            except OSError as failure:
                if failure.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.02)
                    continue
                raise DeviceError(
                    "control group cannot be removed",
                    where=paths[0],
                    found=failure.strerror,
                    fix="remove it with rmdir when no process is left in it",
                ) from failure
            del paths[0]


@contextmanager
def memory_group(
    hierarchy: Hierarchy, limit_bytes: int, cpus: float | None = None
) -> Iterator[MemoryGroup]:
    """A new group with the limits; whatever happens inside, it is emptied and removed at the end.

    Raises `DeviceError` when the kernel refuses a limit.
    """
    name = f"{_PREFIX}-{os.getpid()}-{next(_NUMBERS)}"
    path = hierarchy.path / name
    cpu = None if cpus is None or hierarchy.cpu_path is None else hierarchy.cpu_path / name
    group = MemoryGroup(hierarchy, path, cpu)
    try:
        path.mkdir()
        group.limit(limit_bytes)
        if cpus is not None:
            if cpu is not None:
                cpu.mkdir(exist_ok=cpu == path)
            group.limit_cpus(cpus)
    except OSError as failure:
        for group_path in (path, cpu):
            with contextlib.suppress(OSError):
                if group_path is not None:
                    group_path.rmdir()
        limits = f"{limit_bytes} bytes" + ("" if cpus is None else f" and {cpus:g} processors")
        raise DeviceError(
            "refuses the limit",
            where=path,
            found=f"{failure.strerror} for {limits}",
            fix="choose another --memory or --cpus",
        ) from failure
    try:
        yield group
    finally:
        group.remove()
