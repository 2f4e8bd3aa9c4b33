"""`edgeseq-runner predict` and `evict`, as a person or a script on a device calls them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.predictor import split_words

from .conftest import TIMEOUT_S, Runner, Write, both
from .native_models import THRESHOLDS, Case, texts_for

TEXTS = ("the teapot was lovely", "Never a BLANKET, it's the ladder!", "naïve – “quoted” words…")


@pytest.mark.parametrize(
    "case", [Case("lstm", "dynamic_wi8_afp32", "loop"), Case("bert", "float32", "encoder")]
)
def test_labels_and_scores_are_those_of_the_worker(
    case: Case, runner: Runner, write: Write
) -> None:
    files = write(case)
    done = runner.predict(files.folder, "--json", *TEXTS)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    with both(runner, files, TEXTS[0]) as (_, python):
        expected = python.request(
            protocol.PredictTexts(TEXTS), protocol.TextPredictions, timeout_s=TIMEOUT_S
        ).predictions
    for text, line, prediction in zip(TEXTS, found, expected, strict=True):
        assert isinstance(prediction.classes, int)
        assert line["text"] == text
        assert line["label"] == files.labels[prediction.classes]
        assert list(line["scores"]) == list(files.labels)
        assert sum(line["scores"].values()) == pytest.approx(1)
        assert line["tokens"] == len(prediction.token_ids)
        assert line["truncated"] == prediction.flags.truncated
        assert line["unknown_only"] == prediction.flags.unknown_only
    plain = runner.predict(files.folder, *TEXTS).stdout.decode().splitlines()
    for text, line, answer in zip(TEXTS, plain, found, strict=True):
        label, score, rest = line.split("\t")
        assert (label, rest) == (answer["label"], text)
        assert float(score) == pytest.approx(max(answer["scores"].values()), abs=1e-3)


def test_a_text_has_the_labels_that_reach_their_thresholds(runner: Runner, write: Write) -> None:
    files = write(Case("labels-lstm", "dynamic_wi8_afp32", "loop"))
    done = runner.predict(files.folder, "--json", *TEXTS)
    assert done.returncode == 0, done.stderr
    plain = runner.predict(files.folder, *TEXTS).stdout.decode().splitlines()
    with both(runner, files, TEXTS[0]) as (_, python):
        expected = python.request(
            protocol.PredictTexts(TEXTS), protocol.TextPredictions, timeout_s=TIMEOUT_S
        ).predictions
    decisions = [prediction.classes for prediction in expected]
    assert len(set(decisions)) > 1
    for text, line, prediction in zip(TEXTS, plain, expected, strict=True):
        answer = json.loads(done.stdout.splitlines()[TEXTS.index(text)])
        shares = 1 / (1 + np.exp(-np.array(prediction.logits, float)))
        assert list(answer["scores"].values()) == pytest.approx(shares.tolist())
        assert isinstance(prediction.classes, tuple)
        pairs = zip(files.labels, prediction.classes, strict=True)
        assert answer["labels"] == [label for label, has_it in pairs if has_it]
        assert answer["labels"] == [
            label
            for label, threshold in zip(files.labels, THRESHOLDS, strict=True)
            if answer["scores"][label] >= threshold
        ]
        found = [part.rsplit(" ", 1)[0] for part in line.split("\t")[0].split(", ") if part]
        assert (found, line.split("\t")[1]) == (answer["labels"], text)


def test_lines_of_stdin_are_texts(runner: Runner, write: Write) -> None:
    files = write(Case("lstm", "dynamic_wi8_afp32", "loop"))
    by_lines = runner.predict(files.folder, "--json", stdin="\n".join(TEXTS).encode())
    assert by_lines.stdout == runner.predict(files.folder, "--json", *TEXTS).stdout


@pytest.mark.parametrize("text", TEXTS)
def test_words_get_tags(text: str, runner: Runner, write: Write) -> None:
    files = write(Case("tags-bert", "dynamic_wi8_afp32", "encoder"))
    words = split_words(text)
    with both(runner, files, words) as (_, python):
        [expected] = python.request(
            protocol.PredictTexts((words,)), protocol.TextPredictions, timeout_s=TIMEOUT_S
        ).predictions
    assert isinstance(expected.classes, tuple)
    done = runner.predict(files.folder, "--json", text)
    line = json.loads(done.stdout)
    assert tuple(line["words"]) == words
    assert line["tags"] == [files.labels[number] for number in expected.classes]
    assert all(0 < score <= 1 for score in line["tag_scores"])
    plain = runner.predict(files.folder, text).stdout.decode().strip()
    assert plain == " ".join(f"{word}/{tag}" for word, tag in zip(words, line["tags"], strict=True))


def test_next_words_are_suggested(runner: Runner, write: Write) -> None:
    for case in (Case("stream", "float32", "loop"), Case("window", "float32", "cached")):
        files = write(case)
        for text in ("w1 w2 w3", str(texts_for(files)[-1])):
            with both(runner, files, "w1") as (_, python):
                expected = python.request(
                    protocol.Complete(text, "<eos>", 3), protocol.TopK, timeout_s=TIMEOUT_S
                )
            line = json.loads(runner.predict(files.folder, "--json", text).stdout)
            assert tuple(line["words"]) == expected.words
            assert line["probabilities"] == pytest.approx(expected.probabilities, rel=1e-5)
            assert line["tokens"] == expected.tokens_read


def test_mentions_must_be_marked(runner: Runner, write: Write) -> None:
    files = write(Case("marks-lstm", "float32", "loop"))
    good = "[A] Ada [/A] met [B] Eve [/B] when [P] she [/P] came"
    assert runner.predict(files.folder, good).returncode == 0
    for text in ("Ada met Eve", good.replace("[/P]", ""), good + " [A] x [/A]"):
        done = runner.predict(files.folder, good, text)
        assert done.returncode == 1
        [line] = done.stderr.decode().splitlines()[-1:]
        assert "text 2: a mention must be marked once" in line


@pytest.mark.parametrize(
    ("text", "what"),
    [(b"  ", "is empty"), (b"\xff", "is not valid Unicode"), (b"a" * (2 << 20), "")],
)
def test_what_is_no_text_is_refused_in_one_line(
    text: bytes, what: str, runner: Runner, write: Write
) -> None:
    files = write(Case("lstm", "dynamic_wi8_afp32", "loop"))
    done = runner.predict(files.folder, stdin=b"the teapot\n" + text + b"\n")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert what in done.stderr.decode().splitlines()[-1]


@pytest.mark.parametrize("name", ["runner.bin", "model.tflite"])
@pytest.mark.parametrize("size", [None, 0, 10, 300, 2000])
def test_a_damaged_bundle_ends_with_a_line(
    name: str, size: int | None, runner: Runner, write: Write, tmp_path: Path
) -> None:
    files = write(Case("lstm", "dynamic_wi8_afp32", "loop"))
    folder = tmp_path / "bundle"
    shutil.copytree(files.folder, folder)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if size is not None:
        (folder / name).write_bytes(content[:size])
    done = runner.predict(folder, "the teapot")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[-1].startswith(f"edgeseq-runner: {folder / name}: ")


def test_a_model_with_changed_bytes_ends_with_a_line(
    runner: Runner, write: Write, tmp_path: Path
) -> None:
    """LiteRT's own checks let some of them through; what it then does may be a crash."""
    files = write(Case("lstm", "dynamic_wi8_afp32", "loop"))
    shutil.copy(files.folder / "runner.bin", tmp_path)
    content = (files.folder / "model.tflite").read_bytes()
    generator = np.random.default_rng(5)
    refused = 0
    for _ in range(40):
        changed = bytearray(content)
        for place in generator.integers(len(content) - 3000, len(content), 20):
            changed[place] = generator.integers(256)
        (tmp_path / "model.tflite").write_bytes(changed)
        done = runner.predict(tmp_path, "the teapot was lovely")
        assert done.returncode in (0, 1)
        if done.returncode == 1:
            assert done.stderr.decode().splitlines()[-1].startswith("edgeseq-runner: ")
            refused += 1
    assert refused > 0


