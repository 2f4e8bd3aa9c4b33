"""What a page sends is taken as a file from outside: only observations may differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edgeseq.errors import ResultError
from edgeseq.formats.browser_result import browser_settings, read_upload
from edgeseq.formats.result import NO_QUERIES, DeviceInfo, ResultRecord, Run, RuntimeInfo
from edgeseq.tasks.predictions import Predictions

from ...fake_results import make_result

GOLDEN_TEXTS = 2
EXAMPLES = 4


@pytest.fixture(scope="module")
def template() -> ResultRecord:
    """A result without observations, of four test examples."""
    result = make_result()
    predictions = Predictions((0, 1, 2, 0), (), ("",) * EXAMPLES, 0, 0, "0" * 64)
    run = Run(
        bundle=result.runs[0].bundle,
        runner="browser",
        warmup=NO_QUERIES,
        queries=NO_QUERIES,
        lengths=(),
        memory=(),
        cold_starts=(),
        predictions=predictions,
        limited=(),
        findings=(),
    )
    return msgspec.structs.replace(
        result,
        created_utc="",
        command=(),
        device=DeviceInfo("", "", "", (), 1, 0, "", ""),
        runtime=RuntimeInfo("@litertjs/core", "2.5.3", "none"),
        requested=browser_settings(),
        effective=browser_settings(),
        machine=(),
        runs=(run,),
        findings=(),
    )


def upload(template: ResultRecord) -> dict[str, Any]:
    """What an honest page sends, as plain values."""
    sent = msgspec.to_builtins(template)
    queries = {
        "example": [0, 1, 2, 3], "round": [0, 0, 0, 0], "tokens": [3, 4, 5, 6],
        "tokenize_ns": [10] * 4, "inference_ns": [20] * 4, "decode_ns": [1] * 4,
        "total_ns": [40] * 4,
    }  # fmt: skip
    run = sent["runs"][0]
    run["warmup"] = {name: column[:1] for name, column in queries.items()}
    run["queries"] = queries
    run["predictions"]["predicted"] = [0, 1, 2, 0]
    sent["device"] |= {"name": "Chromium 150 on Linux", "cores": 4, "os": "Mozilla/5.0"}
    sent["created_utc"] = "2026-01-01T00:00:00+00:00"
    answer = {"token_ids": [1, 2], "logits": [0.5] * len(run["bundle"]["labels"])}
    return {
        "result": sent, "clock_step_ns": 5000, "heap_bytes": 1 << 24,
        "cross_origin_isolated": True, "varying": 0,
        "golden": [answer] * GOLDEN_TEXTS, "answers": [answer] * EXAMPLES,
    }  # fmt: skip


def read(template: ResultRecord, sent: Any) -> Any:
    content = sent if isinstance(sent, bytes) else msgspec.json.encode(sent)
    return read_upload(content, template, golden_texts=GOLDEN_TEXTS)


def test_an_honest_page_is_believed(template: ResultRecord) -> None:
    taken = read(template, upload(template))
    assert taken.result.device.cores == 4
    assert taken.result.runs[0].queries.example == (0, 1, 2, 3)


def change(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(sent: dict[str, Any]) -> None:
        target: Any = sent
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = to

    return apply


RUN = ("result", "runs", 0)
ATTACKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "another bundle": change(*RUN, "bundle", "name", to="other"),
    "a smaller file": change(*RUN, "bundle", "size_bytes", to=1 << 40),
    "other labels to score": change(*RUN, "predictions", "gold", to=[0, 0, 0, 0]),
    "a runtime of another": change("result", "runtime", "package", to="ai-edge-litert"),
    "another runner": change(*RUN, "runner", to="native"),
    "findings of its own": change(
        "result", "findings", to=[{"code": "a", "severity": "note", "message": "<b>"}]
    ),
    "memory": change(
        *RUN, "cold_starts",
        to=[{"import_ns": 1, "load_ns": 1, "first_answer_ns": 1, "total_ns": 3}],
    ),
    "a class that is none": change(*RUN, "predictions", "predicted", to=[0, 1, 2, 99]),
    "too few classes": change(*RUN, "predictions", "predicted", to=[0]),
    "a negative time": change(*RUN, "queries", "total_ns", to=[-1, 40, 40, 40]),
    "a time below its parts": change(*RUN, "queries", "total_ns", to=[5, 40, 40, 40]),
    "columns of two lengths": change(*RUN, "queries", "tokens", to=[3]),
    "an example that is none": change(*RUN, "queries", "example", to=[0, 1, 2, 4]),
    "an example left out": change(*RUN, "queries", "example", to=[0, 1, 2, 2]),
    "more tokens than fit": change(*RUN, "queries", "tokens", to=[3, 4, 5, 10**6]),
    "a name that a terminal obeys": change("result", "device", "name", to="\x1b[2J"),
    "a date that a terminal obeys": change("result", "created_utc", to="\x1b[2J"),
    "an endless date": change("result", "created_utc", to="1" * 5000),
    "an endless name": change("result", "device", "os", to="a" * 5000),
    "no number of processors": change("result", "device", "cores", to=10**9),
    "golden texts left out": change("golden", to=[]),
    "an answer without logits": change("answers", 0, to={"token_ids": [1], "logits": []}),
    "a field of its own": change("extra", to=1),
    "a clock of another time": change("clock_step_ns", to=-5),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_page_is_refused(name: str, template: ResultRecord) -> None:
    sent = upload(template)
    ATTACKS[name](sent)
    with pytest.raises(ResultError) as caught:
        read(template, sent)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"null", b"{}"])
def test_what_is_no_upload_is_refused(content: bytes, template: ResultRecord) -> None:
    with pytest.raises(ResultError):
        read(template, content)
