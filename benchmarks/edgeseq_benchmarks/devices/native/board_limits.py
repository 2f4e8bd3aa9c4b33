"""Hard limits on a process of a board, by `limit_group.sh` there: groups, systemd, or ulimit."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

from edgeseq.errors import DeviceError
from edgeseq.formats.memory_limits import Mechanism
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy, cpu_quota_us, enter_groups
from edgeseq_benchmarks.bench.limits.unprivileged import (
    LimitGroup,
    ResourceLimit,
    SystemdScope,
)
from edgeseq_benchmarks.devices.native.board_connection import BoardConnection

_SCRIPT = "limit_group.sh"
_NUMBERS = itertools.count()


def find_board_limiter(connection: BoardConnection, owner: str) -> Hierarchy:
    """The best way to limit a process there; `owner` is the process that holds the run's folder."""
    words = connection.run_script(_SCRIPT, "find", owner).split()
    if not words or words[0] not in get_args(Mechanism):
        raise DeviceError(
            "does not say how memory can be limited",
            where=connection.name,
            found=" ".join(words) or "nothing",
        )
    mechanism: Mechanism = next(name for name in get_args(Mechanism) if name == words[0])
    return Hierarchy(mechanism, Path(words[1]), Path(words[2]) if len(words) > 2 else None)


@contextmanager
def limited_board_group(
    connection: BoardConnection,
    owner: str,
    hierarchy: Hierarchy,
    limit_bytes: int,
    cpus: float | None,
) -> Iterator[LimitGroup]:
    """A group with the limits, removed at the end of the block.

    Raises `DeviceError` when a limit is refused.
    """
    if hierarchy.mechanism == "rlimit":
        yield _BoardResourceLimit(limit_bytes, cpus)
        return
    name = f"edgeseq-{owner}-{next(_NUMBERS)}"
    group = (
        _BoardScope(connection, hierarchy, limit_bytes, cpus, f"{name}.scope")
        if hierarchy.mechanism == "systemd"
        else _BoardGroup(connection, hierarchy, limit_bytes, cpus, name)
    )
    try:
        yield group
    finally:
        group.remove()


class _Counters:
    """What a group on the board has counted."""

    def __init__(self, connection: BoardConnection, arguments: Sequence[str]) -> None:
        self._connection = connection
        self._arguments = arguments
        self._numbers: dict[str, int] = {}

    def read(self) -> dict[str, int]:
        """Reads them anew; what is not there any more keeps its last number."""
        output = self._connection.run_script(_SCRIPT, "read", *self._arguments)
        for line in output.splitlines():
            name, _, number = line.partition(" ")
            if number.isdigit():
                self._numbers[name] = int(number)
        return self._numbers

    def throttled_ns(self) -> int | None:
        numbers = self.read()
        if "throttled_usec" in numbers:
            return 1_000 * numbers["throttled_usec"]
        return numbers.get("throttled_time")


class _BoardGroup:
    """A control group there; see `MemoryGroup`."""

    limitations = ""

    def __init__(
        self,
        connection: BoardConnection,
        hierarchy: Hierarchy,
        limit_bytes: int,
        cpus: float | None,
        name: str,
    ) -> None:
        self.mechanism = hierarchy.mechanism
        self._connection = connection
        self._path = hierarchy.path / name
        self._cpu = None
        quota: list[str] = []
        if cpus is not None:
            if hierarchy.cpu_path is None:
                raise DeviceError("cannot limit processor time", where=connection.name)
            self._cpu = hierarchy.cpu_path / name
            quota = [str(self._cpu), *map(str, cpu_quota_us(cpus))]
        arguments = (hierarchy.mechanism, str(self._path))
        self._arguments = (*arguments, *([] if self._cpu is None else [str(self._cpu)]))
        self._counters = _Counters(connection, self._arguments)
        answer = connection.run_script(_SCRIPT, "make", *arguments, str(limit_bytes), *quota)
        if answer.split()[-1:] != ["ok"]:
            raise DeviceError(
                "refuses the limit",
                where=f"{connection.name}: {self._path}",
                found=f"{limit_bytes} bytes: {answer.strip()}",
                fix="choose a larger one",
            )

    def wrap(self, command: Sequence[str]) -> list[str]:
        return enter_groups([self._path, self._cpu], command)

    def started(self, pid: int) -> None:
        """Nothing: the process has put itself in."""

    def settle(self) -> None:
        """Nothing: the group outlives its process."""

    def oom_kills(self) -> int:
        return self._counters.read().get("oom_kill", 0)

    def major_faults(self) -> int:
        return self._counters.read().get("pgmajfault", 0)

    def peak_bytes(self) -> int | None:
        return self._counters.read().get("peak")

    def throttled_ns(self) -> int | None:
        return None if self._cpu is None else self._counters.throttled_ns()

    def remove(self) -> None:
        """Ends what is inside and removes the group; raises `DeviceError` when it stays."""
        answer = self._connection.run_script(_SCRIPT, "remove", *self._arguments)
        if answer.split()[-1:] != ["ok"]:
            raise DeviceError(
                "control group cannot be removed",
                where=f"{self._connection.name}: {self._path}",
                fix="remove it with rmdir when no process is left in it",
            )


class _BoardScope(SystemdScope):
    """A scope of the user's systemd there."""

    def __init__(
        self,
        connection: BoardConnection,
        hierarchy: Hierarchy,
        limit_bytes: int,
        cpus: float | None,
        unit: str,
    ) -> None:
        super().__init__(hierarchy, limit_bytes, cpus)
        self.unit = unit
        self._connection = connection
        self._has_quota = cpus is not None and hierarchy.cpu_path is not None
        self._counters = _Counters(connection, ("systemd", unit))

    def settle(self) -> None:
        self._seen = dict(self._counters.read())

    def oom_kills(self) -> int:
        return self._counters.read().get("oom_kill", 0)

    def throttled_ns(self) -> int | None:
        return super().throttled_ns() if self._has_quota else None

    def remove(self) -> None:
        self._connection.run_script(_SCRIPT, "remove", "systemd", self.unit)


class _BoardResourceLimit(ResourceLimit):
    """A resource limit that the process sets itself; nothing there can set it from outside."""

    def __init__(self, limit_bytes: int, cpus: float | None) -> None:
        super().__init__(limit_bytes, None)
        if cpus is not None:
            self.limitations += "; processor time is not limited"

    def started(self, pid: int) -> None:
        del pid


def owner_of(connection: BoardConnection, folder: os.PathLike[str]) -> str:
    """The process on the board that holds the run's folder."""
    output = connection.run(["cat", f"{os.fspath(folder)}/pid"])
    owner = output.stdout.decode("ascii", errors="replace").strip()
    return owner if owner.isdigit() else "0"
