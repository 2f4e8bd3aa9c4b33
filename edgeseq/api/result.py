"""Results: what `bench` measured, as tables and objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeseq.api.result_tables import write_csv, write_parquet
from edgeseq.errors import InputError, ResultError
from edgeseq.formats.result import (
    DeviceInfo,
    Finding,
    ResultRecord,
    Run,
    Runner,
    RuntimeInfo,
    read_result,
)
from edgeseq.formats.storage import write_bytes, write_json
from edgeseq.html import html_table
from edgeseq.installation import import_extra
from edgeseq.reporting.trace import trace_json

if TYPE_CHECKING:
    import pandas as pd

    from edgeseq.reporting.rows import ReportRow

Interval = tuple[float, float]


class Latency(msgspec.Struct, frozen=True):
    """Times of a query (tokenize + inference + decode) in milliseconds.

    None where it was not measured, from too few samples (p95: 130) or on an emulated device. The
    high end of an interval is None where the samples do not show it.

    Attributes:
        p50: The median.
        p95: The 95th percentile.
        ci95: The 95 % confidence interval of p95.
        p50_ci95: The 95 % confidence interval of p50.
        inference_p50: The median of inference alone.
        inference_p95: The 95th percentile of inference alone.
        cold_start: The median from process start to the first prediction.
        n_queries: Number of samples.
    """

    p50: float | None
    p95: float | None
    ci95: tuple[float, float | None] | None
    p50_ci95: tuple[float, float | None] | None
    inference_p50: float | None
    inference_p95: float | None
    cold_start: float | None
    n_queries: int


class MemoryUse(msgspec.Struct, frozen=True):
    """Memory in bytes; None where it was not measured.

    Attributes:
        working: The smallest hard limit on the whole process under which it keeps its speed.
        working_bracket: The largest limit known to be too small (0: none), and `working`.
        process: The peak of the whole process.
        model: The peak beyond the bare runtime.
    """

    working: int | None
    working_bracket: tuple[int, int] | None
    process: int | None
    model: int | None


class BundleMeasurement(msgspec.Struct, frozen=True):
    """What was measured of one bundle.

    Attributes:
        row: All derived numbers.
        run: All raw samples.
    """

    row: ReportRow
    run: Run

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.row.bundle

    @property
    def latency(self) -> Latency:
        """Times of a query, in milliseconds."""
        row = self.row
        return Latency(
            p50=row.p50_ms,
            p95=row.p95_ms,
            ci95=row.p95_ms_ci95,
            p50_ci95=row.p50_ms_ci95,
            inference_p50=row.inference_p50_ms,
            inference_p95=row.inference_p95_ms,
            cold_start=row.cold_start_ms,
            n_queries=row.n_queries,
        )

    @property
    def memory(self) -> MemoryUse:
        """Working memory and peaks, in bytes."""
        row = self.row
        return MemoryUse(
            working=row.working_memory_bytes,
            working_bracket=row.working_memory_bracket_bytes,
            process=row.peak_process_bytes,
            model=row.peak_memory_bytes,
        )

    @property
    def runner(self) -> Runner:
        """The program that ran the model: "native", "python", "benchmark_model", "browser" or
        "mediapipe"."""
        return self.row.runner

    @property
    def score(self) -> float | None:
        """The task's metric on the test split: 0..1, or a perplexity."""
        return self.row.score

    @property
    def score_ci95(self) -> Interval | None:
        """The 95 % confidence interval of `score`."""
        return self.row.score_ci95

    @property
    def accuracy(self) -> float | None:
        """`score` (0..1) of a task whose metric is accuracy, otherwise None."""
        return self.row.score if self.row.metric == "accuracy" else None

    @property
    def is_valid(self) -> bool:
        """Whether no finding makes the measurement invalid."""
        return self.row.valid

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a reader of the numbers must know."""
        return self.row.findings


class Result:
    """What one `bench` measured on one device, by bundle name; a bundle that was measured in
    several runners is in it once for each.

    Attributes:
        record: The result record, raw.
        path: Its file, if it has one.
    """

    def __init__(self, record: ResultRecord, path: Path | None = None) -> None:
        self.record = record
        self.path = path

    @cached_property
    def _measurements(self) -> tuple[BundleMeasurement, ...]:
        # NumPy must not be loaded while this process measures: its pages would be shared with the
        # models that run inside limits.
        from edgeseq.reporting.rows import derive_row  # noqa: PLC0415 - see above

        return tuple(
            BundleMeasurement(derive_row(self.record, run), run) for run in self.record.runs
        )

    def __getitem__(self, name: str) -> BundleMeasurement:
        """The measurement of the bundle called `name`: the native one, if there are several.

        Raises:
            ResultError: No bundle has that name.
        """
        return self.measurement(name)

    def measurement(self, name: str, runner: Runner | None = None) -> BundleMeasurement:
        """The measurement of the bundle called `name` in `runner`.

        Args:
            name: The bundle's name.
            runner: "native", "python", "benchmark_model", "browser" or "mediapipe"; by default the
                native one, if any.

        Raises:
            ResultError: No bundle has that name, or it was not measured in `runner`.
        """
        named = [measured for measured in self if measured.name == name]
        if not named:
            raise ResultError(
                "no such bundle in the result",
                where=self.path,
                found=repr(name),
                expected=" or ".join(map(repr, self.names)) or "no bundle",
            )
        chosen = [m for m in named if m.runner == (runner or "native")]
        if runner is not None and not chosen:
            raise ResultError(
                f"{name} was not measured in this runner",
                where=self.path,
                found=runner,
                expected=" or ".join(measured.runner for measured in named),
            )
        return (chosen or named)[0]

    def __iter__(self) -> Iterator[BundleMeasurement]:
        return iter(self._measurements)

    def __len__(self) -> int:
        return len(self._measurements)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the bundles."""
        return tuple(dict.fromkeys(run.bundle.name for run in self.record.runs))

    @property
    def device(self) -> DeviceInfo:
        """The machine that was measured."""
        return self.record.device

    @property
    def runtime(self) -> RuntimeInfo:
        """The TFLite runtime that ran the models."""
        return self.record.runtime

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What holds for all bundles of this result."""
        return self.record.findings

    def to_rows(self) -> list[dict[str, Any]]:
        """One dictionary per bundle and runner: plain values, units in their names."""
        return [_flat(measurement.row) for measurement in self]

    def to_frame(self) -> pd.DataFrame:
        """One row per bundle and runner as a pandas data frame, units in the columns' names.

        Raises:
            InputError: pandas is not installed (see `to_rows`).
        """
        try:
            pandas = import_extra("pandas")
        except ModuleNotFoundError as error:
            raise InputError(
                "to_frame needs pandas, which is not installed",
                fix="pip install pandas, or call to_rows",
            ) from error
        frame: pd.DataFrame = pandas.DataFrame(self.to_rows()).set_index("bundle", drop=False)
        return frame

    def to_csv(self, path: str | Path) -> Path:
        """Write `to_rows` as CSV; what was not measured is an empty cell.

        Raises:
            OutputError: The file cannot be written.
        """
        write_csv(Path(path), self.to_rows())
        return Path(path)

    def to_parquet(self, path: str | Path) -> Path:
        """Write `to_rows` as Parquet (extra `parquet`).

        Raises:
            InputError: pyarrow is not installed.
            OutputError: The file cannot be written.
        """
        write_parquet(Path(path), self.to_rows())
        return Path(path)

    def to_trace(self, path: str | Path) -> Path:
        """Write the times of queries, cold starts and operators as a trace for ui.perfetto.dev.

        Raises:
            OutputError: The file cannot be written.
        """
        write_bytes(Path(path), trace_json([self.record]))
        return Path(path)

    def log_mlflow(self, uri: str, *, experiment: str = "edgeseq", report: bool = True) -> str:
        """Log the result in MLflow (extra `mlflow`): a run with the result and its report as
        artifacts, and a nested run per bundle and runner, whose metrics are the numbers of
        `to_rows` and whose parameters are the rest.

        Args:
            uri: MLflow's tracking URI, such as "http://host:5000" or "file:///folder".
            experiment: The experiment's name; it is made where it does not exist.
            report: Whether to make and add the report.

        Returns:
            The id of the result's run.

        Raises:
            InputError: MLflow is not installed.
            OutputError: MLflow does not take the runs.
        """
        # As above.
        from edgeseq.reporting.mlflow_log import log_result  # noqa: PLC0415 - see above

        rows = self.to_rows()
        return log_result(self.record, rows, uri=uri, experiment=experiment, with_report=report)

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, as `edgeseq bench --out` does.

        Raises:
            OutputError: The file cannot be written.
        """
        write_json(Path(path), self.record)
        self.path = Path(path)
        return self.path

    def __repr__(self) -> str:
        return f"Result({', '.join(self.names)} on {self.device.name})"

    def _repr_html_(self) -> str:
        # As above.
        from edgeseq.reporting.format import model_figures  # noqa: PLC0415 - see above

        figures = [(m.name, m.runner, model_figures(m.row)) for m in self]
        columns = [figure.title for figure in figures[0][2]] if figures else []
        rows = [
            (name, runner, *(f"{figure.value} {figure.remark}".strip() for figure in row))
            for name, runner, row in figures
        ]
        title = f"{self.device.name}, {self.runtime.package}"
        return html_table(("bundle", "runner", *columns), rows, title=title)


