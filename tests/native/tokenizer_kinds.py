"""Tokenizers of every kind that the project makes or reads, with vocabularies made here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from edgeseq.tasks.mentions import MARKERS
from edgeseq_converters.models.keras.word_tokenizer import WordVocabulary
from edgeseq_converters.models.vocabulary import trim_pieces

Vocabulary = dict[str, int]
ROOT = Path(__file__).parents[2]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>")


def _corpus() -> list[str]:
    pages = sorted((ROOT / "docs").glob("*.md"))
    return [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]


def word_pieces(size: int = 3000) -> Vocabulary:
    """Frequent words, their beginnings and ends, and single characters."""
    counts: Counter[str] = Counter()
    for line in _corpus():
        for word in re.findall(r"\w+|[^\w\s]", line) + re.findall(r"\w+", line.lower()):
            counts[word] += 3
            for cut in range(1, len(word)):
                counts[word[:cut]] += 1
                counts[f"##{word[cut:]}"] += 1
    chars = {char for word in counts for char in word} | set("中文日本äéß½ﬁ가힣ا😀")
    singles = [piece for char in sorted(chars) for piece in (char, f"##{char}")]
    frequent = [piece for piece, _count in counts.most_common(size)]
    return {piece: n for n, piece in enumerate(dict.fromkeys((*SPECIAL, *singles, *frequent)))}


def byte_pairs(size: int = 2500) -> tuple[Vocabulary, list[tuple[str, str]]]:
    """A byte-level vocabulary and its merges, learnt from the documentation."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[*ROBERTA, "<mask>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    model = msgspec.json.decode(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def whole_words() -> Vocabulary:
    """The words of the documentation, divided at white space."""
    words = (word for line in _corpus() for word in line.split())
    return {word: n for n, word in enumerate(dict.fromkeys(("<unk>", "<eos>", *SPECIAL, *words)))}


def _bert(vocabulary: Vocabulary, normalizer: Any, **settings: Any) -> Any:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", **settings))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def _bert_kinds() -> dict[str, Any]:
    vocabulary = word_pieces()
    uncased = normalizers.BertNormalizer()
    marked = _bert(vocabulary, uncased)
    marked.add_special_tokens(list(MARKERS))
    added = _bert(vocabulary, uncased)
    added.add_tokens([AddedToken("ÉCOLE"), AddedToken("new word", single_word=True), "ing"])
    processed = _bert(vocabulary, uncased)
    ends = [(name, vocabulary[name]) for name in ("[SEP]", "[CLS]")]
    processed.post_processor = processors.BertProcessing(*ends)
    return {
        "bert": _bert(vocabulary, uncased),
        "bert-cased": _bert(vocabulary, normalizers.BertNormalizer(lowercase=False)),
        "bert-accents": _bert(vocabulary, normalizers.BertNormalizer(strip_accents=False)),
        "bert-stripped": _bert(
            vocabulary,
            normalizers.BertNormalizer(
                lowercase=False, strip_accents=True, handle_chinese_chars=False
            ),
        ),
        "bert-unclean": _bert(vocabulary, normalizers.BertNormalizer(clean_text=False)),
        "bert-short": _bert(
            vocabulary, uncased, max_input_chars_per_word=7, continuing_subword_prefix=""
        ),
        "bert-marked": marked,
        "bert-added": added,
        "bert-processing": processed,
    }


def _byte_level(space: bool, normalizer: Any = None, **settings: Any) -> Any:
    vocabulary, merges = byte_pairs()
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, **settings))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    ends = [(name, vocabulary[name]) for name in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, True, space)
    tokenizer.add_special_tokens(list(ROBERTA))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    return tokenizer


def _bpe_kinds() -> dict[str, Any]:
    gpt2 = _byte_level(False)
    gpt2.post_processor = processors.ByteLevel(trim_offsets=False)
    whole = _byte_level(False, ignore_merges=True)
    whole.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = {piece: n for n, piece in enumerate(("<unk>", *"andtheig", "an", "and", "th", "the"))}
    merges = [("a", "n"), ("an", "d"), ("t", "h"), ("th", "e")]
    fused = Tokenizer(models.BPE(letters, merges, unk_token="<unk>", fuse_unk=True))
    fused.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    dropped = Tokenizer(models.BPE(letters, merges))
    dropped.pre_tokenizer = pre_tokenizers.Whitespace()
    dropped.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    return {
        "roberta": _byte_level(False),
        "roberta-trimmed": Tokenizer.from_str(
            trim_pieces(_byte_level(False).to_str(), _corpus()[::9]).tokenizer_json
        ),
        "roberta-space": _byte_level(True),
        "roberta-unknown": _byte_level(False, unk_token="<unk>"),
        "roberta-nfc": _byte_level(True, normalizers.NFC()),
        "gpt2": gpt2,
        "bpe-whole": whole,
        "bpe-fused": fused,
        "bpe-dropped": dropped,
    }


