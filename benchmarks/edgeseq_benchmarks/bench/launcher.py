"""How the measured process of a model is started: which program, on which machine, which files.

A stage of a benchmark knows a bundle and a launcher. Whether the process is Python or the native
runner, and whether it runs here or on a board, is in the launcher alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from edgeseq.errors import BundleError, EdgeseqError
from edgeseq.formats.bundle import BundleFiles
from edgeseq.formats.result import Finding, ResultRecord, Runner


class MachineLostError(EdgeseqError):
    """The machine that measures cannot be reached any more: nothing else can be measured there.

    `result` is what was measured so far, if there is something.
    """

    exit_code = 4
    result: ResultRecord | None = None


class Connection(Protocol):
    """The way to another machine, on which the measured process runs."""

    @property
    def marker(self) -> bytes:
        """The line after which the process's own output begins."""

    def command(self, command: Sequence[str]) -> list[str]:
        """What this machine starts so that `command` runs there, with its stdin and stdout."""

    def check(self) -> None:
        """Raises `MachineLostError` when the machine does not answer."""


class Launcher(NamedTuple):
    """How the process is started. `command` and `folder` belong to the machine that measures.

    `folder` holds the bundle's files there; None is the bundle's own folder on this machine.
    `programs` are the files that the process maps beside them, where they can be copied. Without a
    `connection`, the process is a child of this one.
    """

    runner: Runner
    command: tuple[str, ...]
    folder: str | None = None
    programs: tuple[str, ...] = ()
    connection: Connection | None = None

    def start_command(self, wrapped: Sequence[str]) -> list[str]:
        """What this machine starts; `wrapped` is `command`, inside a limit or not."""
        return list(wrapped) if self.connection is None else self.connection.command(wrapped)

    def environment(self) -> dict[str, str]:
        """The environment of what this machine starts."""
        return _python_environment(os.environ) if self.runner == "python" else dict(os.environ)

    def with_copies(self, folder: Path) -> Launcher:
        """The same process on this machine, with copies of all its files in `folder`."""
        if self.runner == "python":
            return python_launcher(folder)
        program, library = (folder / Path(path).name for path in self.programs)
        return native_launcher(program, library, folder)

    def input_file(self, bundle: BundleFiles) -> str:
        """The bundle's file that inputs are read with."""
        native = bundle.native_input_file if self.runner == "native" else None
        return native or bundle.input_file

    def paths(self, bundle: BundleFiles) -> tuple[str, str]:
        """The paths of model and tokenizer, on the machine that measures."""
        folder = self.folder or os.path.abspath(bundle.path)  # noqa: PTH100
        return f"{folder}/model.tflite", f"{folder}/{self.input_file(bundle)}"


def python_launcher(folder: Path | None = None) -> Launcher:
    """A Python process on this machine, with the files of a bundle in `folder`."""
    # A worker inherits nothing that could load foreign code: -P keeps the working folder off
    # the module path (Python 3.11); before that, it starts in a folder that holds no modules.
    command = [sys.executable, *(["-P"] if sys.version_info >= (3, 11) else [])]
    command += ["-m", "edgeseq_benchmarks.bench.worker", str(os.getpid())]
    path = None if folder is None else os.path.abspath(folder)  # noqa: PTH100
    return Launcher("python", tuple(command), path)


def native_launcher(program: Path, library: Path, folder: Path | None = None) -> Launcher:
    """The native runner on this machine: `program` with LiteRT's `library`."""
    command = (str(program), "worker", str(os.getpid()), "--library", str(library))
    path = None if folder is None else os.path.abspath(folder)  # noqa: PTH100
    return Launcher("native", command, path, (str(program), str(library)))


def check_runner_file(bundle: BundleFiles) -> None:
    """Raises `BundleError` for a bundle that the native runner cannot run."""
    if bundle.native_input_file is None:
        raise BundleError(
            "the native runner cannot run it",
            where=bundle.path,
            found=bundle.manifest.native_unsupported,
            fix="measure it with --runner python",
        )


def missing_runner(runner: str, reason: object) -> Finding:
    """Says in a run of one runner why there is none of another one."""
    message = f"not measured in the {runner} runner: {reason}"
    return Finding(f"{runner}-not-run", "note", message)


def _python_environment(user: Mapping[str, str]) -> dict[str, str]:
    """The environment of a measured Python: the user's, without what would make it vary."""
    environment = dict(user)
    # numpy's BLAS is not used in the measured path; its buffers (one per thread) would be counted.
    environment["OPENBLAS_NUM_THREADS"] = "1"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    # A module path relative to the working folder would point elsewhere from the child's.
    if path := environment.get("PYTHONPATH"):
        parts = [os.path.abspath(part) for part in path.split(os.pathsep) if part]  # noqa: PTH100
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    return environment
