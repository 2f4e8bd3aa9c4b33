"""The trace of a result: every measured time once, nested as it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import edgeseq as es
from edgeseq.cli.tables import table
from edgeseq.formats.result import OperatorProfile, OperatorTime

from ...fake_results import MODELS, Fake, make_result

LITTLE = Fake(models=MODELS[3:5], n_queries=40, n_examples=40, limited=False, lengths=False)
PROFILE = OperatorProfile(
    tokens=8,
    runs=4,
    plain_ns=(1,),
    invoke_us=100,
    operators=(
        OperatorTime("WHILE", "runtime", 4, 80),
        OperatorTime("Fully Connected (NC, F32)", "xnnpack", 8, 20),
    ),
    shares=(),
)


@pytest.fixture(scope="module")
def result() -> es.Result:
    record = make_result(LITTLE)
    profiled = msgspec.structs.replace(record.runs[0], profile=PROFILE)
    return es.Result(msgspec.structs.replace(record, runs=(profiled, *record.runs[1:])))


def _events(path: Path) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["traceEvents"]
    return events


def test_the_trace_has_every_time(result: es.Result, tmp_path: Path) -> None:
    events = _events(result.to_trace(tmp_path / "trace.json"))
    for process, run in enumerate(result.record.runs, start=1):
        timed = [e for e in events if e["pid"] == process and e["ph"] == "X"]
        durations = {
            name: [e["dur"] for e in timed if e["name"] == name]
            for name in ("query", "tokenize", "inference", "decode", "cold start", "load")
        }
        queries = run.queries
        assert durations["query"] == [ns / 1e3 for ns in queries.total_ns]
        for name in ("tokenize", "inference", "decode"):
            column = getattr(queries, f"{name}_ns")
            assert durations[name] == [ns / 1e3 for ns in column if ns]
        assert durations["cold start"] == [start.total_ns / 1e3 for start in run.cold_starts]
        assert durations["load"] == [start.load_ns / 1e3 for start in run.cold_starts]
    operators = {
        e["name"]: (e["dur"], e["args"]["calls per query"]) for e in events if e.get("tid") == 3
        and e["ph"] == "X"
    }  # fmt: skip
    assert operators == {"WHILE": (20.0, 1.0), "Fully Connected (NC, F32)": (5.0, 2.0)}


def test_parts_lie_inside_of_their_query_and_queries_do_not_overlap(
    result: es.Result, tmp_path: Path
) -> None:
    events = _events(result.to_trace(tmp_path / "trace.json"))
    of_thread = [e for e in events if e["pid"] == 1 and e["tid"] == 1 and e["ph"] == "X"]
    query_end = part_end = 0.0
    for event in of_thread:
        start, end = event["ts"], event["ts"] + event["dur"]
        if event["name"] == "query":
            assert start >= query_end - 1e-6
            query_end, part_end = end, start
        else:
            assert part_end - 1e-6 <= start
            assert end <= query_end + 1e-6
            part_end = end


def test_the_command_gives_each_model_of_each_result_a_process(
    result: es.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = result.save(tmp_path / "result.json")
    table([path, path], trace=tmp_path / "trace.json")
    assert capsys.readouterr().out == ""
    events = _events(tmp_path / "trace.json")
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert list(names) == [1, 2, 3, 4]
    assert names[1] == f"{MODELS[3].name} (python, kitchen-pi)"