def _word_level(vocabulary: Vocabulary, normalizer: Any, pre_tokenizer: Any) -> Any:
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def _split(pattern: str, behavior: str, *, invert: bool = False) -> Any:
    return pre_tokenizers.Split(pattern, behavior, invert=invert)


def _word_kinds() -> dict[str, Any]:
    n, p, words = normalizers, pre_tokenizers, whole_words()

    def kind(normalizer: Any, *parts: Any) -> Any:
        return _word_level(words, normalizer, p.Sequence(list(parts)) if parts else None)

    added = kind(n.Lowercase(), p.Whitespace())
    added.add_tokens(
        [
            AddedToken("new word", single_word=True, normalized=True),
            AddedToken("Straße", lstrip=True, rstrip=True, normalized=True),
            AddedToken("don't", single_word=True, normalized=False),
            AddedToken("<TOK>", rstrip=True, normalized=False),
            AddedToken("film", normalized=True),
            AddedToken("films", normalized=True),
            AddedToken("é", normalized=True, single_word=True),
        ]
    )
    added.add_special_tokens(["[MASK]"])
    many = [n.Strip(), n.Replace("e", "ee"), n.Replace("--", " "), n.Prepend("the "), n.NFKC()]
    return {
        "lm": kind(None, p.WhitespaceSplit()),
        "words": kind(n.Lowercase(), p.Whitespace()),
        "words-whole": kind(n.NFKC()),
        "words-added": added,
        "words-many": kind(
            n.Sequence(many), p.WhitespaceSplit(), p.Punctuation("merged_with_previous")
        ),
        "words-next": kind(
            n.Strip(left=True, right=False), p.Punctuation("merged_with_next"), p.Digits(False)
        ),
        "words-split": kind(
            n.NFD(),
            _split("e", "merged_with_next"),
            _split(" ", "removed"),
            p.CharDelimiterSplit("-"),
        ),
        "words-inverted": kind(
            n.NFKD(),
            _split(" ", "isolated", invert=True),
            _split("a", "contiguous"),
            _split("th", "merged_with_previous", invert=True),
        ),
    }


def _keras_kinds() -> dict[str, Any]:
    words = dict.fromkeys(word for line in _corpus() for word in re.findall(r"[\w']+", line))
    lower = dict.fromkeys(word.lower() for word in words if not set("Σσς") & set(word))
    numbered = {"[UNK]": 1, **{word: n for n, word in enumerate(lower, start=2)}}
    chars = {"[UNK]": 1, **{char: n for n, char in enumerate("etaoin shrdlé中", start=2)}}
    signs = "!-\\]^[()&~\t\n"
    kinds = {
        "keras-dropped": WordVocabulary(numbered, None, "python", separators=signs),
        "keras-unknown": WordVocabulary(numbered, "[UNK]", "python", separators=signs, split="/"),
        "keras-vectorized": WordVocabulary(numbered, "[UNK]", "ascii", signs, "\r\t\v"),
        "keras-characters": WordVocabulary(chars, "[UNK]", "ascii", by_character=True),
        "keras-characters-dropped": WordVocabulary(chars, None, "python", by_character=True),
    }
    return {
        name: Tokenizer.from_str(kind.tokenizer_json(rows=len(kind.ids) + 2, where=name))
        for name, kind in kinds.items()
    }


def make_kinds() -> dict[str, str]:
    """`tokenizer.json` by name."""
    groups: Iterable[Callable[[], dict[str, Any]]] = (
        _bert_kinds,
        _bpe_kinds,
        _word_kinds,
        _keras_kinds,
    )
    return {
        name: str(tokenizer.to_str()) for group in groups for name, tokenizer in group().items()
    }


KINDS = (
    *("bert", "bert-cased", "bert-accents", "bert-stripped", "bert-unclean", "bert-short"),
    *("bert-marked", "bert-added", "bert-processing"),
    *(
        "roberta",
        "roberta-trimmed",
        "roberta-space",
        "roberta-unknown",
        "roberta-nfc",
        "gpt2",
        "bpe-whole",
    ),
    *("bpe-fused", "bpe-dropped"),
    *("lm", "words", "words-whole", "words-added", "words-many", "words-next", "words-split"),
    "words-inverted",
    *("keras-dropped", "keras-unknown", "keras-vectorized", "keras-characters"),
    "keras-characters-dropped",
)
"""The names, for parametrized tests: making the tokenizers takes seconds."""
