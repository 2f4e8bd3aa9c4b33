"""A result in MLflow: a run for the whole result, and a nested run per model.

    parent run   params: device, runtime, settings; artifacts: result.json, report/
    ├── model    params: recipe, lowering, …; metrics: the numbers of its row, in their units
    └── model

The client is `mlflow-skinny`'s (the extra `mlflow`); where the runs go is a tracking URI, such as
`http://host:5000` or `file:///folder`. Nothing is set for the process: other code's experiment and
tracking URI stay what they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import edgeseq
from edgeseq.errors import InputError, OutputError
from edgeseq.formats.drafts import temporary_folder
from edgeseq.formats.result import ResultRecord
from edgeseq.formats.storage import write_json
from edgeseq.installation import import_extra
from edgeseq.reporting.deployment_report import make_report

PARENT_TAG = "mlflow.parentRunId"
NAME_TAG = "mlflow.runName"
# MLflow keeps 6000 characters of a parameter.
PARAM_LIMIT = 6000


def log_result(
    record: ResultRecord,
    rows: Sequence[Mapping[str, Any]],
    *,
    uri: str,
    experiment: str,
    with_report: bool = True,
) -> str:
    """Logs a result with its `rows` (as `Result.to_rows` gives them) and returns the parent's id.

    Metrics are the numbers of a row, unchanged: times in ms, sizes in bytes, the score as a
    fraction or a perplexity; what was not measured is absent.

    Args:
        record: The result.
        rows: One per model and runner, in the record's order.
        uri: MLflow's tracking URI.
        experiment: The experiment's name; it is made where it does not exist.
        with_report: Whether the report of this result is made and added.

    Raises:
        InputError: The extra `mlflow` is missing, or `uri` is empty, for which MLflow would make a
            data base in the working folder.
        OutputError: MLflow does not take the runs; what was begun is marked as failed.
    """
    if not uri.strip():
        raise InputError(
            "the tracking URI is empty",
            expected="an address or a folder, such as http://127.0.0.1:5000 or file:runs",
            fix="name where MLflow keeps its runs",
        )
    mlflow = import_extra("mlflow")
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else client.create_experiment(experiment)
        with _Run(client, experiment_id, f"{record.device.name} {record.created_utc}") as parent:
            _log_batch(client, parent.run_id, dict(_parameters_of(record)), {})
            _log_artifacts(client, parent.run_id, record, with_report)
            for row in rows:
                tags = {PARENT_TAG: parent.run_id}
                name = f"{row['bundle']} ({row['runner']})"
                with _Run(client, experiment_id, name, tags) as child:
                    _log_row(client, child.run_id, row)
    except (mlflow.exceptions.MlflowException, OSError) as failure:
        raise OutputError(
            "MLflow did not take the result",
            where=uri,
            found=str(failure).splitlines()[0] if str(failure) else type(failure).__name__,
            fix="check the tracking URI and that its server answers",
        ) from failure
    return parent.run_id


class _Run:
    """A run of MLflow that ends as finished, or as failed when the block raises."""

    def __init__(
        self, client: Any, experiment_id: str, name: str, tags: Mapping[str, str] | None = None
    ) -> None:
        self._client = client
        all_tags = {**(tags or {}), NAME_TAG: name, "edgeseq.version": edgeseq.__version__}
        self.run_id: str = client.create_run(experiment_id, tags=all_tags).info.run_id

    def __enter__(self) -> _Run:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")


def _parameters_of(record: ResultRecord) -> Iterator[tuple[str, Any]]:
    for name in ("name", "machine", "cpu_model", "cores", "memory_bytes", "os", "emulated"):
        yield f"device.{name}", getattr(record.device, name)
    for name in ("package", "version"):
        yield f"runtime.{name}", getattr(record.runtime, name)
    for name in ("threads", "quick"):
        yield f"settings.{name}", getattr(record.effective, name)
    yield "created_utc", record.created_utc
    yield "git_state", record.git_state
    yield "command", " ".join(record.command)


def _log_row(client: Any, run_id: str, row: Mapping[str, Any]) -> None:
    """Numbers are metrics, everything else parameters."""
    metrics = {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    params = {name: value for name, value in row.items() if name not in metrics}
    _log_batch(client, run_id, params, metrics)


def _log_batch(
    client: Any, run_id: str, params: Mapping[str, Any], metrics: Mapping[str, float]
) -> None:
    entities = import_extra("mlflow.entities")
    now_ms = time.time_ns() // 10**6
    client.log_batch(
        run_id,
        metrics=[entities.Metric(name, value, now_ms, 0) for name, value in metrics.items()],
        params=[
            entities.Param(name, str(value)[:PARAM_LIMIT])
            for name, value in params.items()
            if value not in (None, "")
        ],
    )


def _log_artifacts(client: Any, run_id: str, record: ResultRecord, with_report: bool) -> None:
    with temporary_folder() as folder:
        path = folder / "result.json"
        write_json(path, record)
        client.log_artifact(run_id, str(path))
        if with_report:
            make_report([path]).save(folder / "report")
            client.log_artifacts(run_id, str(folder / "report"), "report")
