"""A device reads marked texts as the training did: a long one loses no mention."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from edgeseq.runtime.text_tokenizer import TextTokenizer
from edgeseq.tasks.mentions import MARKERS, encode_marked, marker_ids

WORDS = {
    "[PAD]": 0,
    "[UNK]": 1,
    "[CLS]": 2,
    "[SEP]": 3,
    "word": 10,
    "Ada": 11,
    "Eve": 12,
    "she": 13,
}
TEXT = "word word [A] Ada [/A] word [B] Eve [/B] [P] she [/P] word word"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    vocabulary = WORDS | {marker: number for number, marker in enumerate(MARKERS, start=4)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(list(MARKERS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_short_and_long_texts(path: Path) -> None:
    encoder = TextTokenizer.from_file(str(path), 14)
    ids = [2, 10, 6, 11, 7, 10, 8, 12, 9, 4, 13, 5, 10, 3]
    found = encoder.encode(TEXT)
    assert found == (ids, True, False)
    assert encoder.token_ids(TEXT) == ids
    whole = TextTokenizer.from_file(str(path), 64).encode(TEXT)
    assert (len(whole.token_ids), whole.truncated) == (16, False)
    plain = Tokenizer.from_file(str(path))
    assert marker_ids(plain) == (4, 5, 6, 7, 8, 9)
    assert list(encode_marked(plain, TEXT, 14).ids) == ids


def test_an_exact_length_does_not_change_what_follows(path: Path) -> None:
    encoder = TextTokenizer.from_file(str(path), 14)
    assert encoder.encode_exact(TEXT, 5) == [2, 10, 10, 6, 3]
    assert encoder.encode(TEXT).token_ids[9] == 4
    assert encoder.encode_exact("word", 5) is None


def test_mentions_that_are_too_long_are_cut_and_said(path: Path) -> None:
    found = TextTokenizer.from_file(str(path), 6).encode(TEXT)
    assert (len(found.token_ids), found.truncated) == (6, True)
