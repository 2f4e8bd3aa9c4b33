"""The machine on which models are measured: this one, or a board that is reached over ssh.

The stages of a benchmark ask it how processes are started, limited and watched there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import DeviceInfo, MachineState, Runner, RuntimeInfo
from edgeseq_benchmarks.bench.launcher import Launcher
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import FreshFiles
from edgeseq_benchmarks.bench.limits.unprivileged import LimitGroup
from edgeseq_benchmarks.bench.probes.energy import EnergyReader
from edgeseq_benchmarks.bench.protocol import ModelLoaded

When = Literal["before", "during", "after"]


class MachineWatch(Protocol):
    """What other processes do to the machine."""

    def read(self, when: When, children: Iterable[int] = ()) -> MachineState:
        """The state now, with loads since the last reading, without those of our processes
        (`children`, where they are this machine's)."""


class Machine(Protocol):
    """A machine that can run measured processes. All calls may raise `MachineLostError`."""

    def info(self) -> DeviceInfo:
        """What it is."""

    def watch(self) -> MachineWatch:
        """A watch that begins now."""

    def available_bytes(self) -> int | None:
        """Memory that could be used without swapping; None where it does not say."""

    def launcher(self, bundle: BundleFiles, runner: Runner) -> Launcher:
        """How a process with this bundle is started in `runner` (`python` or `native`).

        Raises `DeviceError` when this machine cannot run it, `BundleError` when that runner cannot
        run this bundle.
        """

    def find_limiter(self) -> Hierarchy:
        """The best way to limit a process there."""

    def limited_group(
        self, hierarchy: Hierarchy, limit_bytes: int, cpus: float | None
    ) -> AbstractContextManager[LimitGroup]:
        """A group with limits on memory, in bytes, and on processors, for the time of a block.

        `hierarchy` is what `find_limiter` returned.
        """

    def private_files(
        self, bundle: BundleFiles, launcher: Launcher, mapped: Sequence[str]
    ) -> AbstractContextManager[FreshFiles]:
        """Files of the bundle and its process that no other process has mapped; `mapped` are those
        that the process maps."""

    def find_energy_reader(self) -> EnergyReader | None:
        """What reads the machine's energy; None where there is nothing."""

    def runtime(self, loaded: Sequence[ModelLoaded]) -> RuntimeInfo:
        """The runtime that the models were loaded by."""
