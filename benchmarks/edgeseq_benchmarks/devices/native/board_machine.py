"""A board without Python as the machine that measures: native processes over ssh."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import PurePosixPath

from edgeseq.errors import DeviceError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.bundle_manifest import MODEL_FILE
from edgeseq.formats.result import DeviceInfo, Runner, RuntimeInfo
from edgeseq.units import format_bytes
from edgeseq_benchmarks.bench.launcher import Launcher, check_runner_file
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import Eviction, FreshFiles
from edgeseq_benchmarks.bench.limits.unprivileged import LimitGroup
from edgeseq_benchmarks.bench.probes.energy import EnergyReader
from edgeseq_benchmarks.bench.protocol import ModelLoaded
from edgeseq_benchmarks.devices.native.board_connection import BoardConnection
from edgeseq_benchmarks.devices.native.board_facts import BoardFacts, BoardWatch
from edgeseq_benchmarks.devices.native.board_limits import find_board_limiter, limited_board_group
from edgeseq_benchmarks.devices.native.native_files import NativeFiles
from edgeseq_benchmarks.native.build import RUNNER
from edgeseq_benchmarks.native.library import LIBRARY

TOOL = "tool/edgeseq-runner"
"""The copy of the runner that starts and evicts: its pages are never a measured process's."""


class BoardMachine:
    """See `Machine`. The runner is in `folder` on the board, each bundle in one of `bundles`."""

    def __init__(
        self,
        connection: BoardConnection,
        facts: BoardFacts,
        files: NativeFiles,
        folder: PurePosixPath,
        *,
        bundles: Sequence[BundleFiles],
        owner: str,
        on_disk: bool,
    ) -> None:
        self._tool = str(folder / TOOL)
        self._connection = connection.with_launcher(self._tool, "launch")
        self._facts = facts
        self._files = files
        self._folder = folder
        self._folders = {
            bundle.path: folder / "bundles" / str(number) for number, bundle in enumerate(bundles)
        }
        self._owner = owner
        self._on_disk = on_disk

    def info(self) -> DeviceInfo:
        return self._facts.info()

    def watch(self) -> BoardWatch:
        return BoardWatch(self._facts)

    def available_bytes(self) -> int | None:
        return self._facts.available_bytes()

    def launcher(self, bundle: BundleFiles, runner: Runner) -> Launcher:
        """See `Machine.launcher`."""
        if runner != "native":
            raise DeviceError(f"runs no {runner} process this way", where=self._connection.name)
        check_runner_file(bundle)
        command = (str(self._folder / RUNNER), "worker", "0", "--library")
        return Launcher(
            "native",
            (*command, str(self._folder / LIBRARY)),
            folder=str(self._folders[bundle.path]),
            connection=self._connection,
        )

    def find_limiter(self) -> Hierarchy:
        return find_board_limiter(self._connection, self._owner)

    def limited_group(
        self, hierarchy: Hierarchy, limit_bytes: int, cpus: float | None
    ) -> AbstractContextManager[LimitGroup]:
        connection, owner = self._connection, self._owner
        return limited_board_group(connection, owner, hierarchy, limit_bytes, cpus)

    @contextmanager
    def private_files(
        self, bundle: BundleFiles, launcher: Launcher, mapped: Sequence[str]
    ) -> Iterator[FreshFiles]:
        """The files that were sent: no other process there has them."""
        folder = PurePosixPath(launcher.folder or self._folder)
        own = [folder / MODEL_FILE, folder / launcher.input_file(bundle)]
        own += [self._folder / RUNNER, self._folder / LIBRARY]
        sent = str(self._folder)
        libraries = [path for path in mapped if not path.startswith(f"{sent}/")]
        yield _SentFiles(self, launcher, [*map(str, own)], libraries)

    def evict(self, paths: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Drops files from the page cache there; what is left of each, and its size, in bytes."""
        output = self._connection.run([self._tool, "evict", *paths])
        try:
            answer = json.loads(output.stdout)
            return {
                str(file["path"]): (int(file["resident_bytes"]), int(file["size_bytes"]))
                for file in answer["files"]
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DeviceError(
                "cannot drop files from the page cache",
                where=self._connection.name,
                found=repr(output.stdout[:80] or output.stderr[:80]),
            ) from error

    @property
    def on_disk(self) -> bool:
        """Whether what was sent is on a disk, and not in memory."""
        return self._on_disk

    def find_energy_reader(self) -> EnergyReader | None:
        """None: its sensors are read by its own Python alone."""
        return None

    def runtime(self, loaded: Sequence[ModelLoaded]) -> RuntimeInfo:
        """The library that was sent."""
        del loaded
        return RuntimeInfo(package="ai-edge-litert", version=self._files.version, python="none")


class _SentFiles:
    """See `FreshFiles`."""

    def __init__(
        self,
        machine: BoardMachine,
        launcher: Launcher,
        own: Sequence[str],
        libraries: Sequence[str],
    ) -> None:
        self.launcher = launcher
        self._machine = machine
        self._own, self._libraries = own, libraries

    def evict(self) -> Eviction:
        """See `FreshFiles.evict`."""
        left = self._machine.evict([*self._own, *self._libraries])
        own_left = sum(left.get(path, (0, 0))[0] for path in self._own)
        kept = sum(left.get(path, (0, 0))[0] for path in self._libraries)
        total = sum(left.get(path, (0, 0))[1] for path in self._libraries)
        sent = "dropped from the page cache"
        if not self._machine.on_disk:
            sent = "on a memory file system (its pages are not charged)"
        elif own_left:
            sent = f"{format_bytes(own_left)} of it already in the page cache"
        description = (
            f"bundle, runner and its library as they were sent, {sent}; system libraries dropped, "
            f"{format_bytes(kept)} of {format_bytes(total)} kept by other processes"
        )
        return Eviction(description, own_left + kept)
