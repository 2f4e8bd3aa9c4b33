"""Limits for a user who may not make control groups: systemd's, or resource limits.

`systemd-run --user --scope` makes a group of version 2 in the user's own part of the hierarchy
(systemd.resource-control(5)). Without it, private memory (setrlimit(2), RLIMIT_DATA) and the set of
processors are limited. That covers less, and every result records what it does not cover.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from edgeseq.errors import DeviceError
from edgeseq.formats.memory_limits import Mechanism
from edgeseq.subprocesses.command_runs import command_text
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy, find_hierarchy, memory_group

RLIMIT_LIMITATIONS = (
    "no control group here: only private memory is limited (RLIMIT_DATA), the pages of the model's "
    "file and of libraries are not counted, and nothing slows down when memory is short"
)
_CPU_LIMITATION = "; processor time is limited to whole processors, not to {cpus:g} of one"
_NUMBERS = itertools.count()
_TIMEOUT_S = 10.0


class LimitGroup(Protocol):
    """What limits one process, whatever the mechanism."""

    mechanism: Mechanism
    limitations: str

    def wrap(self, command: Sequence[str]) -> list[str]:
        """The command that starts `command` under the limits."""

    def started(self, pid: int) -> None:
        """Called once the process has been started."""

    def settle(self) -> None:
        """Called before the process is ended: reads what would be lost with it."""

    def oom_kills(self) -> int:
        """Processes that were killed because memory ran out."""

    def major_faults(self) -> int:
        """Major page faults; 0 where they are not counted."""

    def peak_bytes(self) -> int | None:
        """The most memory that was used; None where it is not known."""

    def throttled_ns(self) -> int | None:
        """Time waited for processor time beyond the quota; None where it is not known."""


LimitedGroup = Callable[[Hierarchy, int, float | None], AbstractContextManager[LimitGroup]]
"""Makes a group with limits on memory, in bytes, and on processors, for the time of a block."""


def find_limiter() -> Hierarchy:
    """The best way of this machine and user to limit a process; the last one always works."""
    try:
        return find_hierarchy()
    except DeviceError:
        return find_systemd() or Hierarchy("rlimit", Path())


def find_systemd(root: Path = Path("/")) -> Hierarchy | None:
    """The user's own systemd, when it may limit memory; None when it may not or is not there."""
    user = os.getuid()
    path = root / f"sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service"
    try:
        controllers = (path / "cgroup.controllers").read_text().split()
    except OSError:
        return None
    if "memory" not in controllers or shutil.which("systemd-run") is None:
        return None
    return Hierarchy("systemd", path, path if "cpu" in controllers else None)


@contextmanager
def limited_group(
    hierarchy: Hierarchy, limit_bytes: int, cpus: float | None = None
) -> Iterator[LimitGroup]:
    """A group of the mechanism that `find_limiter` found, removed at the end of the block.

    Raises `DeviceError` when a limit is refused.
    """
    if hierarchy.mechanism == "systemd":
        scope = SystemdScope(hierarchy, limit_bytes, cpus)
        try:
            yield scope
        finally:
            scope.remove()
    elif hierarchy.mechanism == "rlimit":
        yield ResourceLimit(limit_bytes, cpus)
    else:
        with memory_group(hierarchy, limit_bytes, cpus) as group:
            yield group


class SystemdScope:
    """A scope of the user's systemd; it ends with its process, and its result is read then.

    The names of properties are those of systemd.resource-control(5) and org.freedesktop.systemd1.
    """

    mechanism: Mechanism = "systemd"

    def __init__(self, hierarchy: Hierarchy, limit_bytes: int, cpus: float | None) -> None:
        self.unit = f"edgeseq-{os.getpid()}-{next(_NUMBERS)}.scope"
        self._properties = [f"MemoryMax={limit_bytes}", "MemorySwapMax=0"]
        self.limitations = ""
        if cpus is not None and hierarchy.cpu_path is not None:
            self._properties += [f"CPUQuota={100 * cpus:g}%", "CPUQuotaPeriodSec=10ms"]
        elif cpus is not None:
            self.limitations = "this user's systemd may not limit processor time"
        self._path: Path | None = None
        self._mount = Path(*hierarchy.path.parts[:4])
        self._seen: dict[str, int] = {}

    def wrap(self, command: Sequence[str]) -> list[str]:
        options = [part for setting in self._properties for part in ("--property", setting)]
        return [
            *("systemd-run", "--user", "--scope", "--quiet", f"--unit={self.unit}"),
            *(*options, "--", *command),
        ]

    def started(self, pid: int) -> None:
        del pid

    def settle(self) -> None:
        group = self._show("ControlGroup").strip("/")
        folder = self._mount / group
        for name, key in (("memory.stat", "pgmajfault"), ("cpu.stat", "throttled_usec")):
            self._seen[key] = _number_after(folder / name, key)
        with contextlib.suppress(OSError, ValueError):
            self._seen["peak"] = int((folder / "memory.peak").read_text())

    def oom_kills(self) -> int:
        return int(self._show("Result") == "oom-kill")

    def major_faults(self) -> int:
        return self._seen.get("pgmajfault", 0)

    def peak_bytes(self) -> int | None:
        return self._seen.get("peak")

    def throttled_ns(self) -> int | None:
        known = self._seen.get("throttled_usec")
        return None if known is None else 1_000 * known

    def remove(self) -> None:
        """Ends remaining processes and removes a failed unit."""
        for verb in ("stop", "reset-failed"):
            _systemctl(verb, self.unit)

    def _show(self, name: str) -> str:
        return _systemctl("show", f"--property={name}", "--value", self.unit).strip()


def _systemctl(*arguments: str) -> str:
    """The output of `systemctl --user`, "" when it fails."""
    return command_text(["systemctl", "--user", *arguments], timeout_s=_TIMEOUT_S)


def _number_after(path: Path, key: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text(encoding="ascii").splitlines():
            if line.split()[:1] == [key]:
                return int(line.split()[1])
    return 0


class ResourceLimit:
    """Limits without a group: private memory and the set of processors."""

    mechanism: Mechanism = "rlimit"

    def __init__(self, limit_bytes: int, cpus: float | None) -> None:
        self.limitations = RLIMIT_LIMITATIONS
        self._limit_bytes = limit_bytes
        self._cpus = cpus
        if cpus is not None and cpus != int(cpus):
            self.limitations += _CPU_LIMITATION.format(cpus=cpus)

    def wrap(self, command: Sequence[str]) -> list[str]:
        # ulimit counts in KiB; the script is a constant, the parts come as arguments.
        script = 'ulimit -d "$1" || exit 1; shift; exec "$@"'
        return ["/bin/sh", "-c", script, "sh", str(self._limit_bytes // 1024), *command]

    def started(self, pid: int) -> None:
        with contextlib.suppress(OSError, ValueError):
            limits = (self._limit_bytes, self._limit_bytes)
            resource.prlimit(pid, resource.RLIMIT_DATA, limits)
            if self._cpus is not None:
                cores = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(pid, cores[: max(1, math.ceil(self._cpus))])

    def settle(self) -> None:
        """Nothing to read."""

    def oom_kills(self) -> int:
        return 0

    def major_faults(self) -> int:
        return 0

    def peak_bytes(self) -> int | None:
        return None

    def throttled_ns(self) -> int | None:
        return None
