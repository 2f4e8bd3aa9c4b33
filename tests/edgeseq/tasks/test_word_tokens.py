"""Words as tokens and windows, with a tokenizer made here."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from edgeseq.tasks.word_windows import WordEncoder, best_windows, windows, word_rows

PIECES = ("[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "##a", "##b", "##c", "ab", "##bc")


def make_tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


def random_words(draw: random.Random, count: int, longest: int = 6) -> list[str]:
    return ["".join(draw.choices("abc", k=draw.randint(1, longest))) for _ in range(count)]


def test_the_label_stands_at_a_words_first_piece() -> None:
    text = WordEncoder(make_tokenizer(), 32).encode(["ab", "cbc", "x"])
    assert text.windows == [[1, 9, 5, 10, 0, 2]]
    assert text.tokens == [1, 2, 4]
    assert text.inputs == [0, 0, 0]
    assert not text.cut_words
    assert not text.unknown_only


@pytest.mark.parametrize("room", [3, 4, 7, 16])
def test_windows_hold_every_word_as_the_whole_text_does(room: int) -> None:
    draw = random.Random(room)  # noqa: S311
    encoder, tokenizer = WordEncoder(make_tokenizer(), room + 2), make_tokenizer()
    for _ in range(40):
        words = random_words(draw, draw.randint(0, 40), longest=room)
        text = encoder.encode(words)
        assert all(0 < len(row) <= room + 2 for row in text.windows)
        assert all(row[0] == 1 and row[-1] == 2 for row in text.windows)
        assert len(text.tokens) == len(text.inputs) == len(words)
        for word, number, token in zip(words, text.inputs, text.tokens, strict=True):
            pieces = tokenizer.encode([word], is_pretokenized=True).ids[1:-1]
            assert text.windows[number][token : token + len(pieces)] == pieces


def test_a_text_without_words_and_words_without_tokens() -> None:
    encoder = WordEncoder(make_tokenizer(), 16)
    nothing = encoder.encode([])
    assert nothing.windows == [[1, 2]]
    assert nothing.tokens == []
    assert nothing.unknown_only
    control = encoder.encode(["a", "\u200b\u0007", "b"])
    assert control.tokens == [1, 2, 3]  # what vanishes reads as one unknown token
    assert control.windows == [[1, 3, 0, 4, 2]]
    assert word_rows([np.zeros((2, 3), np.float32)], nothing).shape == (0, 3)


def test_a_word_longer_than_the_model_is_cut_and_counted() -> None:
    text = WordEncoder(make_tokenizer(), 6).encode(["a", "c" * 30, "b"])
    assert text.cut_words == 1
    assert max(map(len, text.windows)) == 6
    assert [text.windows[n][t] for n, t in zip(text.inputs, text.tokens, strict=True)] == [3, 5, 4]


def test_ranges_cover_all_words_and_give_each_its_best_place() -> None:
    draw = random.Random(5)  # noqa: S311
    for _ in range(200):
        room = draw.randint(2, 20)
        lengths = [draw.randint(0, room) for _ in range(draw.randint(1, 80))]
        ranges = windows(lengths, room)
        assert ranges[0][0] == 0
        assert ranges[-1][1] == len(lengths)
        for (start, end), (after, _) in itertools.pairwise(ranges):
            assert start < after <= end
        assert all(end - start == 1 or sum(lengths[start:end]) <= room for start, end in ranges)
        chosen = best_windows(ranges, lengths)
        for word, number in enumerate(chosen):
            context = [
                min(
                    sum(lengths[start:word]) if start else 1e9,
                    sum(lengths[word + 1 : end]) if end < len(lengths) else 1e9,
                )
                for start, end in ranges
                if start <= word < end
            ]
            start, end = ranges[number]
            assert start <= word < end
            own = min(
                sum(lengths[start:word]) if start else 1e9,
                sum(lengths[word + 1 : end]) if end < len(lengths) else 1e9,
            )
            assert own == max(context)


def test_a_document_of_20000_words_keeps_them_all() -> None:
    words = random_words(random.Random(6), 20_000, longest=4)  # noqa: S311
    text = WordEncoder(make_tokenizer(), 128).encode(words)
    assert len(text.tokens) == 20_000
    assert text.cut_words == 0
    assert min(text.tokens) >= 1
    assert sorted(set(text.inputs)) == list(range(len(text.windows)))
    # A "model" that answers with the token itself shows that rows and words stay together.
    logits = [np.array(row, np.float32)[:, None] for row in text.windows]
    rows = word_rows(logits, text)[:, 0]
    firsts = {"a": 3.0, "b": 4.0, "c": 5.0}
    expected = [9.0 if word.startswith("ab") else firsts[word[0]] for word in words]
    assert rows.tolist() == expected
