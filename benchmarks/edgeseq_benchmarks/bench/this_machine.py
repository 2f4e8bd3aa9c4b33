"""This machine as the one that measures: child processes, in Python or in the native runner."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from importlib import metadata
from pathlib import Path

from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import DeviceInfo, Runner, RuntimeInfo
from edgeseq.progress import ProgressCallback, no_progress
from edgeseq_benchmarks.bench.launcher import (
    Launcher,
    check_runner_file,
    native_launcher,
    python_launcher,
)
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy
from edgeseq_benchmarks.bench.limits.page_cache import FreshFiles, private_files
from edgeseq_benchmarks.bench.limits.unprivileged import LimitGroup, find_limiter, limited_group
from edgeseq_benchmarks.bench.probes.energy import EnergyReader, find_reader
from edgeseq_benchmarks.bench.probes.machine_state import Watch, available_bytes, device_info
from edgeseq_benchmarks.bench.protocol import ModelLoaded
from edgeseq_benchmarks.native.build import build_runner
from edgeseq_benchmarks.native.library import installed_library


class ThisMachine:
    """See `Machine`; the native runner is built when it is first needed."""

    def __init__(self, progress: ProgressCallback = no_progress) -> None:
        """`progress` is called when the native runner is built."""
        self._progress = progress

    def info(self) -> DeviceInfo:
        return device_info()

    def watch(self) -> Watch:
        return Watch()

    def available_bytes(self) -> int | None:
        return available_bytes()

    def launcher(self, bundle: BundleFiles, runner: Runner) -> Launcher:
        """See `Machine.launcher`."""
        if runner == "python":
            return python_launcher()
        check_runner_file(bundle)
        return native_launcher(*self._native)

    @cached_property
    def _native(self) -> tuple[Path, Path]:
        """The runner and the library that it loads."""
        library = installed_library()
        return build_runner(progress=self._progress), library

    def find_limiter(self) -> Hierarchy:
        return find_limiter()

    def limited_group(
        self, hierarchy: Hierarchy, limit_bytes: int, cpus: float | None
    ) -> AbstractContextManager[LimitGroup]:
        return limited_group(hierarchy, limit_bytes, cpus)

    def private_files(
        self, bundle: BundleFiles, launcher: Launcher, mapped: Sequence[str]
    ) -> AbstractContextManager[FreshFiles]:
        return private_files(bundle, mapped, launcher)

    def find_energy_reader(self) -> EnergyReader | None:
        return find_reader()

    def runtime(self, loaded: Sequence[ModelLoaded]) -> RuntimeInfo:
        """The installed package; its Python where a Python process was measured."""
        package = loaded[0].package
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            version = "unknown"
        python = next((reply.python for reply in loaded if reply.python), "none")
        return RuntimeInfo(package=package, version=version, python=python)
