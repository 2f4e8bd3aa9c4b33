"""Trimming a WordPiece vocabulary: same splits, new ids, nothing newly unknown."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer, Tokenizer, models
from tokenizers.processors import TemplateProcessing

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.vocabulary import trim_pieces

WORDS = ["kettle", "kettles", "boiling", "boiled", "unboiled", "handle", "handled", "lid", "lids"]


def sentences(count: int, *, seed: int) -> list[str]:
    rng = random.Random(seed)  # noqa: S311
    return [" ".join(rng.choices(WORDS, k=6)) + "!" for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    trained = BertWordPieceTokenizer(lowercase=True)
    others = ["quartz waltz vexed jumbo fjord", "sphinx of black quartz judge my vow"]
    trained.train_from_iterator(
        [*sentences(50, seed=0), *others * 3], vocab_size=300, min_frequency=1, show_progress=False
    )
    return Tokenizer.from_str(trained.to_str())


@pytest.mark.parametrize("template", [False, True])
def test_seen_texts_are_split_as_before(tokenizer: Tokenizer, template: bool) -> None:
    full = Tokenizer.from_str(tokenizer.to_str())
    if template:
        full.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            special_tokens=[(t, full.token_to_id(t)) for t in ("[CLS]", "[SEP]")],
        )
    full.enable_truncation(4)
    full.enable_padding()
    corpus = sentences(20, seed=1)
    trimmed = trim_pieces(full.to_str(), corpus)
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    full.no_truncation()
    full.no_padding()
    assert small.get_vocab_size() == len(trimmed.kept_ids) < full.get_vocab_size()
    assert small.truncation is None
    assert small.padding is None
    for text in corpus:
        before, after = full.encode(text), small.encode(text)
        assert after.tokens == before.tokens
        np.testing.assert_array_equal(trimmed.kept_ids[after.ids], before.ids)


def test_whatever_could_be_spelt_still_can(tokenizer: Tokenizer) -> None:
    small = Tokenizer.from_str(trim_pieces(tokenizer.to_str(), ["a lid"]).tokenizer_json)
    for text in ("sphinx quartz", "unboiled fjord", "zzz", "jumbo!"):
        known = "[UNK]" not in tokenizer.encode(text).tokens
        assert ("[UNK]" not in small.encode(text).tokens) == known
    assert small.encode("sphinx").tokens != tokenizer.encode("sphinx").tokens


def test_rare_pieces_leave_with_min_count(tokenizer: Tokenizer) -> None:
    texts = ["kettle kettle kettle lid"]
    once, twice = (trim_pieces(tokenizer.to_str(), texts, min_count=n) for n in (1, 2))
    assert set(twice.kept_ids) < set(once.kept_ids)
    assert tokenizer.token_to_id("kettle") in twice.kept_ids


def test_order_and_special_tokens_stay(tokenizer: Tokenizer) -> None:
    trimmed = trim_pieces(tokenizer.to_str(), ["lid"])
    assert list(trimmed.kept_ids) == sorted(trimmed.kept_ids)
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"):
        old = tokenizer.token_to_id(token)
        assert trimmed.kept_ids[small.token_to_id(token)] == old


def test_refuses_other_tokenizers() -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(CheckpointError, match="found WordLevel, expected WordPiece or BPE"):
        trim_pieces(words.to_str(), ["a"])


def test_refuses_gaps(tokenizer: Tokenizer) -> None:
    content = json.loads(tokenizer.to_str())
    content["model"]["vocab"]["late"] = 100_000
    with pytest.raises(CheckpointError, match="without gaps"):
        trim_pieces(json.dumps(content), ["a"])
