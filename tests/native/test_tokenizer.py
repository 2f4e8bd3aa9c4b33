"""The C tokenizer gives what the `tokenizers` library gives, on every text.

`EDGESEQ_TOKENIZER_STRINGS` is how many texts are generated, all kinds together; with it, data sets
(from `EDGESEQ_DATA`) are compared as a whole. Without it both are a sample that takes half a
minute.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from edgeseq.datasets.registry import LOCAL_SOURCES, load_dataset
from edgeseq.errors import FetchError
from edgeseq.formats.padding import Padding, PaddingSide, TruncationSide
from edgeseq.formats.runner_file import (
    UnsupportedTokenizerError,
    compile_runner_file,
    write_runner_file,
)
from edgeseq.formats.runner_file.layout import Section, write_sections
from edgeseq.formats.runner_file.runner_settings import settings_sections
from edgeseq.formats.runner_file.tokenizer_sections import compile_tokenizer
from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.examples import TextExample
from edgeseq_benchmarks.native.targets import host_target

from .tokenizer_compare import (
    LONG_TIMEOUT_S,
    TokenizerProgram,
    compile_tokenizer_program,
    differences,
    expected_texts,
    settings_for,
)
from .tokenizer_kinds import KINDS, make_kinds
from .tokenizer_texts import generated_texts, generated_words

pytestmark = pytest.mark.skipif(host_target() is None, reason="no native runner for this machine")
IS_FULL = "EDGESEQ_TOKENIZER_STRINGS" in os.environ
STRINGS = int(os.environ.get("EDGESEQ_TOKENIZER_STRINGS", "25000"))
SAMPLE_CHARACTERS = 100_000
# A kind of each model, for data sets: all of their words and texts.
DATA_KINDS = ("bert", "bert-cased", "bert-marked", "roberta", "roberta-space", "lm", "words")
DATA_SETS = ("customer-feedback", *(source.entry.name for source in LOCAL_SOURCES))
Open = Callable[[str], TokenizerProgram]


@functools.cache
def kinds() -> dict[str, str]:
    return make_kinds()


@pytest.fixture(scope="session")
def tokenizer_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_tokenizer_program(tmp_path_factory.mktemp("tokenizer") / "tokenizer_program")


@pytest.fixture(scope="session")
def sanitized_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_tokenizer_program(
        tmp_path_factory.mktemp("tokenizer") / "sanitized_program",
        *("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    )


@pytest.fixture
def open_kind(tokenizer_program: Path, tmp_path: Path) -> Open:
    """The program with the tokenizer of a kind."""
    return lambda kind: TokenizerProgram(tokenizer_program, kinds()[kind], tmp_path / "runner.bin")


def test_every_kind_is_listed() -> None:
    assert tuple(kinds()) == KINDS


@pytest.mark.timeout(LONG_TIMEOUT_S)
@pytest.mark.parametrize("kind", KINDS)
def test_generated_texts_give_the_same_tokens(open_kind: Open, kind: str) -> None:
    count = STRINGS // len(KINDS)
    seed = f"{kind} {STRINGS}"
    texts, lists = generated_texts(count, seed), generated_words(count // 6, seed)
    assert differences(open_kind(kind), kinds()[kind], texts, lists) == []


@pytest.mark.parametrize("side", ["none", "pre", "post"])
@pytest.mark.parametrize("truncation", ["pre", "post"])
def test_texts_are_padded_and_cut_as_in_python(
    tokenizer_program: Path, tmp_path: Path, side: PaddingSide, truncation: TruncationSide
) -> None:
    padding = Padding(side, 3, truncation)
    texts = ["", "!", *generated_texts(200, f"{side} {truncation}")]
    for kind in ("bert", "words", "roberta", "keras-dropped"):
        program = TokenizerProgram(tokenizer_program, kinds()[kind], tmp_path / kind, padding)
        for limit in (1, 2, 9, 60):
            expected = expected_texts(kinds()[kind], texts, limit, padding)
            assert program.encode(texts, limit) == expected, (kind, limit)


@pytest.mark.timeout(LONG_TIMEOUT_S)
@pytest.mark.parametrize("name", DATA_SETS)
def test_data_sets_give_the_same_tokens(tokenizer_program: Path, tmp_path: Path, name: str) -> None:
    data_dir = os.environ.get("EDGESEQ_DATA")
    if data_dir is None and name != "customer-feedback":
        pytest.skip("EDGESEQ_DATA is not set")
    try:
        dataset = load_dataset(name, data_dir=Path(data_dir) if data_dir else None)
    except FetchError as error:
        pytest.skip(str(error))
    lists = [
        example.text.split() if isinstance(example, TextExample) else list(example.words)
        for example in (*dataset.train, *dataset.dev, *dataset.test)
    ]
    texts = [
        example.text if isinstance(example, TextExample) else " ".join(example.words)
        for example in (*dataset.train, *dataset.dev, *dataset.test)
    ]
    if not IS_FULL:
        step = 1 + sum(map(len, texts)) // SAMPLE_CHARACTERS
        texts, lists = texts[::step], lists[1::step]
    for kind in DATA_KINDS:
        program = TokenizerProgram(tokenizer_program, kinds()[kind], tmp_path / f"{kind}.bin")
        assert differences(program, kinds()[kind], texts, lists, max_tokens=(64,)) == [], kind


@pytest.mark.parametrize("kind", ["bert", "roberta", "words-added", "words-many", "bpe-fused"])
def test_nothing_is_read_or_written_outside_of_its_place(
    sanitized_program: Path, tmp_path: Path, kind: str
) -> None:
    """The same under AddressSanitizer and UndefinedBehaviorSanitizer."""
    sanitized = TokenizerProgram(sanitized_program, kinds()[kind], tmp_path / "runner.bin")
    texts, lists = generated_texts(300, kind), generated_words(50, kind)
    assert differences(sanitized, kinds()[kind], texts, lists) == []


@pytest.mark.parametrize("kind", ["bert", "bert-marked", "roberta", "lm"])
def test_a_text_of_an_exact_length_is_that_of_python(open_kind: Open, kind: str) -> None:
    texts = [text for text in generated_texts(200, kind) if text]
    python = TextTokenizer.from_json(kinds()[kind], 64)
    for text, line in zip(texts, open_kind(kind).encode(texts, 5, "exact"), strict=True):
        _truncated, _unknown, *ids = map(int, line.split())
        exact = python.encode_exact(text, 5)
        assert ids == exact if len(ids) == 5 else exact is None


@pytest.mark.parametrize("kind", ["bert", "roberta", "lm", "words-added"])
def test_tokens_have_their_names(open_kind: Open, kind: str) -> None:
    tokenizer = Tokenizer.from_str(kinds()[kind])
    ids = list(range(tokenizer.get_vocab_size()))
    names = [tokenizer.id_to_token(token_id) for token_id in ids]
    assert open_kind(kind).tokens([*ids, len(ids) + 5]) == [*names, ""]


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"caf\xe9", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"],
    ids=["byte", "Latin-1", "overlong", "cut", "surrogate", "beyond U+10FFFF"],
)
def test_bytes_that_are_not_utf8_are_refused(open_kind: Open, text: bytes) -> None:
    """A Python string cannot hold them: neither answers."""
    content = b"ok " + text
    with pytest.raises(UnicodeDecodeError) as refused:
        content.decode("utf-8")
    (line,) = open_kind("bert").encode([content], 0)
    place = f"byte {refused.value.start + 1} of {len(content)}"
    assert line == f"error: the text is not valid UTF-8: {place}"


def test_a_text_may_hold_nul_bytes(open_kind: Open) -> None:
    for kind in ("bert", "bert-unclean", "roberta", "lm"):
        texts = ["a\0b \0", "\0", "the\0 the"]
        assert differences(open_kind(kind), kinds()[kind], texts, [texts]) == []


@pytest.mark.parametrize(
    ("kind", "part"), [("bert", "a\u0301\u0323 "), ("roberta", "a"), ("words-whole", "\ufdfa")]
)
def test_a_text_of_a_mebibyte_is_the_longest(open_kind: Open, kind: str, part: str) -> None:
    """One of many marks, one that is a single word, one that is eleven times as long when it is
    normalized."""
    limit = 1 << 20
    program = open_kind(kind)
    longest = part * (limit // len(part.encode()))
    assert differences(program, kinds()[kind], [longest], [], max_tokens=(16,)) == []
    (line,) = program.encode(["a" * (limit + 1)], 0)
    assert line == f"error: the text is too long: found {limit + 1} bytes, expected at most {limit}"


def _unigram() -> Tokenizer:
    return Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0)], unk_id=0))


def _words(normalizer: object = None, pre_tokenizer: object = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (_unigram(), "does not have this model: found Unigram"),
        (_words(normalizers.Nmt()), "does not have this normalizer: found Nmt"),
        (_words(normalizers.Replace(Regex("a+"), "b")), "replaces texts, not patterns"),
        (_words(None, pre_tokenizers.Metaspace()), "does not have this pre-tokenizer"),
        (_words(None, pre_tokenizers.Split(Regex("a|b"), "isolated")), "not at patterns"),
        (_words(None, pre_tokenizers.ByteLevel()), "takes ByteLevel with BPE only"),
        (Tokenizer(models.BPE({"a": 0}, [], byte_fallback=True)), "found byte_fallback"),
        (Tokenizer(models.BPE({"a": 0}, [], dropout=0.1)), "found dropout"),
    ],
)
def test_what_cannot_be_expressed_is_refused_with_the_reason(
    tmp_path: Path, tokenizer: Tokenizer, reason: str
) -> None:
    content = tokenizer.to_str()
    with pytest.raises(UnsupportedTokenizerError, match=reason):
        compile_runner_file(content, settings_for(content))
    assert reason in (write_runner_file(tmp_path, content, settings_for(content)) or "")
    assert not (tmp_path / "runner.bin").exists()


def test_the_same_tokenizer_gives_the_same_bytes() -> None:
    content = kinds()["bert"]
    settings = settings_for(content)
    assert compile_runner_file(content, settings) == compile_runner_file(content, settings)


def test_a_cut_or_foreign_file_is_refused_with_a_line(
    tokenizer_program: Path, tmp_path: Path, open_kind: Open
) -> None:
    content = open_kind("bert").path.read_bytes()
    cases = {
        "is too short": content[:40],
        "is cut": content[:-8],
        "is not a runner file": b"x" + content[1:],
        "has another format": content[:8] + b"\x09" + content[9:],
    }
    for reason, changed in cases.items():
        check_refused(tokenizer_program, changed, tmp_path / "changed.bin", reason)


def test_bytes_are_made_by_the_last_step_alone(tokenizer_program: Path, tmp_path: Path) -> None:
    """The step before the last one would change its own text while it is read."""
    compiled = compile_tokenizer(kinds()["roberta-space"])
    settings = settings_sections(settings_for(kinds()["roberta-space"]), compiled.facts)
    steps = compiled.sections[Section.PRE_TOKENIZER_STEPS]
    sections = {**settings, **compiled.sections, Section.PRE_TOKENIZER_STEPS: 2 * steps}
    content, path = write_sections(sections), tmp_path / "twice.bin"
    check_refused(tokenizer_program, content, path, "has a pre-tokenizer that this runner")


def check_refused(program: Path, content: bytes, path: Path, reason: str) -> None:
    """The program does not open this `runner.bin`, and says why."""
    path.write_bytes(content)
    done = subprocess.run(
        [str(program), str(path)], input=b"", capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert reason in done.stdout.decode(), done.stdout
