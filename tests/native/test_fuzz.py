"""The runner's readers under libFuzzer with the sanitizers; each `fuzz/fuzz_*.c` is a target.

`EDGESEQ_FUZZ_SECONDS` is how long each one runs (default 15). What was found stays in the folder
that the failure names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeseq_benchmarks.bench import protocol

from .conftest import Write
from .fuzz_seeds import small_runner_files
from .native_models import SENTENCES, Case, texts_for
from .sanitizers import compile_sanitized, find_clang, runner_sources, sanitizer_environment
from .tokenizer_texts import generated_texts

pytestmark = pytest.mark.fuzz

SECONDS = int(os.environ.get("EDGESEQ_FUZZ_SECONDS", "15"))
# A runner file has the tables of Unicode that its tokenizer needs.
MAX_BYTES = {"fuzz_runner_file": 1 << 18, "fuzz_word_windows": 1 << 18}
DEFAULT_MAX_BYTES = 1 << 18
TARGETS = sorted(Path(__file__).parent.glob("fuzz/fuzz_*.c"))
CASES = (
    Case("lstm", "dynamic_wi8_afp32", "loop"),
    Case("tags-lstm", "float32", "loop"),
    Case("tags-crf-lstm", "float32", "loop"),
    Case("tags-words-lstm", "float32", "loop"),
    Case("labels-lstm", "float32", "loop"),
    Case("marks-lstm", "float32", "loop"),
    Case("stream", "float32", "loop"),
)


def seeds_for(target: Path, write: Write) -> Iterator[bytes]:
    """What a target begins with: the formats that it reads, and texts for the others."""
    name = target.stem.removeprefix("fuzz_")
    if name in ("runner_file", "word_windows"):
        yield from small_runner_files()
    if name == "runner_file":
        yield from small_runner_files()
    if name == "tokenizer":
        for number, text in enumerate(generated_texts(300, "fuzz")):
            yield bytes((number % 3, number % 20)) + text.encode()
    if name == "command":
        for command in commands(write):
            yield msgspec.json.encode(command)
    for text in SENTENCES:
        yield text.encode()
        yield msgspec.json.encode(text)
        yield msgspec.json.encode({"a": [text, 1.5e3, None, True, {"b": [[]]}]})


def commands(write: Write) -> Iterator[protocol.AnyCommand]:
    """Each command once."""
    for case in CASES:
        files = write(case)
        texts = tuple(texts_for(files))[:6]
        yield files.load(native=True, first_text=texts[0], ledger=True, announce=True)
        yield protocol.RunSlice(texts, texts[:1], 3, 5, 0)
        yield protocol.PredictTexts(texts)
    yield protocol.RunLength(5, ("a",), 1, 2, 0, 1)
    yield protocol.InferTokens(((1, 2), ()))
    yield protocol.ScoreDocument("a", "b")
    yield protocol.Complete("a", "b", 3)
    yield protocol.RunLimited(("a",), 1)
    yield protocol.ReadMemory("steady")
    yield protocol.MeasureOverhead(3)
    yield protocol.CheckBundle("/x")
    yield protocol.Finish()


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runner's code as a library with coverage, for all targets."""
    compiler = find_clang()
    if compiler is None:
        pytest.skip("needs clang")
    path = tmp_path_factory.mktemp("fuzz") / "librunner.so"
    flags = ("-shared", "-fPIC", "-fsanitize=fuzzer-no-link")
    return compile_sanitized(compiler, runner_sources(), path, *flags)


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.stem)
def test_no_input_breaks_a_reader(target: Path, code: Path, write: Write, tmp_path: Path) -> None:
    compiler = find_clang()
    assert compiler is not None
    program = tmp_path / target.stem
    compile_sanitized(compiler, [target, code], program, "-fsanitize=fuzzer")
    corpus, found = tmp_path / "corpus", tmp_path / "found"
    corpus.mkdir()
    found.mkdir()
    for number, seed in enumerate(seeds_for(target, write)):
        (corpus / str(number)).write_bytes(seed)
    shutil.copy(write(CASES[0]).folder / "runner.bin", tmp_path)
    environment = {
        **os.environ,
        **sanitizer_environment(tmp_path),
        "EDGESEQ_RUNNER_BIN": str(tmp_path / "runner.bin"),
    }
    done = subprocess.run(
        [
            program,
            corpus,
            f"-max_total_time={SECONDS}",
            f"-max_len={MAX_BYTES.get(target.stem, DEFAULT_MAX_BYTES)}",
            f"-artifact_prefix={found}/",
            "-timeout=20",
            "-rss_limit_mb=4096",
        ],
        capture_output=True,
        timeout=SECONDS + 240,
        check=False,
        env=environment,
    )
    log = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"{found}: {log[-3000:]}"
    assert "Done " in log, log[-3000:]
