"""The native runner's word features are those of Python, and so are the tags that they lead to."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from edgeseq.errors import DeviceError
from edgeseq.tasks.word_features import SIGNS, UPPER_CASE, WordFeatures
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.predictor import predict
from edgeseq_benchmarks.native.build import FLAGS, SOURCE_DIR, compile_program, find_compiler
from edgeseq_benchmarks.native.targets import host_target

from ..converters.training.test_word_features_taggers import converted, tagger
from .conftest import TIMEOUT_S, Runner, Write, both
from .native_models import Case, random_transitions

pytestmark = pytest.mark.skipif(host_target() is None, reason="no native runner for this machine")
GOLDEN = Path(__file__).parents[1] / "edgeseq" / "tasks" / "word_features.json"
COUNT = 10_000
CASE = Case("tags-words-lstm", "float32", "loop")
Rows = Callable[[Sequence[str], int], list[tuple[int, ...]]]


@pytest.fixture(scope="module")
def rows_in_c(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    target = host_target()
    assert target is not None
    program = tmp_path_factory.mktemp("features") / "word_features_program"
    sources = [SOURCE_DIR / "word_features.c", Path(__file__).with_name("word_features_program.c")]
    sanitize = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    flags = (*FLAGS, f"-I{SOURCE_DIR}", *sanitize)
    compile_program(find_compiler(target), sources, program, flags=flags)

    def run(words: Sequence[str], rows: int) -> list[tuple[int, ...]]:
        encoded = [word.encode() for word in words]
        stdin = b"".join(b"%d\n%s\n" % (len(word), word) for word in encoded)
        done = subprocess.run(
            [program, str(rows)], input=stdin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return [tuple(map(int, line.split())) for line in done.stdout.decode().splitlines()]

    return run


def words_of_all_planes() -> Iterator[str]:
    """Runs of ASCII, letters with case, borders of the ranges, and anything else."""
    draw = random.Random(7)  # noqa: S311
    edges = [
        code + step
        for first, last in (*SIGNS, *((part.first, part.last) for part in UPPER_CASE))
        for code in (first, last)
        for step in (-1, 0, 1)
        if code + step >= 0
    ]
    kinds: tuple[Callable[[], int], ...] = (
        lambda: draw.randrange(0x80),
        lambda: draw.randrange(0x600),
        lambda: draw.choice(edges),
        lambda: draw.randrange(0x1E00, 0x3100),
        lambda: draw.randrange(0xD800),
        lambda: draw.randrange(0xE000, 0x110000),
    )
    for _ in range(COUNT):
        codes = [draw.choice(kinds)() for _ in range(draw.randrange(10))]
        yield "".join(chr(code) * draw.choice((1, 1, 1, 2, 6)) for code in codes)


@pytest.mark.parametrize("rows", [7, 2000, 1_000_000])
def test_generated_words_have_the_rows_of_python(rows_in_c: Rows, rows: int) -> None:
    words = list(words_of_all_planes())
    features = WordFeatures(rows=rows, size=1)
    assert rows_in_c(words, rows) == [features.rows_of(word) for word in words]


def test_golden_words_have_their_rows(rows_in_c: Rows) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    words = [example["word"] for example in golden["words"]]
    for number, rows in enumerate(golden["rows"]):
        expected = [tuple(example["table_rows"][number]) for example in golden["words"]]
        assert rows_in_c(words, rows) == expected


def test_words_get_the_same_rows_logits_and_tags(runner: Runner, write: Write) -> None:
    """Capitals alone, several windows, words without a token, and a text that is one string."""
    texts: tuple[protocol.Text, ...] = (
        ("The", "TEAPOT", "was", "Lovely", "3.5"),
        ("the", "teapot", "was", "lovely", "3.5"),
        tuple(word for n in range(40) for word in ("The", "iPhone", f"N{n}")),
        ("\x01", "\N{GRINNING FACE}", "Übung"),
        (),
        "Never a BLANKET, always",
    )
    files = write(CASE)
    with both(runner, files, texts[0]) as children:
        native, python = (
            child.request(
                protocol.PredictTexts(texts), protocol.TextPredictions, timeout_s=TIMEOUT_S
            ).predictions
            for child in children
        )
        for text, found, expected in zip(texts, native, python, strict=True):
            assert found.token_ids == expected.token_ids, text
            assert found.word_rows == expected.word_rows, text
            assert found.logits == expected.logits, text
            assert found.classes == expected.classes, text
        assert native[0].token_ids == native[1].token_ids
        assert native[0].logits != native[1].logits
        ids = tuple(prediction.token_ids for prediction in python[:2])
        rows = tuple(prediction.word_rows for prediction in python[:2])
        for word_rows in (rows, ()):
            command = protocol.InferTokens(ids, word_rows)
            replies = [
                child.request(command, protocol.TokenLogits, timeout_s=TIMEOUT_S).logits
                for child in children
            ]
            assert replies[0] == replies[1]
        for wrong in (rows[:1], (rows[0][:-1], rows[1]), ((*rows[0][:-1], 10**8), rows[1])):
            with pytest.raises(DeviceError, match="word features"):
                children[0].request(
                    protocol.InferTokens(ids, wrong), protocol.TokenLogits, timeout_s=TIMEOUT_S
                )


def test_a_file_without_features_does_not_run_a_model_with_them(
    runner: Runner, write: Write, tmp_path: Path
) -> None:
    files = write(CASE)
    other = write(Case("tags-lstm", "float32", "loop"))
    (tmp_path / "runner.bin").write_bytes((other.folder / "runner.bin").read_bytes())
    (tmp_path / "model.tflite").write_bytes((files.folder / "model.tflite").read_bytes())
    done = runner.predict(tmp_path, "the teapot")
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()[-1:]
    assert "does not have the expected signature" in line


def test_a_bundle_with_features_and_transitions_answers_as_in_python(
    runner: Runner, tmp_path: Path
) -> None:
    model = tagger("lstm")
    manifest = msgspec.structs.replace(model.manifest, transitions=random_transitions(3))
    model = msgspec.structs.replace(model, manifest=manifest)
    [(path, converted_manifest)] = converted(model, tmp_path, ("dynamic_wi8_afp32",), ("loop",))
    assert converted_manifest.native_unsupported is None
    words = ["The", "TEAPOT", "was", "Lovely", "3.5", "never", "BLANKET", "and"]
    draw = random.Random(8)  # noqa: S311
    texts = [" ".join(draw.choices(words, k=count)) for count in (1, 2, 5, 9, 30)]
    done = runner.predict(path, "--json", *texts)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for line, expected in zip(found, predict(path, texts), strict=True):
        assert tuple(line["tags"]) == expected.tags
        assert line["tag_scores"] == pytest.approx(expected.tag_scores, rel=1e-6)
    assert len({tag for line in found for tag in line["tags"]}) > 1
