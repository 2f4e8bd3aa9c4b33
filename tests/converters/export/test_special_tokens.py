"""The special tokens around a text, whatever the vocabulary holds."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, processors

from edgeseq_converters.export.special_tokens import ids_around_text

VOCABULARY = {"[CLS]": 5, "[SEP]": 6, "b": 7}


def without_a_letter() -> Any:
    """A vocabulary in which the letter "a" is no token, and none for unknown words."""
    return Tokenizer(models.BPE(vocab=VOCABULARY, merges=[]))


def without_an_unknown_token() -> Any:
    return Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))


def with_a_removed_letter() -> Any:
    tokenizer = Tokenizer(models.WordLevel({**VOCABULARY, "[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Replace("a", "")
    return tokenizer


@pytest.mark.parametrize(
    "make", [without_a_letter, without_an_unknown_token, with_a_removed_letter]
)
def test_they_are_found_in_every_vocabulary(make: Any) -> None:
    tokenizer = make()
    assert ids_around_text(tokenizer) == ((), ())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP] [SEP]", special_tokens=[("[CLS]", 5), ("[SEP]", 6)]
    )
    assert ids_around_text(tokenizer) == ((5,), (6, 6))
    assert tokenizer.encode("b").ids == [5, 7, 6, 6]
    assert tokenizer.get_vocab_size() in (3, 4)
