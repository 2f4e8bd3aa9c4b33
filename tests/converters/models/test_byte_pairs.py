"""Trimming a byte-level BPE: same splits, new ids, merges cut with the vocabulary."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.trim_recurrent import trim_network_and_tokenizer
from edgeseq_converters.models.vocabulary import trim_pieces, trim_tokenizer

CORPUS = [
    "the lower the newer lowest news of the widest winter, and the lowering of the winds",
    "newest wider lower low slow slower slowest flow flower flowers; it's (never) the same!",
    "a café of naïve 中文 writers — wrote “new” things in 1999, 2,000 times…",
] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """As RoBERTa has it."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        show_progress=False,
    )
    made.train_from_iterator(CORPUS, trainer)
    made.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    ends = [(token, made.token_to_id(token)) for token in ("</s>", "<s>")]
    made.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return made


def check(tokenizer: Tokenizer, texts: list[str], trimmed: Any) -> Tokenizer:
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    for text in texts:
        before, after = tokenizer.encode(text), small.encode(text)
        assert before.tokens == after.tokens
        assert trimmed.kept_ids[after.ids].tolist() == before.ids
    return small


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    texts=st.lists(
        st.one_of(
            st.lists(st.sampled_from(" ".join(CORPUS).split()), max_size=6).map(" ".join),
            st.text(max_size=12),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_texts_are_split_as_before(tokenizer: Tokenizer, texts: list[str]) -> None:
    trimmed = trim_tokenizer(tokenizer.to_str(), texts)
    small = check(tokenizer, texts, trimmed)
    assert small.get_vocab_size() == trimmed.kept_ids.size < tokenizer.get_vocab_size()


def test_nothing_becomes_unknown(tokenizer: Tokenizer) -> None:
    trimmed = trim_tokenizer(tokenizer.to_str(), ["the lowest"])
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    for text in ("flowers and 中文", "\x00\x7f é", "never <mask> wider"):
        assert small.decode(small.encode(text).ids, skip_special_tokens=False) == tokenizer.decode(
            tokenizer.encode(text).ids, skip_special_tokens=False
        )


def test_bytes_that_spell_unknown_characters_stay() -> None:
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {"a": 256, "b": 257, "ab": 258}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b")], byte_fallback=True))
    trimmed = trim_tokenizer(tokenizer.to_str(), ["a"])
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    assert small.encode("é").tokens == tokenizer.encode("é").tokens == ["<0xC3>", "<0xA9>"]
    assert trimmed.kept_ids.tolist() == list(range(258))


def test_old_merges_are_written_as_they_were(tokenizer: Tokenizer) -> None:
    content = json.loads(tokenizer.to_str())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    trimmed = trim_pieces(json.dumps(content), ["the lowest flower"])
    check(tokenizer, ["the lowest flower"], trimmed)
    merges = json.loads(trimmed.tokenizer_json)["model"]["merges"]
    assert merges
    assert all(isinstance(merge, str) for merge in merges)
    assert len(merges) < len(content["model"]["merges"])


def test_rare_pieces_are_dropped_and_spelled(tokenizer: Tokenizer) -> None:
    once = trim_tokenizer(tokenizer.to_str(), ["lower lower newest"])
    twice = trim_tokenizer(tokenizer.to_str(), ["lower lower newest"], min_count=2)
    assert twice.kept_ids.size < once.kept_ids.size
    small = Tokenizer.from_str(twice.tokenizer_json)
    assert small.decode(small.encode("newest").ids) == "newest"


def test_a_network_answers_as_before(tokenizer: Tokenizer, make: Any) -> None:
    network = make.network(vocabulary=tokenizer.get_vocab_size())
    trimmed = trim_network_and_tokenizer(network, tokenizer.to_str(), CORPUS[:1])
    small = Tokenizer.from_str(trimmed.tokenizer_json or "")
    np.testing.assert_array_equal(
        answers(trimmed.network, [small.encode(CORPUS[0]).ids]),
        answers(network, [tokenizer.encode(CORPUS[0]).ids]),
    )
    assert trimmed.rows_after < trimmed.rows_before


SUFFIX = models.BPE({"a": 0, "b</w>": 1, "ab</w>": 2}, [("a", "b</w>")], end_of_word_suffix="</w>")
PREFIX = models.BPE({"a": 0, "##b": 1, "ab": 2}, [("a", "##b")], continuing_subword_prefix="##")


@pytest.mark.parametrize(
    ("model", "message"),
    [(SUFFIX, "found end_of_word_suffix </w>"), (PREFIX, "found continuing_subword_prefix ##")],
)
def test_places_in_words_are_refused(model: models.BPE, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        trim_tokenizer(Tokenizer(model).to_str(), ["ab"])
