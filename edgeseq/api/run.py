"""A whole comparison in one file, from text to report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from edgeseq.api.bundle import Bundle, converted_bundle
from edgeseq.api.options import check_options
from edgeseq.api.progress import ProgressOption, progress_of
from edgeseq.api.report import report
from edgeseq.api.result import Result, load_result
from edgeseq.reporting.deployment_report import Report
from edgeseq.suite.checks import check_suite
from edgeseq.suite.engine import StepEvent, SuiteOptions, SuiteRun, run_suite
from edgeseq.suite.quick import find_suite, quick_suite
from edgeseq.suite.schema import Suite, read_suite
from edgeseq.suite.times import peak_memory_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack


class RunOptions(TypedDict, total=False):
    """Options of `run`."""

    devices: Sequence[str]
    python: str | None
    quick: bool
    data_dir: str | Path | None
    scheduler: str | None
    store: str | None
    on_step: Callable[[StepEvent], None]
    progress: ProgressOption


@dataclass(frozen=True)
class SuiteOutput:
    """What a run of a suite wrote.

    Attributes:
        root: The folder of models, bundles, results and report.
        suite: The suite file's content.
        steps: The steps with their durations, and what was kept from an earlier run.
    """

    root: Path
    suite: Suite
    steps: SuiteRun

    @property
    def bundles(self) -> dict[str, Bundle]:
        """The bundles by name."""
        names = self.suite.bundle_names()
        return {name: converted_bundle(self.root / "bundles" / name) for name in names}

    @property
    def results(self) -> tuple[Result, ...]:
        """One result per device."""
        return tuple(map(load_result, self.steps.result_paths))

    @cached_property
    def report(self) -> Report:
        """What to ship, and why."""
        return report(self.results, budget=self.suite.report.budget)

    @property
    def lost_devices(self) -> tuple[str, ...]:
        """One line per device that was lost; the next run measures there."""
        return self.steps.lost

    @property
    def peak_memory_bytes(self) -> int:
        """What the steps needed at most, in bytes."""
        return peak_memory_bytes(self.steps.events)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def run(
    suite: str | Path, *, out: str | Path | None = None, **options: Unpack[RunOptions]
) -> SuiteOutput:
    """Run a whole comparison: train, convert, measure, report; running it again resumes.

    Args:
        suite: A suite file (TOML), or the name of a built-in one: `demo`, `sentiment`, `pos`,
            `ner`, `coref`, `lm`.
        out: The folder to write; by default the suite's name.
        devices: Devices to measure on, as for `bench`; by default this machine.
        python: The Python on the devices.
        quick: A data subset and few epochs: minutes.
        data_dir: Folder of local copies of data.
        scheduler: The address of a Dask scheduler, whose workers run the steps.
        store: The URL of a store of what steps made, which all machines reach.
        on_step: Called with each step when it is finished, or kept from an earlier run.
        progress: A callback, "auto" for a progress bar, or None.

    Raises:
        InputError: The suite file has an error, or a device is unknown.
        OutputError: `out` holds other files, or cannot be written.
        Exception: What the failed step raised; finished steps are kept.

    Examples:
        >>> output = es.run("tickets.toml", out="runs/tickets")
        >>> output.report.verdict.winner
    """

    check_options(options, RunOptions)
    path = find_suite(str(suite))
    quick = options.get("quick", False)
    suite_content = _read(path, quick=quick)
    root = Path(suite_content.name if out is None else out)
    data_dir = options.get("data_dir")
    with progress_of(options.get("progress", "auto"), still=True) as callback:
        steps = run_suite(
            path,
            root,
            SuiteOptions(
                quick=quick,
                data_dir=None if data_dir is None else Path(data_dir),
                devices=tuple(options.get("devices", ())),
                python=options.get("python"),
                scheduler=options.get("scheduler"),
                store=options.get("store"),
            ),
            progress=callback,
            on_step=options.get("on_step", lambda _: None),
        )
    return SuiteOutput(root=root, suite=suite_content, steps=steps)


def _read(path: Path, *, quick: bool) -> Suite:
    suite = read_suite(path)
    check_suite(suite)
    return quick_suite(suite) if quick else suite
