"""A result read run by run is the result read at once, and its errors name the same places."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.result import read_result
from edgeseq.formats.result_stream import ResultStream
from edgeseq.formats.storage import write_json

from ...fake_results import MODELS, Fake, make_result, write_result

FAKE = Fake(models=MODELS[3:6], n_queries=20, n_examples=12)


def _edited(path: Path, edit: Any) -> Path:
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_runs_come_one_by_one_and_are_the_same(tmp_path: Path) -> None:
    path = write_result(tmp_path / "result.json", FAKE)
    whole, stream = read_result(path), ResultStream(path)
    runs = tuple(stream)
    assert msgspec.structs.replace(stream.head, runs=runs) == whole
    assert tuple(stream) == ()
    gold = [run.predictions.gold for run in runs if run.predictions]
    assert gold[0] is gold[1] is gold[2]


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["runs"][1]["queries"]["total_ns"].__setitem__(3, "x"),
        lambda content: content["runs"][2].pop("memory"),
        lambda content: content["device"].pop("cores"),
        lambda content: content.pop("effective"),
        lambda content: content.__setitem__("runs", 5),
        lambda content: content.pop("schema_version"),
        lambda content: (content.pop("effective"), content.__setitem__("schema_version", 2)),
    ],
)
def test_an_error_names_the_place_as_reading_at_once_does(tmp_path: Path, edit: Any) -> None:
    path = _edited(write_result(tmp_path / "result.json", FAKE), edit)
    with pytest.raises(ResultError) as at_once:
        read_result(path)
    with pytest.raises(ResultError) as streamed:
        tuple(ResultStream(path))
    assert str(streamed.value) == str(at_once.value)


def test_contradictions_are_refused(tmp_path: Path) -> None:
    result = make_result(replace(FAKE, models=MODELS[3:4]))
    [run] = result.runs
    path = tmp_path / "result.json"
    short = msgspec.structs.replace(run.queries, tokens=run.queries.tokens[1:])
    for runs, message in (
        ((run, run), "twice, in the same runner"),
        ((msgspec.structs.replace(run, queries=short),), "columns of one length"),
    ):
        write_json(path, msgspec.structs.replace(result, runs=runs))
        with pytest.raises(ResultError, match=message):
            tuple(ResultStream(path))
    _edited(path, lambda content: content.__setitem__("schema_version", 1))
    with pytest.raises(ResultError, match="schema version"):
        ResultStream(path)
