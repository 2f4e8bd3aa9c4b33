"""Every head, lowering and command under AddressSanitizer and UndefinedBehaviorSanitizer.

`EDGESEQ_RUNNER_SANITIZED=1 pytest tests/native` runs all other tests of the runner in it as well.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.native.library import installed_library

from .conftest import Write
from .native_models import Case, Files, all_cases, texts_for
from .sanitizers import build_sanitized_runner, find_clang, sanitizer_environment
from .sequence_files import CASES as SEQUENCE_CASES
from .sequence_files import PLACES, SequenceCase, load_command, write_sequence_case

# One of each kind and lowering: a recipe changes the library's work, not the runner's.
CASES = list({(case.kind, case.lowering): case for case in all_cases()}.values())


@pytest.fixture(scope="module")
def sanitized() -> Path:
    compiler = find_clang()
    if compiler is None:
        pytest.skip("needs clang")
    return build_sanitized_runner(compiler)


def commands_for(files: Files) -> Iterator[protocol.AnyCommand]:
    """Everything that a worker can be asked, and what it refuses."""
    texts = tuple(texts_for(files))
    if files.head == "language-modeling":
        words = tuple(str(texts[-1]).split())
        yield files.load(native=True, first_text=words[0], ledger=True, announce=True)
        yield protocol.RunSlice(words, words[:2], 1, 1000, 0)
        for text in (*map(str, texts), "", " "):
            yield protocol.ScoreDocument(text, "<eos>")
            yield protocol.Complete(text, "<eos>", 3)
    else:
        yield files.load(native=True, first_text=texts[0], ledger=True)
        yield protocol.RunSlice(texts, texts[:2], 2 * len(texts), 1000, 0)
        yield protocol.ScoreDocument("a", "b")
    yield protocol.PredictTexts(texts)
    yield protocol.PredictTexts(("a" * (2 << 20),))
    for tokens in (1, 5, 30, 1000):
        strings = tuple(text for text in texts if isinstance(text, str))
        yield protocol.RunLength(tokens, strings, 2, 4, 0, 10**9)
    yield protocol.RunLimited(texts, 10**9)
    yield protocol.InferTokens(((4, 5), (6,), (7, 8, 9)))
    yield protocol.InferTokens(((10**9,),))
    yield protocol.ReadMemory("steady")
    yield protocol.MeasureOverhead(10)
    yield files.load(native=True, first_text="the", max_tokens=5)
    yield protocol.CheckBundle("x")
    yield files.load(native=True, first_text="the", labels=99)
    yield protocol.PredictTexts(("the",))
    yield protocol.Finish()


def sequence_commands(case: SequenceCase, folder: Path) -> Iterator[protocol.AnyCommand]:
    """The same of numeric sequences."""
    yield load_command(case, folder, ledger=True)
    yield protocol.RunSlice(PLACES, PLACES[:2], 2 * len(PLACES), 1000, 0)
    yield protocol.PredictTexts(PLACES)
    for place in ("0:0", "60:9", "99999999999999999999:9", "a", "", ":", "0:"):
        yield protocol.PredictTexts((place,))
    for steps in (1, 9, 60, 1000):
        yield protocol.RunLength(steps, (*PLACES, "0:60"), 2, 4, 0, 10**9)
    yield protocol.RunLimited(PLACES, 10**9)
    yield protocol.InferTokens(((4, 5),))
    yield protocol.ReadMemory("steady")
    yield load_command(case, folder)
    yield load_command(case, folder, labels=99)
    yield load_command(case, folder, tokenizer_path=str(folder / "model.tflite"))
    yield protocol.PredictTexts(PLACES)
    yield protocol.Finish()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_sanitizer_has_anything_to_say(
    case: Case, sanitized: Path, write: Write, tmp_path: Path
) -> None:
    _run_sanitized(sanitized, list(commands_for(write(case))), tmp_path)


@pytest.mark.parametrize("case", SEQUENCE_CASES, ids=lambda case: case.name)
def test_no_sanitizer_has_anything_to_say_of_sequences(
    case: SequenceCase, sanitized: Path, tmp_path: Path
) -> None:
    write_sequence_case(case, tmp_path)
    _run_sanitized(sanitized, list(sequence_commands(case, tmp_path)), tmp_path)


def _run_sanitized(sanitized: Path, commands: list[protocol.AnyCommand], folder: Path) -> None:
    lines = b"".join(msgspec.json.encode(command) + b"\n" for command in commands)
    done = subprocess.run(
        [sanitized, "worker", "0", "--library", installed_library()],
        input=lines,
        capture_output=True,
        timeout=200,
        check=False,
        env={**os.environ, **sanitizer_environment(folder)},
    )
    stderr = done.stderr.decode(errors="replace")
    assert "Sanitizer" not in stderr, stderr
    assert "runtime error" not in stderr, stderr
    assert done.returncode == 0, stderr
    replies = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    # A run under a limit reports more than once where it takes long.
    whole = [reply for reply in replies if reply["reply"] != "reached" and reply.get("done", True)]
    kinds = [reply["reply"] for reply in whole]
    assert len(kinds) == len(commands) - 1
    assert kinds[-1] == "error"
