"""A bundle is checked before use: nothing foreign, nothing damaged, nothing outside its folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeseq.errors import BundleError
from edgeseq.formats.bundle import check_model, read_bundle
from edgeseq.formats.bundle_manifest import MANIFEST_LIMIT_BYTES, SCHEMA_VERSION

LABELS = ["cold", "mild", "warm"]
MODEL = b"\x18\0\0\0TFL3" + bytes(56)


def _entry(content: bytes) -> dict[str, Any]:
    return {"size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that is sound but for its model, which no runtime could load."""
    path = tmp_path / "bundle"
    path.mkdir()
    golden = {
        "examples": [{"text": "rain", "token_ids": [1, 2, 3], "logits": [0.5, -1.0, 2.0]}],
        "tolerance": 0.01,
    }
    examples = [{"id": "1", "text": "fog", "label": "cold"}]
    files = {
        "model.tflite": MODEL,
        "tokenizer.json": b"{}",
        "labels.json": json.dumps(LABELS).encode(),
        "golden.json": json.dumps(golden).encode(),
        "eval.jsonl": b"".join(json.dumps(one).encode() + b"\n" for one in examples),
    }
    for name, content in files.items():
        (path / name).write_bytes(content)
    ids = {"name": "input_ids", "dtype": "int32", "shape": [1, -1]}
    logits = {"name": "logits", "dtype": "float32", "shape": [1, 3]}
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "name": "weather",
        "task": "sentiment",
        "arch": "lstm",
        "recipe": "float32",
        "lowering": "loop",
        "parameters": 10,
        "vocabulary_size": 4,
        "max_tokens": 8,
        "signature": {"key": "serving_default", "inputs": [ids], "outputs": [logits]},
        "fidelity": {
            "n_examples": 1, "max_abs_error": 0.0, "cosine": 1.0, "label_agreement": 1.0
        },
        "provenance": {
            "created_utc": "2026-01-01T00:00:00+00:00",
            "source": "weather",
            "source_sha256": "0" * 64,
            "data_name": "invented",
            "data_sha256": "0" * 64,
            "tool_versions": {},
        },
        "native_unsupported": "the tokenizer is invented",
        "files": {name: _entry(content) for name, content in files.items()},
    }  # fmt: skip
    (path / "bundle.json").write_text(json.dumps(manifest))
    return path


