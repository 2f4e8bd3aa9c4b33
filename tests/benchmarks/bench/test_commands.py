"""`edgeseq bench` and `edgeseq predict` as a person calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseq.errors import BundleError, DataError
from edgeseq.formats.result import read_result
from edgeseq_benchmarks.bench.predictor import predict

MakeBundle = Callable[..., Path]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgeseq", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "120"},
    )


def test_bench_writes_a_result_and_says_what_it_found(
    make_bundle: MakeBundle, tmp_path: Path
) -> None:
    out = tmp_path / "result.json"
    options = ("--quick", "--no-working-memory")
    answer = call("bench", make_bundle("kettle"), *options, "--out", out)
    assert answer.returncode == 0, answer.stderr
    assert "kettle" in answer.stdout
    assert "a quick run" in answer.stderr
    result = read_result(out)
    assert result.command[1] == "bench"
    assert set(result.runs[0].queries.example) == set(range(60))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["--memory", "64"], 2, "--memory"),
        (["--on", "ssh://-oProxyCommand=x"], 2, "is not a device"),
        (["--out", "/nowhere/at/all/result.json"], 2, "no such folder"),
    ],
)
def test_bench_refuses_in_one_line(
    make_bundle: MakeBundle, tmp_path: Path, arguments: list[str], exit_code: int, words: str
) -> None:
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "result.json")]
    answer = call("bench", make_bundle("plain"), "--quick", *arguments, *out)
    assert answer.returncode == exit_code
    assert words in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "result.json").exists()


def test_bench_refuses_a_damaged_model(
    make_bundle: MakeBundle, models: Path, tmp_path: Path
) -> None:
    content = (models / "bag.tflite").read_bytes()[:1000]
    out = tmp_path / "result.json"
    answer = call("bench", make_bundle("cut", content=content), "--quick", "--out", out)
    assert answer.returncode == 2
    assert "model.tflite" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not out.exists()


def test_predict_answers_texts(make_bundle: MakeBundle) -> None:
    path = make_bundle("plain")
    table = call("predict", path, "the kettle leaks", "[bold]")
    assert table.returncode == 0, table.stderr
    assert "[bold]" in table.stdout
    assert "text 2 has no word" in table.stderr
    answers = json.loads(call("predict", path, "the kettle leaks", "soup", "--json").stdout)
    assert [answer["text"] for answer in answers] == ["the kettle leaks", "soup"]
    for answer in answers:
        assert set(answer["scores"]) == {"bad", "fair", "good"}
        assert sum(answer["scores"].values()) == pytest.approx(1.0)
        assert answer["label"] == max(answer["scores"], key=answer["scores"].get)


def test_predict_refuses_an_empty_text(make_bundle: MakeBundle) -> None:
    answer = call("predict", make_bundle("plain"), " ")
    assert answer.returncode == 2
    assert "is empty" in answer.stderr


def test_predict_takes_hostile_texts(make_bundle: MakeBundle) -> None:
    path = make_bundle("plain")
    long, *others = predict(path, ["soup " * 10_000, "\x00\x1b[31m", "🫖" * 500, "a\r\nb"])
    assert long.truncated
    assert long.tokens == 48
    assert all(sum(other.scores.values()) == pytest.approx(1.0) for other in others)
    with pytest.raises(DataError, match="not valid Unicode"):
        predict(path, ["\udcff"])


def test_predict_refuses_what_is_no_bundle(make_bundle: MakeBundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        predict(tmp_path / "missing", ["soup"])
    with pytest.raises(BundleError, match=r"model\.tflite"):
        predict(make_bundle("foreign", content=b"PK\x03\x04 not this"), ["soup"])
    path = make_bundle("altered")
    with (path / "model.tflite").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="does not have the size"):
        predict(path, ["soup"])


def test_the_commands_load_no_half_until_they_run() -> None:
    program = (
        "import sys, edgeseq.cli.app\n"
        "print([name for name in sys.modules if name.startswith('edgeseq_')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.strip() == "[]"
