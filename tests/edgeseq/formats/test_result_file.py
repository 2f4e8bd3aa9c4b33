"""Result files that contradict themselves are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.result import ResultRecord, Run, read_result
from edgeseq.formats.storage import write_json

from ...fake_results import MODELS, Fake, make_result

FAKE = Fake(models=MODELS[:1], n_queries=10, n_examples=10, lengths=False)


def altered(result: ResultRecord, **fields: Any) -> ResultRecord:
    """The result with other fields in its only run."""
    run = msgspec.structs.replace(result.runs[0], **fields)
    return msgspec.structs.replace(result, runs=(run,))


def limited(run: Run, **fields: Any) -> dict[str, Any]:
    """The run's first limited run with other fields."""
    return {"limited": (msgspec.structs.replace(run.limited[0], **fields), *run.limited[1:])}


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    path, result = tmp_path / "result.json", make_result(FAKE)
    write_json(path, result)
    assert read_result(path) == result


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"limit_bytes": 0}, "limit_bytes"),
        ({"query_major_faults": -1}, "query_major_faults"),
        ({"board": "pi4"}, "purpose"),
        ({"purpose": "board"}, "purpose"),
        ({"budget": "memory=16MB"}, "purpose"),
        ({"purpose": "whim"}, "purpose"),
    ],
)
def test_a_limited_run_fits_its_purpose(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    path, result = tmp_path / "result.json", make_result(FAKE)
    write_json(path, altered(result, **limited(result.runs[0], **fields)))
    with pytest.raises(ResultError, match=message):
        read_result(path)


def test_a_search_has_references_and_runs_of_its_own(tmp_path: Path) -> None:
    path, result = tmp_path / "result.json", make_result(FAKE)
    search = result.runs[0].working_memory
    assert search is not None
    for wrong in (
        msgspec.structs.replace(search, references=()),
        msgspec.structs.replace(search, references=search.runs),
        msgspec.structs.replace(search, runs=result.runs[0].limited),
    ):
        write_json(path, altered(result, working_memory=wrong))
        with pytest.raises(ResultError, match="search for working memory"):
            read_result(path)


def test_a_bundle_is_measured_once_in_each_runner(tmp_path: Path) -> None:
    path, result = tmp_path / "result.json", make_result(FAKE)
    native = msgspec.structs.replace(result.runs[0], runner="native")
    write_json(path, msgspec.structs.replace(result, runs=(*result.runs, native)))
    assert len(read_result(path).runs) == 2
    write_json(path, msgspec.structs.replace(result, runs=(*result.runs, *result.runs)))
    with pytest.raises(ResultError, match="twice, in the same runner"):
        read_result(path)


def test_an_earlier_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, msgspec.structs.replace(make_result(FAKE), schema_version=2))
    with pytest.raises(ResultError, match="schema version"):
        read_result(path)
