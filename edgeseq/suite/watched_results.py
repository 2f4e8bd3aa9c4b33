"""Results that are still being written: files, folders of files, and outputs of suites."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeseq.errors import InputError
from edgeseq.formats.drafts import is_draft
from edgeseq.formats.linear_baseline import LinearBaseline, read_linear_baseline
from edgeseq.suite.devices import MEASURED_FOLDER, RESULTS_FOLDER
from edgeseq.suite.output_folder import MARKER, SUITE_FILE
from edgeseq.suite.plan import BASELINE_FILE, MEASURED_FILE, RESULT_FILE
from edgeseq.suite.schema import read_suite
from edgeseq.suite.steps import StepRecord
from edgeseq.suite.times import read_records

_UNFINISHED = "-unfinished"

Versions = tuple[tuple[Path, int, int], ...]
"""Files with their size in bytes and the time of their last change in ns."""


class WatchedResults:
    """Result files as they are now, below `paths`: files, which need not be there yet, folders,
    and output folders of suites.

    Raises `InputError` for a path that is neither a file nor in a folder.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        for path in paths:
            if not path.is_dir() and not path.parent.is_dir():
                raise InputError("no such folder", where=path.parent, fix="check the path")
        self._paths = tuple(paths)
        self._steps: dict[Path, tuple[int, list[StepRecord]]] = {}

    def versions(self) -> Versions:
        """The result files; equal as long as none changes, comes or goes."""
        versions = []
        files = dict.fromkeys(file for path in self._paths for file in _result_files(path))
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                status = file.stat()
                versions.append((file, status.st_size, status.st_mtime_ns))
        return tuple(versions)

    @property
    def budget(self) -> str:
        """The budget of the suite, "" where no suite or several are watched."""
        suites = [path for path in self._paths if _is_suite_output(path)]
        return read_suite(suites[0] / SUITE_FILE).report.budget if len(suites) == 1 else ""

    @property
    def baseline(self) -> LinearBaseline | None:
        """The linear baseline of the only path, if that is a suite's output that has one."""
        path = self._paths[0] / BASELINE_FILE
        is_there = len(self._paths) == 1 and _is_suite_output(self._paths[0]) and path.exists()
        return read_linear_baseline(path) if is_there else None

    def finished_steps(self) -> list[StepRecord]:
        """The finished steps of the suites, in the order in which they began."""
        return [step for path in self._paths for step in self._steps_of(path)]

    def _steps_of(self, root: Path) -> list[StepRecord]:
        """The records are read again only where one was written: a measurement may be running."""
        if not _is_suite_output(root):
            return []
        try:
            changed_ns = (root / "steps").stat().st_mtime_ns
            if root not in self._steps or self._steps[root][0] != changed_ns:
                self._steps[root] = (changed_ns, read_records(root))
            return self._steps[root][1]
        except (FileNotFoundError, InputError):  # none is finished, or a kill damaged one
            return []


def _is_suite_output(path: Path) -> bool:
    return (path / MARKER).is_file() and (path / SUITE_FILE).is_file()


def _result_files(path: Path) -> Iterator[Path]:
    if _is_suite_output(path):
        yield _newer(path / MEASURED_FILE, path / RESULT_FILE)
        devices = (path / MEASURED_FOLDER).glob("*.json")
        for measured in sorted(devices):
            yield _newer(measured, path / RESULTS_FOLDER / measured.name)
    elif path.is_dir():
        names = {file.name for file in path.glob("*.json") if not is_draft(file.name)}
        for name in sorted(names):
            # Of a device that was lost and measured again, the whole result counts.
            if name.replace(f"{_UNFINISHED}.json", ".json") in names - {name}:
                continue
            yield path / name
    else:
        yield path


def _newer(measured: Path, final: Path) -> Path:
    """`final`, which has the winner's run under the budget's limits too, unless it is of an
    earlier measurement."""
    try:
        return final if final.stat().st_mtime_ns >= measured.stat().st_mtime_ns else measured
    except FileNotFoundError:
        return measured if measured.exists() else final
