"""A board as the machine that runs measured processes: its connection, commands and folder."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TypeVar

from edgeseq.errors import DeviceError
from edgeseq.formats.storage import sha256_file
from edgeseq.subprocesses.child_process import ChildProcess
from edgeseq.subprocesses.command_runs import CommandOutput
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.launcher import MachineLostError
from edgeseq_benchmarks.devices.base import DeviceLostError, StreamingDevice

T = TypeVar("T")

SCRIPTS = Path(__file__).parent
CALL_S = 60.0
"""A board that swaps or a card that dies takes seconds for what takes milliseconds elsewhere."""

# The slowest link that is waited for: a phone's shared connection.
_SLOWEST_BYTES_PER_S = 50_000
_END_S = 15.0
_LINE_LIMIT_BYTES = 1 << 16


def read_script(name: str) -> str:
    """A script of this package, for `sh -c`."""
    return (SCRIPTS / name).read_text(encoding="utf-8")


class BoardConnection:
    """See `edgeseq_benchmarks.bench.launcher.Connection`; `launcher` is the program on the board
    that starts a worker and ends it when the connection does."""

    def __init__(self, device: StreamingDevice, launcher: Sequence[str] = ()) -> None:
        self._device = device
        self._launcher = tuple(launcher)

    @property
    def name(self) -> str:
        return self._device.name

    @property
    def is_emulated(self) -> bool:
        return self._device.emulated

    @property
    def marker(self) -> bytes:
        return self._device.marker

    def with_launcher(self, *launcher: str) -> BoardConnection:
        """The same connection for processes that `launcher` starts."""
        return BoardConnection(self._device, launcher)

    def command(self, command: Sequence[str]) -> list[str]:
        """See `Connection.command`."""
        return self._lost_as_machine(
            lambda: self._device.stream_command([*self._launcher, *command])
        )

    def check(self) -> None:
        """See `Connection.check`."""
        if not self._device.answers():
            raise MachineLostError("the connection was lost", where=self.name)

    def run(self, command: Sequence[str], *, timeout_s: float = CALL_S) -> CommandOutput:
        """Runs a command on the board to its end; raises `MachineLostError`."""
        return self._lost_as_machine(lambda: self._device.run(command, timeout_s=timeout_s))

    def run_script(self, name: str, *arguments: str) -> str:
        """The output of a script of this package that runs on the board."""
        output = self.run(["sh", "-c", read_script(name), "sh", *arguments])
        return output.stdout.decode("utf-8", errors="replace")

    def put(self, source: Path, target: PurePosixPath) -> None:
        """Copies a file to the board; raises `DeviceError` on a full disk."""
        timeout_s = CALL_S + source.stat().st_size / _SLOWEST_BYTES_PER_S
        self._lost_as_machine(lambda: self._device.put(source, target, timeout_s=timeout_s))

    def _lost_as_machine(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except DeviceLostError as lost:
            raise MachineLostError(
                lost.what, where=lost.where, found=lost.found, fix=lost.fix
            ) from lost


@contextmanager
def board_folder(
    connection: BoardConnection, key: str, needed_bytes: int, base_dir: PurePosixPath | None = None
) -> Iterator[tuple[PurePosixPath, bool]]:
    """A private folder on the board, and whether it is on a disk.

    A process there holds it and removes it when the block ends, or the connection does, however
    that happens. Raises `DeviceError` when there is no room, or another run is under way.
    """
    base = "" if base_dir is None else str(base_dir)
    script = read_script("hold_folder.sh")
    command = ["sh", "-c", script, "sh", key, str(-(-needed_bytes // 1024)), base]
    with (
        tempfile.TemporaryFile() as stderr,
        ChildProcess(connection.command(command), stderr=stderr) as holder,
    ):
        folder, on_disk = _answered_folder(connection, holder)
        try:
            yield folder, on_disk
        finally:
            # The end of its input: it removes the folder and ends.
            with contextlib.suppress(OSError):
                holder.stdin.close()
            holder.end(_END_S)


def _answered_folder(
    connection: BoardConnection, holder: ChildProcess
) -> tuple[PurePosixPath, bool]:
    deadline = time.monotonic() + CALL_S
    try:
        while not holder.read_line(deadline=deadline, limit_bytes=_LINE_LIMIT_BYTES).endswith(
            connection.marker
        ):
            pass
        line = holder.read_line(deadline=deadline, limit_bytes=_LINE_LIMIT_BYTES)
    except (TimeoutError, EOFError, OverflowError) as error:
        connection.check()
        raise DeviceError("no folder can be made there", where=connection.name) from error
    verb, _, rest = line.decode("utf-8", errors="replace").partition(" ")
    if verb in ("folder", "folder_in_memory"):
        return PurePosixPath(rest), verb == "folder"
    if verb == "busy":
        is_known = rest not in ("", "0")
        raise DeviceError(
            "another benchmark is running there",
            where=connection.name,
            found=f"process {rest}" if is_known else "one that is being sent",
            fix="wait until it has ended" + (f", or end it: `kill {rest}`" if is_known else ""),
        )
    if verb == "full":
        free_kb, _, base = rest.partition(" ")
        raise DeviceError(
            "has no folder with enough room from which programs may be started",
            where=connection.name,
            found=f"{format_bytes(int(free_kb or 0) * 1024)} free in {base or 'no folder'}",
            fix="free some space there",
        )
    raise DeviceError("no folder can be made there", where=connection.name, found=rest or verb)


def run_key(paths: Sequence[Path]) -> str:
    """What names the folder of a run: a hash of the files that are sent."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(sha256_file(path).encode())
    return digest.hexdigest()[:24]
