"""Results for other tools: CSV, Parquet, MLflow with a real server."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import edgeseq as es
from edgeseq.cli.tables import table
from edgeseq.errors import InputError, OutputError
from edgeseq.reporting import deployment_report

from ...fake_results import MODELS, Fake, make_result

LITTLE = Fake(models=MODELS[3:5], n_queries=300, n_examples=200, limited=False, lengths=False)


@pytest.fixture(scope="module")
def result() -> es.Result:
    return es.Result(make_result(LITTLE))


def test_csv_has_every_number_of_the_rows(result: es.Result, tmp_path: Path) -> None:
    with result.to_csv(tmp_path / "result.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    for line, row in zip(lines, result.to_rows(), strict=True):
        assert list(line) == list(row)
        for name, value in row.items():
            cell = line[name]
            assert cell == ("" if value is None else str(value).lower()) or cell == value
            if isinstance(value, float):
                assert float(cell) == value


def test_parquet_gives_the_rows_back(result: es.Result, tmp_path: Path) -> None:
    read = pq.read_table(result.to_parquet(tmp_path / "result.parquet"))
    assert read.to_pylist() == result.to_rows()
    unmeasured = es.Result(make_result(Fake(models=MODELS[3:4], n_queries=10, accuracy=False)))
    other = pq.read_table(unmeasured.to_parquet(tmp_path / "other.parquet"))
    assert other.column("p95_ms").null_count == 1
    assert other.schema == read.schema


def test_an_empty_tracking_uri_makes_no_data_base(
    result: es.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the tracking URI is empty"):
        result.log_mlflow(" ")
    assert not list(tmp_path.iterdir())


def test_the_command_joins_several_results(
    result: es.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = result.save(tmp_path / "result.json")
    table([path, path])
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * len(result)
    table([path, path], csv=tmp_path / "t.csv", parquet=tmp_path / "t.parquet")
    assert capsys.readouterr().out == ""
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 2 * len(result)


def _metrics(run: dict[str, Any]) -> dict[str, float]:
    return {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}


def _params(run: dict[str, Any]) -> dict[str, str]:
    return {param["key"]: param["value"] for param in run["data"].get("params", ())}


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's own server on loopback, with its files in a temporary folder."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = {"backend-store-uri": (folder / "runs").as_uri(),
               "artifacts-destination": str(folder / "artifacts"),
               "host": "127.0.0.1", "port": str(port), "workers": "1"}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    settings = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            env={**os.environ, **settings},
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                _fetch(f"{address}/health")
                break
            except (urllib.error.URLError, TimeoutError):
                assert server.poll() is None, (folder / "log").read_text("utf-8")
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _fetch(address: str, question: object = None) -> bytes:
    content = None if question is None else json.dumps(question).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, content, headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
        body: bytes = answer.read()
    return body


@pytest.mark.slow
def test_the_server_returns_the_metrics_of_the_result(
    result: es.Result, mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pictures take seconds, and have tests of their own.
    monkeypatch.setattr(deployment_report, "can_draw", lambda: False)
    run_id = result.log_mlflow(mlflow_server, experiment="boards")
    api = f"{mlflow_server}/api/2.0/mlflow"
    parent = json.loads(_fetch(f"{api}/runs/get?run_id={run_id}"))["run"]
    assert parent["info"]["status"] == "FINISHED"
    assert _params(parent)["device.name"] == result.device.name
    nested = {
        "experiment_ids": [parent["info"]["experiment_id"]],
        "filter": f"tags.`mlflow.parentRunId` = '{run_id}'",
    }
    runs = json.loads(_fetch(f"{api}/runs/search", nested))["runs"]
    by_name = {_params(run)["bundle"]: run for run in runs}
    assert len(runs) == len(result)
    for row in result.to_rows():
        run = by_name[row["bundle"]]
        assert _metrics(run) == _numbers(row)
        assert _params(run)["recipe"] == row["recipe"]
        assert run["info"]["status"] == "FINISHED"
    stored = _fetch(f"{mlflow_server}/get-artifact?path=result.json&run_uuid={run_id}")
    (tmp_path / "result.json").write_bytes(stored)
    assert es.load_result(tmp_path / "result.json").record == result.record
    listed = json.loads(_fetch(f"{api}/artifacts/list?run_id={run_id}&path=report"))
    assert {file["path"] for file in listed["files"]} == {"report/report.md", "report/summary.json"}


def test_a_file_store_holds_the_runs(
    result: es.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = tmp_path / "runs"
    run_id = result.log_mlflow(store.as_uri(), report=False)
    [parent] = store.glob(f"*/{run_id}")
    assert (parent / "artifacts" / "result.json").is_file()
    assert (parent / "params" / "device.name").read_text("utf-8") == result.device.name
    scores = sorted(float(p.read_text("utf-8").split()[1]) for p in store.glob("*/*/metrics/score"))
    assert scores == sorted(row["score"] for row in result.to_rows())


def test_a_server_that_does_not_answer_is_one_line(
    result: es.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(OutputError, match="MLflow did not take the result") as caught:
            result.log_mlflow(address, report=False)
    assert str(caught.value).startswith(address)
    assert "\n" not in str(caught.value)
