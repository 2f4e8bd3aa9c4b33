"""Small real bundles, made once a session, for real worker processes and a real TFLite runtime."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import (
    BundleManifest,
    Fidelity,
    Golden,
    GoldenExample,
    Provenance,
    Signature,
    TensorSpec,
    bundle_file_names,
)
from edgeseq.formats.listed_files import FileEntry
from edgeseq.formats.result import Settings
from edgeseq.formats.runner_file import RunnerSettings, write_runner_file
from edgeseq.formats.storage import sha256_file, write_json
from edgeseq.tasks.examples import TextExample
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.limits.cgroup import Hierarchy, find_hierarchy
from edgeseq_benchmarks.bench.runner import default_settings
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command

from ..small_disks import mounted_disk

LABELS = ("bad", "fair", "good")
WORDS = (
    *("the", "a", "it", "is", "was", "very", "not", "really", "kettle", "lamp", "bicycle", "soup"),
    *("carpet", "window", "arrived", "late", "broke", "works", "shines", "leaks", "smells"),
    *("great", "poor", "fine", "loud", "quiet", "cheap", "warm", "cold", "again", "never"),
)
MAX_TOKENS = 48
VOCABULARY_SIZE = 64
MakeBundle = Callable[..., Path]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of `make_models.py`."""
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    subprocess.run(
        [sys.executable, str(script), str(folder)], check=True, capture_output=True, timeout=120
    )
    return folder


def write_tokenizer(path: Path) -> None:
    """A word-level tokenizer over `WORDS`, with one special token in front."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2}
    vocabulary |= {word: number for number, word in enumerate(WORDS, start=3)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]"])
    tokenizer.save(str(path))


def some_examples(count: int) -> list[TextExample]:
    """Invented sentences of 3 to 14 words, the same ones each time."""
    examples = []
    for number in range(count):
        words = [WORDS[(number * 7 + place * 5) % len(WORDS)] for place in range(3 + number % 12)]
        label = LABELS[number % 3]
        source = ("shop", "forum")[number % 2]
        examples.append(
            TextExample(id=str(number), text=" ".join(words), label=label, source=source)
        )
    return examples


_GOLDEN: dict[str, Golden] = {}


def _golden(path: Path) -> Golden:
    """Golden examples as the model itself answers them in a fresh process; asked once a model."""
    key = sha256_file(path / "model.tflite")
    if key not in _GOLDEN:
        _GOLDEN[key] = _ask_golden(path)
    return _GOLDEN[key]


def _ask_golden(path: Path) -> Golden:
    texts = ("the kettle leaks again", "a very quiet lamp", "soup")
    with WorkerClient("golden") as child:
        command = load_command(read_bundle(path), child, threads=1, first_text=texts[0])
        child.request(command, protocol.ModelLoaded, timeout_s=60)
        answers = child.request(
            protocol.PredictTexts(texts), protocol.TextPredictions, timeout_s=60
        ).predictions
    return Golden(
        examples=tuple(
            GoldenExample(
                text=text,
                token_ids=answer.token_ids,
                logits=tuple(float(logit or 0.0) for logit in answer.logits),
            )
            for text, answer in zip(texts, answers, strict=True)
        ),
        tolerance=1e-3,
    )


def seal(path: Path, **changes: Any) -> None:
    """Writes `runner.bin`, and `bundle.json` with the sizes and hashes of the files as they are."""
    manifest = BundleManifest(
        name=path.name,
        task="sentiment",
        arch="lstm",
        recipe="float32",
        lowering="loop",
        parameters=536,
        vocabulary_size=VOCABULARY_SIZE,
        max_tokens=MAX_TOKENS,
        signature=Signature(
            key="serving_default",
            inputs=(TensorSpec("input_ids", "int32", (1, -1)),),
            outputs=(TensorSpec("logits", "float32", (1, len(LABELS))),),
        ),
        fidelity=Fidelity(n_examples=3, max_abs_error=0.0, cosine=1.0, label_agreement=1.0),
        provenance=Provenance(
            created_utc="2025-01-01T00:00:00+00:00",
            source="test",
            source_sha256="0" * 64,
            data_name="invented",
            data_sha256="1" * 64,
            tool_versions={},
        ),
        files={},
    )
    manifest = msgspec.structs.replace(manifest, **changes)
    labels = msgspec.json.decode((path / "labels.json").read_bytes(), type=tuple[str, ...])
    settings = RunnerSettings.of(manifest, labels)
    tokenizer_json = (path / "tokenizer.json").read_text(encoding="utf-8")
    unsupported = write_runner_file(path, tokenizer_json, settings)
    files = {name: FileEntry.of(path / name) for name in bundle_file_names(unsupported)}
    sealed = msgspec.structs.replace(manifest, files=files, native_unsupported=unsupported)
    write_json(path / "bundle.json", sealed)


@pytest.fixture
def make_bundle(models: Path, tmp_path: Path) -> MakeBundle:
    """Makes a bundle: `make_bundle("name", model="bag", examples=60)`."""

    def make(
        name: str,
        *,
        model: str = "bag",
        examples: int | list[TextExample] = 60,
        content: bytes | None = None,
        golden: Golden | None = None,
        **changes: Any,
    ) -> Path:
        path = tmp_path / name
        path.mkdir()
        model_content = (models / f"{model}.tflite").read_bytes() if content is None else content
        (path / "model.tflite").write_bytes(model_content)
        write_tokenizer(path / "tokenizer.json")
        write_json(path / "labels.json", LABELS)
        rows = some_examples(examples) if isinstance(examples, int) else examples
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        (path / "eval.jsonl").write_bytes(lines)
        blank = GoldenExample(text="soup", token_ids=(2, 3), logits=(0.0,) * len(LABELS))
        write_json(path / "golden.json", golden or Golden(examples=(blank,), tolerance=1e-3))
        seal(path, **changes)
        if golden is None and content is None:
            write_json(path / "golden.json", _golden(path))
            seal(path, **changes)
        return path

    return make


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a run that takes a moment; the machine is not watched while it is idle."""
    monkeypatch.setattr("edgeseq_benchmarks.bench.runner._QUIET_S", 0.0)
    return msgspec.structs.replace(
        default_settings(quick=True, runners=("python",)),
        min_duration_s=0.0,
        min_queries=40,
        max_queries=400,
        rounds=4,
        cold_starts=1,
        length_tokens=(8, 16),
        length_samples=3,
        limited_duration_s=2.0,
        limited_queries=20,
        working_memory=False,
    )


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    """The memory controller; skips the test where it may not be used."""
    from edgeseq.errors import DeviceError

    try:
        return find_hierarchy()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    with mounted_disk(tmp_path / "small", "size=2000000,mode=755") as folder:
        yield folder
