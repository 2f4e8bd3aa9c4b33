"""Trimming an embedding table: the same answers to the last bit, and fewer rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer, models

from edgeseq.errors import CheckpointError
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.network import Network
from edgeseq_converters.models.network_layers import Dense, Embedding, Recurrent
from edgeseq_converters.models.reference import reference_logits
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.trim_recurrent import (
    trim_network,
    trim_network_and_tokenizer,
    trim_trained,
)

WORDS = ["kettle", "kettles", "boiling", "boiled", "unboiled", "handle", "handled", "lid", "lids"]
OTHERS = ["quartz waltz vexed jumbo fjord", "sphinx of black quartz judge my vow"]
sentences = st.lists(st.sampled_from([*WORDS, "lidkettle", "boil", "!"]), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def word_pieces() -> Tokenizer:
    trained = BertWordPieceTokenizer(lowercase=True)
    corpus = [" ".join(WORDS), *OTHERS] * 3
    trained.train_from_iterator(corpus, vocab_size=250, min_frequency=1, show_progress=False)
    return Tokenizer.from_str(trained.to_str())


def make_network(make: Any, rows: int, *, mask_zero: bool = False) -> Network:
    network = network_of(make.lstm(vocabulary=rows, hidden=7, embedding=5))
    embedding = Embedding("embedding", network.embedding.table, mask_zero=mask_zero)
    return Network(network.name, embedding, network.layers)


def test_the_same_answers_to_every_text_of_kept_tokens(make: Any, word_pieces: Tokenizer) -> None:
    network = make_network(make, word_pieces.get_vocab_size() + 3)

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(corpus=st.lists(sentences, min_size=1, max_size=5), other=sentences)
    def run(corpus: list[list[str]], other: list[str]) -> None:
        texts = [" ".join(words) for words in corpus]
        trimmed = trim_network_and_tokenizer(network, word_pieces.to_str(), texts)
        assert trimmed.tokenizer_json is not None
        small = Tokenizer.from_str(trimmed.tokenizer_json)
        assert small.get_vocab_size() == trimmed.rows_after < trimmed.rows_before
        assert trimmed.saved_bytes == 20 * (trimmed.rows_before - trimmed.rows_after)
        texts.append(" ".join(other))
        for text in texts:
            before, after = word_pieces.encode(text), small.encode(text)
            if not set(before.ids) <= set(trimmed.kept_ids.tolist()):
                continue
            assert after.tokens == before.tokens
            assert after.ids == trimmed.renumber(before.ids)
            np.testing.assert_array_equal(
                answers(trimmed.network, [after.ids])[0], answers(network, [before.ids])[0]
            )

    run()


def test_a_dropped_word_is_spelt_and_never_unknown(make: Any, word_pieces: Tokenizer) -> None:
    network = make_network(make, word_pieces.get_vocab_size())
    trimmed = trim_network_and_tokenizer(network, word_pieces.to_str(), ["a lid"])
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    assert small.encode("sphinx").tokens != word_pieces.encode("sphinx").tokens
    assert "[UNK]" not in small.encode("sphinx").tokens


def test_words_keep_padding_at_0(make: Any) -> None:
    """A vocabulary as Keras' TextVectorization has it: 0 is padding and 1 the unknown word."""
    vocabulary = {"[UNK]": 1, **{word: number for number, word in enumerate(WORDS, start=4)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    network = make_network(make, 20, mask_zero=True)
    texts = ["lid kettle", "boiled lid whatever"]
    trimmed = trim_network_and_tokenizer(network, tokenizer.to_str(), texts)
    assert trimmed.kept_ids.tolist() == [0, 1, 4, 7, 11]
    assert trimmed.rows_before == 20
    small = Tokenizer.from_str(trimmed.tokenizer_json)
    for text in texts:
        before, after = tokenizer.encode(text).ids, small.encode(text).ids
        for padding in ([], [0, 0]):
            np.testing.assert_array_equal(
                answers(trimmed.network, [after + padding])[0],
                answers(network, [before + padding])[0],
            )
    assert small.encode("lids").tokens == ["[UNK]"]


def test_ids_alone(make: Any) -> None:
    network = make_network(make, 30, mask_zero=True)
    trimmed = trim_network(network, [[3, 29, 7], [7, 7]], always_kept=(1,))
    assert trimmed.kept_ids.tolist() == [0, 1, 3, 7, 29]
    assert trimmed.new_ids[[0, 1, 3, 7, 29]].tolist() == [0, 1, 2, 3, 4]
    assert (trimmed.new_ids >= 0).sum() == trimmed.rows_after == 5
    text = [29, 3, 3, 7]
    np.testing.assert_array_equal(
        answers(trimmed.network, [trimmed.renumber(text)])[0], answers(network, [text])[0]
    )
    assert trimmed.renumber([]) == []
    with pytest.raises(CheckpointError, match="trimmed away: found id 5"):
        trimmed.renumber([3, 5])
    with pytest.raises(CheckpointError, match="beyond its embedding table: found id 30"):
        trim_network(network, [[30]])
    with pytest.raises(CheckpointError, match="found id -1"):
        trim_network(network, [[-1]])
    with pytest.raises(CheckpointError, match="no tokens left"):
        trim_network(make_network(make, 30), [])


def test_a_language_model_keeps_its_words() -> None:
    """The output has a number a word, also for words that no longer have a row."""
    rng = np.random.default_rng(0)
    layers = network_layers(rng)
    network = Network("words", Embedding("embedding", draw(rng, 12, 4)), layers)
    trimmed = trim_network(network, [[2, 5]])
    assert trimmed.network.outputs == network.outputs == 12


def network_layers(rng: np.random.Generator) -> tuple[Recurrent, Dense]:
    from edgeseq_converters.models.network_layers import Cell

    cell = Cell("lstm", draw(rng, 4, 12), draw(rng, 3, 12), draw(rng, 12))
    return Recurrent("lstm", cell), Dense("dense", draw(rng, 3, 12), draw(rng, 12), "softmax")


def draw(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32)


def test_a_trained_model(make: Any) -> None:
    model = make.lstm()
    texts = ["the teapot was lovely", "this engine is never clean"]
    trimmed = trim_trained(model, texts)
    assert trimmed.manifest.lstm is not None
    assert trimmed.manifest.lstm.vocabulary_size == len(trimmed.weights["embedding.weight"]) < 20
    full, small = (Tokenizer.from_str(one.tokenizer_json) for one in (model, trimmed))
    np.testing.assert_array_equal(
        reference_logits(trimmed, [small.encode(text).ids for text in texts]),
        reference_logits(model, [full.encode(text).ids for text in texts]),
    )


def test_refusals(make: Any, word_pieces: Tokenizer) -> None:
    network = make_network(make, 30)
    unigram = Tokenizer(models.Unigram([("a", -1.0), ("b", -2.0)], unk_id=0))
    with pytest.raises(CheckpointError, match=r"only a WordPiece or BPE .*found Unigram"):
        trim_network_and_tokenizer(network, unigram.to_str(), ["ab"])
    with pytest.raises(CheckpointError, match="beyond its embedding table"):
        trim_network_and_tokenizer(network, word_pieces.to_str(), ["a lid"])
    content = json.loads(word_pieces.to_str())
    content["model"]["vocab"]["kettle"] = content["model"]["vocab"]["lid"]
    with pytest.raises(CheckpointError, match="two tokens share an id"):
        trim_network_and_tokenizer(network, json.dumps(content), ["a lid"])
    for damaged in ("{", '{"model": {"type": "WordPiece"}}'):
        with pytest.raises(CheckpointError, match="is not a tokenizer"):
            trim_network_and_tokenizer(network, damaged, ["a lid"])