def _change(bundle: Path, name: str, content: bytes) -> None:
    """Replaces a file and makes the manifest agree with it, as somebody hostile would."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"][name] = _entry(content)
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def _edit(bundle: Path, **changes: Any) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text()) | changes
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def _golden(bundle: Path, **changes: Any) -> None:
    golden = json.loads((bundle / "golden.json").read_text())
    golden["examples"][0] |= changes
    _change(bundle, "golden.json", json.dumps(golden).encode())


def _link(bundle: Path) -> None:
    (bundle / "tokenizer.json").rename(bundle / "elsewhere.json")
    (bundle / "tokenizer.json").symlink_to(bundle / "elsewhere.json")


def _link_manifest(bundle: Path) -> None:
    (bundle / "bundle.json").rename(bundle / "elsewhere.json")
    (bundle / "bundle.json").symlink_to(bundle / "elsewhere.json")


def _escape(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["files"]["../secret"] = manifest["files"].pop("eval.jsonl")
    _edit(bundle, files=manifest["files"])


def _nest(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["provenance"]["training"] = {"a": "HERE"}
    text = json.dumps(manifest).replace('"HERE"', "[" * 100_000 + "]" * 100_000)
    (bundle / "bundle.json").write_text(text)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no model": (lambda b: (b / "model.tflite").unlink(), r"model\.tflite: is missing"),
    "model a folder": (
        lambda b: ((b / "model.tflite").unlink(), (b / "model.tflite").mkdir()),
        r"model\.tflite: is missing or not an ordinary file",
    ),
    "no manifest": (lambda b: (b / "bundle.json").unlink(), r"bundle\.json: no such file"),
    "truncated model": (
        lambda b: (b / "model.tflite").write_bytes(MODEL[:20]),
        r"model\.tflite: does not have the size.*found 20 bytes",
    ),
    "changed model": (
        lambda b: (b / "model.tflite").write_bytes(MODEL[:-1] + b"x"),
        r"model\.tflite: does not have the SHA-256",
    ),
    "linked file": (_link, r"tokenizer\.json: is missing or not an ordinary file"),
    "linked manifest": (_link_manifest, r"bundle\.json: is a link"),
    "path out of the folder": (
        _escape,
        r"bundle\.json: does not list the files of.*\.\./secret",
    ),
    "huge manifest": (
        lambda b: (b / "bundle.json").write_bytes(b" " * (MANIFEST_LIMIT_BYTES + 1)),
        r"bundle\.json: is too large",
    ),
    "deep manifest": (_nest, r"bundle\.json.*nested too deeply"),
    "binary manifest": (
        lambda b: (b / "bundle.json").write_bytes(b"\xff\xfe\0\0"),
        r"bundle\.json: is not what was expected",
    ),
    "unknown field": (lambda b: _edit(b, run="rm -rf"), r"unknown field `run`"),
    "other schema": (lambda b: _edit(b, schema_version=9), r"another schema version"),
    "unknown recipe": (lambda b: _edit(b, recipe="magic"), r"Invalid enum value 'magic'"),
    "no input": (lambda b: _edit(b, max_tokens=0), r"takes no input"),
    "fewer labels": (
        lambda b: _change(b, "labels.json", b'["cold", "warm"]'),
        r"labels\.json: lists another number of classes",
    ),
    "equal labels": (
        lambda b: _change(b, "labels.json", b'["cold", "cold", "warm"]'),
        r"labels\.json: holds no set of classes",
    ),
    "token outside": (
        lambda b: _golden(b, token_ids=[1, 4]),
        r"golden\.json: example 0: has a token id outside of the vocabulary",
    ),
    "negative token": (lambda b: _golden(b, token_ids=[-1]), r"outside of the vocabulary"),
    "no tokens": (lambda b: _golden(b, token_ids=[]), r"number of tokens that the model does not"),
    "too many tokens": (lambda b: _golden(b, token_ids=[1] * 9), r"expected 1 to 8"),
    "fewer logits": (lambda b: _golden(b, logits=[1.0]), r"another number of logits"),
    "nothing golden": (
        lambda b: _change(b, "golden.json", b'{"examples": [], "tolerance": 0.1}'),
        r"golden\.json: holds nothing to compare with",
    ),
    "bad tolerance": (
        lambda b: _change(b, "golden.json", b'{"examples": [], "tolerance": -1}'),
        r"tolerance -1",
    ),
}


def test_a_sound_bundle_is_read(bundle: Path) -> None:
    read = read_bundle(bundle)
    assert read.labels == tuple(LABELS)
    assert read.golden.examples[0].token_ids == (1, 2, 3)
    assert read.size_bytes == len(MODEL) + 2 + len(json.dumps(LABELS))
    assert [example.text for example in read.read_examples()] == ["fog"]


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_line(case: str, bundle: Path) -> None:
    spoil, said = HOSTILE[case]
    spoil(bundle)
    with pytest.raises(BundleError, match=said) as caught:
        read_bundle(bundle)
    assert "\n" not in str(caught.value)


def test_the_model_itself_is_checked_apart(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.tflite: is damaged"):
        check_model(read_bundle(bundle))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", r"eval\.jsonl:1: is not an example"),
        (b'{"id": "1", "text": "fog", "label": "hot"}', r"unknown label: found 'hot'"),
        (b'{"id": "1", "text": 5, "label": "cold"}', r"Expected `str`, got `int`"),
        (b'{"id": "1", "text": "\xff", "label": "cold"}', r"eval\.jsonl:1: is not an example"),
    ],
)
def test_wrong_test_examples_are_named_by_line(line: bytes, said: str, bundle: Path) -> None:
    _change(bundle, "eval.jsonl", line + b"\n")
    with pytest.raises(BundleError, match=said):
        read_bundle(bundle).read_examples()


def test_what_is_no_bundle_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle"):
        read_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match="is not a bundle folder"):
        read_bundle(bundle / "labels.json")
    shutil.rmtree(bundle)
    bundle.mkdir()
    with pytest.raises(BundleError, match=r"bundle\.json: no such file"):
        read_bundle(bundle)


def test_a_runner_file_is_there_or_a_reason_why_not(bundle: Path) -> None:
    _edit(bundle, native_unsupported=None)
    with pytest.raises(BundleError, match=r"does not list .* expected .*runner\.bin"):
        read_bundle(bundle)
    (bundle / "runner.bin").write_bytes(b"edgeseqR")
    manifest = json.loads((bundle / "bundle.json").read_text())
    files = {**manifest["files"], "runner.bin": _entry(b"edgeseqR")}
    _edit(bundle, files=files)
    read = read_bundle(bundle)
    assert read.runner_file_path == bundle / "runner.bin"
    assert read.native_size_bytes == len(MODEL) + 8
    _edit(bundle, native_unsupported="its tokenizer is Unigram")
    with pytest.raises(BundleError, match="does not list"):
        read_bundle(bundle)
