"""The native runner, built once, and its models, each written once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.launcher import native_launcher, python_launcher
from edgeseq_benchmarks.bench.worker_client import WorkerClient
from edgeseq_benchmarks.native.build import build_runner
from edgeseq_benchmarks.native.library import installed_library
from edgeseq_benchmarks.native.targets import host_target

from .native_models import Case, Files, write_case
from .sanitizers import build_sanitized_runner, find_clang, sanitizer_environment

TIMEOUT_S = 60.0
Write = Callable[[Case], Files]


class Runner(NamedTuple):
    """`edgeseq-runner` and LiteRT's library for it."""

    program: Path
    library: Path

    def run(self, *arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """What the program says to these arguments."""
        return subprocess.run(
            [self.program, *arguments], input=stdin, capture_output=True, timeout=60, check=False
        )

    def predict(
        self, *arguments: str | Path, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """`predict` with the library."""
        return self.run("predict", *arguments, "--library", self.library, stdin=stdin)

    def serve(self, *lines: bytes) -> subprocess.CompletedProcess[bytes]:
        """A worker that is given these lines and the end of stdin."""
        stdin = b"".join(line + b"\n" for line in lines)
        return self.run("worker", "0", "--library", self.library, stdin=stdin)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The runner of this machine; with `EDGESEQ_RUNNER_SANITIZED` in the environment, one that the
    sanitizers watch."""
    if host_target() is None:
        pytest.skip("no native runner for this machine")
    if os.environ.get("EDGESEQ_RUNNER_SANITIZED"):
        compiler = find_clang()
        assert compiler is not None, "needs clang"
        folder = tmp_path_factory.mktemp("sanitized")
        os.environ.update(sanitizer_environment(folder))
        return Runner(build_sanitized_runner(compiler), installed_library())
    return Runner(build_runner(), installed_library())


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """The files of a case; written at its first use."""
    written: dict[Case, Files] = {}
    root = tmp_path_factory.mktemp("native")

    def write(case: Case) -> Files:
        if case not in written:
            written[case] = write_case(case, root / case.name)
        return written[case]

    return write


@contextmanager
def started(runner: Runner) -> Iterator[WorkerClient]:
    """A native worker without a model."""
    with WorkerClient("native", native_launcher(runner.program, runner.library)) as child:
        yield child


@contextmanager
def both(
    runner: Runner, files: Files, first_text: protocol.Text
) -> Iterator[tuple[WorkerClient, WorkerClient]]:
    """The native worker and the Python one with the same model."""
    with started(runner) as native, WorkerClient("python", python_launcher()) as python:
        for child in (native, python):
            load = files.load(native=child is native, first_text=first_text)
            child.request(load, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
        yield native, python
