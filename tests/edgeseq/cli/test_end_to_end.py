"""The installed command, from a suite file over the user's own texts to a report."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest

from edgeseq.suite.scheduler import default_workers

from ...conftest import INVENTED_SUITE

EDGESEQ = Path(sysconfig.get_path("scripts")) / "edgeseq"

SUITE = (
    INVENTED_SUITE
    + """\
recipes = ["float32", "dynamic_wi8_afp32"]
train = {{ epochs = 12, learning_rate = 5e-3, frozen_layers = 0 }}

[[model]]
name = "tiny-lstm"
arch = "lstm"
teacher = "tiny-bert"
recipes = ["float32", "dynamic_wi8_afp32"]

[model.train]
epochs = 10
batch_size = 32
learning_rate = 2e-2
hidden_size = 16
embedding_size = 16

[bench]
quick = true
runners = ["native"]

[report]
budget = "memory=2GB p95=5s"
"""
)


def _edgeseq(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(EDGESEQ), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture(scope="module")
def suite(
    tmp_path_factory: pytest.TempPathFactory, invented_corpus: Path, small_bert_checkpoint: Path
) -> Path:
    path = tmp_path_factory.mktemp("suite") / "invented.toml"
    path.write_text(
        SUITE.format(corpus=invented_corpus, checkpoint=small_bert_checkpoint), encoding="utf-8"
    )
    return path


def _wait_for(condition: Path, process: subprocess.Popen[str], *, limit_s: float = 300) -> None:
    deadline = time.monotonic() + limit_s
    while not condition.exists():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < deadline, f"{condition} did not appear"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_suite_is_interrupted_killed_resumed_and_reported(
    suite: Path, tmp_path: Path, invented_corpus: Path
) -> None:
    root = tmp_path / "out"
    # Whoever starts the tests in the background has them ignore the signal.
    command = ["env", "--default-signal=INT"]
    command += [str(EDGESEQ), "run", str(suite), "--out", str(root)]

    # Killed outright in the middle: what had finished is kept, nothing half-made stands there.
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _wait_for(root / "log" / "train-tiny-lstm.log", first)
    if default_workers() > 1:  # the BERT is converted beside the LSTM's training
        _wait_for(root / "log" / "convert-tiny-bert-float32.log", first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert (root / "models" / "tiny-bert" / "model.json").is_file()
    assert not (root / "models" / "tiny-lstm").exists()

    # Interrupted, as with Ctrl-C: exit code 130 and one line.
    second = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _wait_for(root / "log" / "convert-tiny-lstm-float32.log", second)
    second.send_signal(signal.SIGINT)
    _, said = second.communicate(timeout=120)
    assert second.returncode == 130, said
    assert "Traceback" not in said
    assert "interrupted; finished steps are kept" in said
    assert not (root / "report").exists()

    third = _edgeseq("run", suite, "--out", root, "--json")
    assert third.returncode == 0, third.stderr
    answer = json.loads(third.stdout)
    kept = {step["step"] for step in answer["steps"] if step["reused"]}
    assert {"train-tiny-bert", "train-tiny-lstm"} <= kept
    _check_report(root, invented_corpus)
    student = json.loads((root / "models" / "tiny-lstm" / "model.json").read_text())
    assert student["training"]["teacher_logits"] == "stored"

    # A finished suite is a matter of reading: every step but the data is kept.
    fourth = _edgeseq("run", suite, "--out", root, "--json")
    assert fourth.returncode == 0, fourth.stderr
    steps = json.loads(fourth.stdout)["steps"]
    assert [step["step"] for step in steps if not step["reused"]] == ["data"]

    _check_other_commands(root)


def _check_report(root: Path, corpus: Path) -> None:
    summary = json.loads((root / "report" / "summary.json").read_text(encoding="utf-8"))
    rows = {row["bundle"]: row for row in summary["rows"]}
    assert set(rows) == {
        f"tiny-{arch}-{recipe}"
        for arch in ("bert", "lstm")
        for recipe in ("float32", "dynamic_wi8_afp32")
    }
    with (corpus / "test.csv").open(encoding="utf-8", newline="") as file:
        n_test = sum(1 for _ in csv.DictReader(file))
    for row in rows.values():
        assert row["n_examples"] == n_test
        # The invented texts are easy: a pipeline that mixed up labels or inputs would not get here.
        assert row["score"] > 0.9
        low, high = row["score_ci95"]
        assert low <= row["score"] <= high
        assert row["size_bytes"] > 0
        assert row["p50_ms"] > 0
        # A busy machine may invalidate a measurement, but never without a reason.
        assert row["valid"] or row["invalid_reasons"]
    winner = summary["verdict"]["winner"]
    assert (winner in rows) == any(row["valid"] for row in rows.values())
    assert (root / "report" / "report.html").stat().st_size < 3_000_000
    assert "tiny-lstm" in (root / "report" / "report.md").read_text(encoding="utf-8")
    leftovers = [path for path in root.rglob(".*") if path.name not in (".", "..")]
    assert leftovers == []


def _check_other_commands(root: Path) -> None:
    bundle = root / "bundles" / "tiny-lstm-dynamic_wi8_afp32"
    answer = _edgeseq("predict", bundle, "The lamp broke within a week.", "--json")
    assert answer.returncode == 0, answer.stderr
    assert "negative" in answer.stdout
    _check_odd_texts(bundle)
    seen = _edgeseq("inspect", bundle)
    assert seen.returncode == 0, seen.stderr
    assert "WHILE" in seen.stdout
    again = root / "again.json"
    benched = _edgeseq("bench", bundle, "--quick", "--out", again)
    assert benched.returncode == 0, benched.stderr
    assert json.loads(again.read_text(encoding="utf-8"))["runs"]
    no = _edgeseq("recommend", again, "--memory", "1MB")
    assert no.returncode == 3, no.stderr
    assert "Traceback" not in no.stderr


def _check_odd_texts(bundle: Path) -> None:
    """A very long text and one without a known token are answered, with a remark; "" is not."""
    long = _edgeseq("predict", bundle, "lamp " * 10_000)
    assert long.returncode == 0, long.stderr
    assert "truncated" in long.stdout + long.stderr
    unknown = _edgeseq("predict", bundle, "\u65e5\u672c")
    assert unknown.returncode == 0, unknown.stderr
    assert "knows" in unknown.stdout + unknown.stderr
    empty = _edgeseq("predict", bundle, "")
    assert empty.returncode == 2
    assert len(empty.stderr.strip().splitlines()) == 1
    broken = bundle.parent / "broken"
    shutil.copytree(bundle, broken)
    model = broken / "model.tflite"
    model.write_bytes(model.read_bytes()[:1000])
    for command in (("predict", broken, "lamp"), ("inspect", broken), ("inspect", model)):
        refused = _edgeseq(*command)
        assert refused.returncode == 2, refused.stderr
        assert str(model) in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1
    shutil.rmtree(broken)


@pytest.mark.slow
def test_train_says_nothing_but_its_own_words(
    tmp_path: Path, invented_corpus: Path, small_bert_checkpoint: Path
) -> None:
    small = [f"--set={name}=8" for name in ("hidden_size", "embedding_size", "batch_size")]
    done = _edgeseq(
        *("train", "sentiment", "--arch", "lstm", "--epochs", "1", *small),
        *("--data", invented_corpus / "train.csv", "--checkpoint", small_bert_checkpoint),
        *("--out", tmp_path / "lstm"),
    )
    assert done.returncode == 0, done.stderr
    assert "next: edgeseq convert" in done.stderr
    for word in ("cuda", "absl", "oneDNN", "TensorFlow binary"):  # TensorFlow's own greeting
        assert word not in done.stderr