def load_result(path: str | Path) -> Result:
    """Load a result that `Result.save` or `edgeseq bench` wrote.

    Args:
        path: The JSON file.

    Raises:
        ResultError: The file is damaged or its schema version is unknown.

    Examples:
        >>> result = es.load_result("result.json")
    """
    return Result(read_result(Path(path)), Path(path))


def result_source(source: Result | str | Path) -> ResultRecord | Path:
    """What the report reads: the file if there is one, so that the report can name it."""
    if isinstance(source, Result):
        return source.path or source.record
    return Path(source)


_COLUMNS = (
    "bundle", "runner", "task", "arch", "recipe", "lowering", "device", "threads", "parameters",
    "size_bytes", "metric", "score", "p50_ms", "p95_ms", "inference_p50_ms", "inference_p95_ms",
    "cold_start_ms", "working_memory_bytes", "peak_process_bytes", "peak_memory_bytes", "n_queries",
    "n_examples", "valid",
)  # fmt: skip
_INTERVALS = ("score", "p50_ms", "p95_ms")


def _flat(row: ReportRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _COLUMNS}
    for name in _INTERVALS:
        ends: Sequence[float | None] = getattr(row, f"{name}_ci95") or (None, None)
        values[f"{name}_low"], values[f"{name}_high"] = ends
    low, _ = row.working_memory_bracket_bytes or (None, None)
    values["working_memory_too_little_bytes"] = low
    return values
