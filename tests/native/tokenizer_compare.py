"""The C tokenizer as a program, and what the Python side gives for the same texts."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from edgeseq.formats.bundle_manifest import Signature, TensorSpec
from edgeseq.formats.padding import TEXT_ALONE, Padding
from edgeseq.formats.runner_file import RunnerSettings, compile_runner_file
from edgeseq.runtime.text_tokenizer import UNLIMITED_TOKENS, TextTokenizer
from edgeseq_benchmarks.native.build import FLAGS, SOURCE_DIR, compile_program, find_compiler
from edgeseq_benchmarks.native.targets import host_target

HERE = Path(__file__).parent
TOKENIZER_SOURCES = tuple(
    SOURCE_DIR / f"{name}.c"
    for name in (
        *("status", "buffer", "utf8", "runner_file", "code_tables", "vocabulary", "added_tokens"),
        *("normalize", "split", "encode_word", "bpe", "mentions", "tokenizer"),
    )
)
LONG_TIMEOUT_S = 3600


def compile_tokenizer_program(program: Path, *flags: str) -> Path:
    """Compiles the test program with the C tokenizer; `flags` come after the runner's own."""
    target = host_target()
    assert target is not None
    sources = [*TOKENIZER_SOURCES, HERE / "tokenizer_program.c"]
    compile_program(
        find_compiler(target), sources, program, flags=(*FLAGS, f"-I{SOURCE_DIR}", *flags)
    )
    return program


def settings_for(
    tokenizer_json: str, *, max_tokens: int = 64, padding: Padding = TEXT_ALONE
) -> RunnerSettings:
    """Settings of an invented classifier with this tokenizer."""
    vocabulary = Tokenizer.from_str(tokenizer_json).get_vocab(with_added_tokens=True)
    return RunnerSettings(
        name="invented",
        task="text-classification",
        max_tokens=max_tokens,
        vocabulary_size=max(vocabulary.values()) + 1,
        labels=("cold", "warm"),
        signature=Signature(
            "serving_default",
            (TensorSpec("input_ids", "int32", (1, -1)),),
            (TensorSpec("logits", "float32", (1, 2)),),
        ),
        padding=padding,
    )


class TokenizerProgram:
    """The program with one `runner.bin`."""

    def __init__(
        self, program: Path, tokenizer_json: str, path: Path, padding: Padding = TEXT_ALONE
    ) -> None:
        self.path = path
        self._program = program
        settings = settings_for(tokenizer_json, padding=padding)
        path.write_bytes(compile_runner_file(tokenizer_json, settings))

    def encode(
        self, texts: Sequence[str | bytes], max_tokens: int, kind: str = "text"
    ) -> list[str]:
        """A line per text: truncated, unknown only, ids."""
        contents = [text.encode() if isinstance(text, str) else text for text in texts]
        return self._run(
            b"".join(
                b"%s %d %d\n%s\n" % (kind.encode(), max_tokens, len(content), content)
                for content in contents
            )
        )

    def encode_words(self, lists: Sequence[Sequence[str]]) -> list[str]:
        """A line per list of words: unknown only, ids with their words."""
        parts = []
        for words in lists:
            parts.append(b"words %d\n" % len(words))
            contents = [word.encode() for word in words]
            parts += [b"%d\n%s\n" % (len(content), content) for content in contents]
        return self._run(b"".join(parts))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The token of each id."""
        return self._run(b"".join(b"token %d\n" % token_id for token_id in ids))

    def _run(self, requests: bytes) -> list[str]:
        done = subprocess.run(
            [str(self._program), str(self.path)],
            input=requests,
            capture_output=True,
            check=False,
            timeout=LONG_TIMEOUT_S,
        )
        assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-3000:])
        return done.stdout.decode().split("\n")[:-1]


def expected_texts(
    tokenizer_json: str, texts: Sequence[str], max_tokens: int, padding: Padding = TEXT_ALONE
) -> list[str]:
    """What `TextTokenizer.encode` gives, in the form of the program's lines; 0: no limit."""
    limit = max_tokens or UNLIMITED_TOKENS
    tokenizer = TextTokenizer.from_json(tokenizer_json, limit, padding)
    lines = []
    for text in texts:
        encoded = tokenizer.encode(text)
        numbers = (int(encoded.truncated), int(encoded.unknown_only), *encoded.token_ids)
        lines.append(" ".join(map(str, numbers)))
    return lines


def expected_words(tokenizer_json: str, lists: Sequence[Sequence[str]]) -> list[str]:
    """What `tokenizers` gives for texts that come as words."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    name = getattr(tokenizer.model, "unk_token", None)
    unknown_id = None if name is None else tokenizer.token_to_id(name)
    lines = []
    for words in lists:
        encoded = tokenizer.encode(list(words), is_pretokenized=True)
        pairs = list(zip(encoded.ids, encoded.word_ids, strict=True))
        known = any(word is not None and token_id != unknown_id for token_id, word in pairs)
        parts = (f"{token_id}:{-1 if word is None else word}" for token_id, word in pairs)
        lines.append(" ".join((str(int(not known)), *parts)))
    return lines


def differences(
    program: TokenizerProgram,
    tokenizer_json: str,
    texts: Sequence[str],
    lists: Sequence[Sequence[str]],
    *,
    max_tokens: Sequence[int] = (0, 7, 16),
) -> list[str]:
    """Where the C tokenizer and the Python side disagree, one line each: the text and both lines.

    The texts are divided among the limits `max_tokens`.
    """
    lines = []
    for number, limit in enumerate(max_tokens):
        part = texts[number :: len(max_tokens)]
        found, expected = program.encode(part, limit), expected_texts(tokenizer_json, part, limit)
        lines += _unequal(part, found, expected)
    lines += _unequal(lists, program.encode_words(lists), expected_words(tokenizer_json, lists))
    return lines


def _unequal(inputs: Sequence[object], found: list[str], expected: list[str]) -> list[str]:
    assert len(found) == len(expected) == len(inputs)
    return [
        f"{text!r}: found {line[:200]}, expected {right[:200]}"
        for text, line, right in zip(inputs, found, expected, strict=True)
        if line != right
    ]
