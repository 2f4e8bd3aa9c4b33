"""Runner files of very small tokenizers, one of each kind, for a fuzzer to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from edgeseq.formats.runner_file import compile_runner_file
from edgeseq.tasks.mentions import MARKERS
from edgeseq.tasks.word_features import WordFeatures

from .native_models import random_transitions
from .tokenizer_compare import settings_for

_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "##t", "un", "##believ", "##able", "a", "中")
_WORDS = {"<unk>": 0, "the": 1, "fox": 2, "<eos>": 3}
_MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the")]


def small_runner_files() -> Iterator[bytes]:
    """`runner.bin` of WordPiece with markers, WordLevel, and BPE of bytes and of characters;
    and of WordPiece for tags with transitions."""
    for tokenizer in (_word_piece(), _plain_words(), _changed_words(), _bytes(), _characters()):
        content = str(tokenizer.to_str())
        yield compile_runner_file(content, settings_for(content))
    content = str(_word_piece().to_str())
    tagging: dict[str, Any] = {"task": "token-classification", "transitions": random_transitions(2)}
    tagging["word_features"] = WordFeatures(rows=5, size=1)
    yield compile_runner_file(content, msgspec.structs.replace(settings_for(content), **tagging))


def _word_piece() -> Any:
    vocabulary = {piece: number for number, piece in enumerate(_PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens([*_PIECES[:4], *MARKERS])
    return tokenizer


def _plain_words() -> Any:
    tokenizer = Tokenizer(models.WordLevel(_WORDS, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def _changed_words() -> Any:
    n, p = normalizers, pre_tokenizers
    tokenizer = Tokenizer(models.WordLevel(_WORDS, unk_token="<unk>"))
    steps = [n.Strip(), n.Replace("e", "ee"), n.Prepend("the "), n.NFC()]
    tokenizer.normalizer = n.Sequence(steps)
    tokenizer.pre_tokenizer = p.Sequence(
        [p.Whitespace(), p.Digits(True), p.Split("o", "merged_with_next"), p.Punctuation()]
    )
    tokenizer.add_tokens([AddedToken("fox", single_word=True, lstrip=True, rstrip=True)])
    return tokenizer


def _bytes() -> Any:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, _MERGES)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocabulary, _MERGES))
    tokenizer.normalizer = normalizers.NFKD()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


def _characters() -> Any:
    pieces = ("<unk>", "t", "h", "e", "th", "the")
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return Tokenizer(
        models.BPE(vocabulary, _MERGES[:2], unk_token="<unk>", fuse_unk=True, ignore_merges=True)
    )
