"""Result files by value: what no measurement gives is refused, naming its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.result import read_result
from edgeseq.formats.result_stream import ResultStream
from edgeseq.formats.storage import write_json

from ...fake_results import Fake, make_result

Spoil = Callable[[dict[str, Any]], None]


def _set(*path: str | int, value: Any) -> Spoil:
    def spoil(result: dict[str, Any]) -> None:
        part: Any = result
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value

    return spoil


def _cut(*path: str | int) -> Spoil:
    def spoil(result: dict[str, Any]) -> None:
        part: Any = result
        for key in path:
            part = part[key]
        part.pop()

    return spoil


def _all_zero(result: dict[str, Any]) -> None:
    for name in ("tokenize_ns", "inference_ns", "decode_ns", "total_ns"):
        column = result["runs"][0]["queries"][name]
        column[:] = [0] * len(column)


SPOILED: dict[str, tuple[Spoil, str]] = {
    "negative time": (
        _set("runs", 0, "queries", "inference_ns", 3, value=-1),
        r"inference_ns\[3\]",
    ),
    "zero time": (_set("runs", 0, "queries", "total_ns", 3, value=0), r"total_ns\[3\]"),
    "all-zero times": (_all_zero, "total_ns"),
    "total below its parts": (
        _set("runs", 0, "queries", "total_ns", 5, value=1),
        r"total_ns\[5\] cannot be: found 1, expected at least its parts",
    ),
    "cold start below its parts": (
        _set("runs", 0, "cold_starts", 1, "total_ns", value=1),
        r"cold_starts\[1\]\.total_ns",
    ),
    "column one short": (_cut("runs", 0, "queries", "tokens"), "columns of one length"),
    "warmup column one short": (
        _set("runs", 0, "warmup", "tokens", value=[1]),
        "columns of one length",
    ),
    "predictions one short": (_cut("runs", 0, "predictions", "gold"), "columns of one length"),
    "unknown class": (_set("runs", 0, "predictions", "predicted", 2, value=9), "a class from 0"),
    "negative peak": (_set("runs", 0, "memory", 0, "peak_bytes", value=-5), "peak_bytes"),
    "zero size": (_set("runs", 0, "bundle", "size_bytes", value=0), r"bundle\.size_bytes"),
    "model larger than its bundle": (
        _set("runs", 0, "bundle", "model_size_bytes", value=10**12),
        "at least the model's",
    ),
    "10^25 bytes": (_set("runs", 0, "memory", 0, "rss_bytes", value=10**25), "rss_bytes"),
    "10^18 bytes and more": (_set("device", "memory_bytes", value=2**61), "memory_bytes"),
    "threads -3": (_set("effective", "threads", value=-3), "threads"),
    "no threads": (_set("requested", "threads", value=0), "threads"),
    "no cores": (_set("device", "cores", value=0), "cores"),
    "negative load": (_set("machine", 0, "load_other_cores", value=-1.5), "load_other_cores"),
    "limit of 0": (_set("runs", 0, "limited", 0, "limit_bytes", value=0), "limit"),
    "a year per query": (_set("runs", 0, "queries", "total_ns", 0, value=10**17), "at most"),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("result") / "result.json"
    write_json(path, make_result(Fake(n_examples=20, n_queries=40)))
    return path.read_text()


@pytest.mark.parametrize("name", SPOILED)
def test_a_value_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, content: str, name: str
) -> None:
    spoil, message = SPOILED[name]
    result = json.loads(content)
    spoil(result)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    with pytest.raises(ResultError, match=message) as caught:
        read_result(path)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(ResultError, match=message):
        list(ResultStream(path))


def test_what_was_measured_passes(tmp_path: Path, content: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content)
    assert read_result(path).runs == tuple(ResultStream(path))