def test_the_library_beside_the_program_is_found(
    runner: Runner, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(Case("lstm", "dynamic_wi8_afp32", "loop"))
    own = Runner(tmp_path / "edgeseq-runner", runner.library)
    shutil.copy(runner.program, own.program)
    (tmp_path / "libLiteRt.so").symlink_to(runner.library)
    done = own.run("predict", files.folder, "the teapot")
    assert done.returncode == 0
    monkeypatch.setenv("EDGESEQ_LITERT_LIBRARY", str(runner.library))
    named = runner.run("predict", files.folder, "the teapot")
    assert named.stdout == done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",),
        ("predict", "--threads"),
        ("predict", "x", "--threads", "0"),
        ("predict", "x", "--unknown"),
        ("worker",),
        ("worker", "x"),
        ("worker", "0"),
        ("launch",),
        ("evict",),
        ("other",),
    ],
)
def test_wrong_arguments_are_explained(arguments: tuple[str, ...], runner: Runner) -> None:
    done = runner.run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    [line] = done.stderr.decode().splitlines()
    assert line.endswith("see edgeseq-runner --help")


def test_help_names_every_command(runner: Runner) -> None:
    done = runner.run("--help")
    assert done.returncode == 0
    for name in ("predict", "worker", "launch", "evict"):
        assert f"edgeseq-runner {name} " in done.stdout.decode()


def test_files_are_evicted_from_the_page_cache(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    done = runner.run("evict", path, tmp_path / "missing")
    first, second = json.loads(done.stdout)["files"]
    assert (first["path"], first["size_bytes"]) == (str(path), 1 << 20)
    assert 0 <= first["resident_bytes"] <= 1 << 20
    assert second == {"path": str(tmp_path / "missing"), "size_bytes": 0, "resident_bytes": 0}
