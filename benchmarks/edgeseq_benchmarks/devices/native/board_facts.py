"""What a board is, and how busy, without a program of ours there: its files, copied by a shell.

The files of /proc and /sys are written below a folder here, where the code that reads this
machine's reads them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

from edgeseq.errors import DeviceError
from edgeseq.formats.result import DeviceInfo, MachineState
from edgeseq_benchmarks.bench.machine import When
from edgeseq_benchmarks.bench.probes.machine_state import (
    Loads,
    LoadWatch,
    SystemNames,
    available_bytes,
    cpu_totals_s,
    device_info,
    process_s,
)
from edgeseq_benchmarks.devices.native.board_connection import CALL_S, BoardConnection, read_script

_SCRIPT = "machine_probe.sh"
_DEFAULT_TICKS_PER_S = 100


class BoardFacts:
    """The board's files below `root`, as they were when they were last copied."""

    def __init__(self, connection: BoardConnection, root: Path) -> None:
        """Copies them for the first time."""
        self.root = root
        self._connection = connection
        self.copy("all")
        lines = [*self._text("names").split("\n"), *[""] * 6]
        machine, node, system, release, cores, ticks = lines[:6]
        self.names = SystemNames(
            machine, node, f"{system} {release}", int(cores) if cores.isdigit() else 1
        )
        self.ticks_per_s = int(ticks) if ticks.isdigit() else _DEFAULT_TICKS_PER_S

    def copy(self, parts: str = "changing") -> None:
        """Copies what changes, or `all`; raises `DeviceError` for a board without a shell."""
        mark = secrets.token_hex(8)
        output = self._connection.run(
            ["sh", "-c", read_script(_SCRIPT), "sh", mark, parts], timeout_s=CALL_S
        ).stdout
        files = [part.partition(b"\n") for part in output.split(f"\n{mark} /".encode())[1:]]
        if not files or files[-1][0] != b"end":
            raise DeviceError(
                "did not describe itself",
                where=self._connection.name,
                found=repr(output[:80]),
                expected="the answers of a POSIX shell",
            )
        for name, _, content in files[:-1]:
            words = name.decode("utf-8", errors="replace").split("/")
            if ".." in words:
                continue
            path = self.root.joinpath(*words)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def info(self) -> DeviceInfo:
        """See `Machine.info`."""
        return device_info(self.root, self.names)

    def available_bytes(self) -> int | None:
        """See `Machine.available_bytes`."""
        self.copy()
        return available_bytes(self.root)

    def loads(self) -> Loads:
        """The processors' work now; ours is that of the runners there."""
        self.copy()
        uptime = self._text("proc/uptime").split()
        totals_s = cpu_totals_s(self._text("proc/stat"), self.ticks_per_s)
        runners = self._text("runners").splitlines()
        own_s = sum(process_s(stat, self.ticks_per_s) for stat in runners)
        return Loads(float(uptime[0]) if uptime else 0.0, *totals_s, own_s)

    def _text(self, name: str) -> str:
        path = self.root / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


class BoardWatch:
    """See `MachineWatch`."""

    def __init__(self, facts: BoardFacts) -> None:
        self._facts = facts
        self._loads = LoadWatch(facts.root, facts.loads())

    def read(self, when: When, children: Iterable[int] = ()) -> MachineState:
        """See `MachineWatch.read`; `children` are this machine's, and none of the board's."""
        del children
        return self._loads.state(when, self._facts.loads())
