"""`edgeseq convert` as installed, given somebody else's weights: bare files and bundles."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

EDGESEQ = Path(sysconfig.get_path("scripts")) / "edgeseq"
DESCRIPTION = """
[embedding]
weight = "embedding.weight"
[[layer]]
kind = "lstm"
prefix = "lstm"
[[layer]]
kind = "pool"
how = "last"
[[layer]]
kind = "linear"
prefix = "head"
activation = "softmax"
"""
WORDS = ("[UNK]", "good", "bad", "lamp", "tent", "the", "is", "a", "fine", "poor")


def _edgeseq(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(EDGESEQ), *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "80"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights as PyTorch names them, their description, a tokenizer and rows of texts."""
    folder = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(0)
    shapes = {
        "embedding.weight": (len(WORDS), 8),
        "lstm.weight_ih_l0": (4 * 6, 8),
        "lstm.weight_hh_l0": (4 * 6, 6),
        "lstm.bias_ih_l0": (4 * 6,),
        "lstm.bias_hh_l0": (4 * 6,),
        "head.weight": (2, 6),
        "head.bias": (2,),
    }
    arrays = {n: rng.normal(size=s, scale=0.7).astype(np.float32) for n, s in shapes.items()}
    save_file(arrays, folder / "feedback.safetensors")
    (folder / "network.toml").write_text(DESCRIPTION)
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    rows = [
        f"{' '.join(rng.choice(WORDS[1:], int(rng.integers(1, 9))))} {number},{label}"
        for number, label in enumerate(rng.choice(["bad", "good"], 200))
    ]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def _given(folder: Path) -> tuple[str | Path, ...]:
    return (folder / "feedback.safetensors", "--description", folder / "network.toml")


def test_a_bare_file_with_a_stream(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "feedback.tflite"
    done = _edgeseq(
        "convert", *_given(folder), "--out", out, "--recipe", "float32", "--streaming", "--json"
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["output"] == "probabilities"
    assert made["shape"] == [1, 2]
    assert made["max_abs_error"] < 1e-5
    inspected = _edgeseq("inspect", out, "--json")
    assert {one["key"] for one in json.loads(inspected.stdout)["signatures"]} == {
        "serving_default",
        "stream",
    }


def test_a_bundle_that_predicts(folder: Path, tmp_path: Path) -> None:
    data = ("--data", folder / "rows.csv", "--tokenizer", folder / "tokenizer.json")
    out = tmp_path / "bundle"
    done = _edgeseq("convert", *_given(folder), "--out", out, *data, "--recipe", "auto")
    assert done.returncode == 0, done.stderr
    chosen = json.loads((out / "bundle.json").read_text())["recipe"]
    assert chosen == "dynamic_wi4_ei4_afp32"
    assert chosen in done.stdout
    answer = _edgeseq("predict", out, "the lamp is fine")
    assert answer.returncode == 0, answer.stderr
    assert "good" in answer.stdout


def test_what_does_not_go_together_is_one_line(folder: Path, tmp_path: Path) -> None:
    given, out = _given(folder), tmp_path / "bundle"
    data = ("--data", folder / "rows.csv")
    tokenizer = ("--tokenizer", folder / "tokenizer.json")
    cases: list[tuple[tuple[str | Path, ...], str]] = [
        ((*given, "--out", out), "needs the data that it was made for"),
        ((*given, "--out", out, *data), "needs the model's tokenizer"),
        ((*given, "--out", out, *data, *tokenizer, "--streaming"), "--streaming is for bare files"),
        (
            (*given, "--out", tmp_path / "m.tflite", "--recipe", "static_wi8_ai8"),
            "inputs to calibrate on",
        ),
        ((*given, "--out", tmp_path / "m.tflite", "--recipe", "auto"), "one recipe"),
        ((*given, "--out", out, *data, *tokenizer, "--runtime", "onnx"), "unknown runtime"),
        ((*given, "--out", tmp_path / "m.tflite", "--trim-vocab"), "--trim-vocab is for bundles"),
        (
            (*given, "--out", tmp_path / "b", "--min-piece-count", "2"),
            "min_piece_count needs trim_vocab",
        ),
        ((*given, "--out", tmp_path / "m.tflite", *data), "--data is for bundles"),
        (
            (*given, "--out", out, *data, *tokenizer, "--lowering", "fused", "--length", "9"),
            "choose another --lowering",
        ),
        (
            (*given, "--out", out, *data, *tokenizer, "--recipe", "auto", "--recipe", "float32"),
            "cannot be combined",
        ),
        ((given[0], "--out", tmp_path / "m.tflite"), "description"),
        ((folder / "rows.csv", "--out", out, *data), "cannot be converted"),
    ]
    for arguments, said in cases:
        done = _edgeseq("convert", *arguments)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert done.returncode == 2, (arguments, done.stderr)
        assert len(lines) == 1, done.stderr
        assert said in lines[0]
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_weights_are_described_and_compared(folder: Path, tmp_path: Path) -> None:
    weights, description = folder / "feedback.safetensors", tmp_path / "network.toml"
    run = _edgeseq("convert", weights, "--describe", description)
    assert run.returncode == 0, run.stderr
    assert 'still to be chosen ("?"): how of layer 2' in run.stderr + run.stdout
    run = _edgeseq("convert", weights, "--description", description, "--out", tmp_path / "m.tflite")
    assert run.returncode != 0
    assert "how of layer 2 is still to be chosen" in run.stderr
    data = ("--data", folder / "rows.csv", "--tokenizer", folder / "tokenizer.json", "--json")
    run = _edgeseq("convert", weights, "--describe", description, "--overwrite", *data)
    assert run.returncode == 0, run.stderr
    described = json.loads(run.stdout)
    assert {entry["values"]["how of layer 2"] for entry in described["candidates"]} == {
        *("last", "max", "mean")
    }
    assert description.read_text() == described["text"]
    for option, *value in (
        ("--out", tmp_path / "bundle"),
        ("--recipe", "float16"),
        ("--streaming",),
    ):
        run = _edgeseq("convert", weights, "--describe", description, option, *value)
        assert f"{option} is for converting" in run.stderr
    run = _edgeseq("convert", weights)
    assert "--out is missing; name a folder" in run.stderr
