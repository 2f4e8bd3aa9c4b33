"""A report of next-word models speaks of words, not of sentences."""

from __future__ import annotations

from edgeseq.report.next_words import growth_caption, offered_shares, words_of
from edgeseq.results import Predictions


def test_the_cost_of_a_word_is_lettered_as_such() -> None:
    assert "next word" in words_of("lm").title
    assert words_of("sentiment").title == "What a longer sentence costs"
    assert "takes 2 times as long" in growth_caption("m", {1: 0.5, 64: 0.7, 512: 1.0})
    assert "behind 512 words" in growth_caption("m", {1: 0.5, 64: 0.7, 512: 1.0})


def test_shares_of_offered_words_are_over_all_words() -> None:
    found = Predictions(
        gold=(),
        predicted=(),
        sources=("", ""),
        truncated=0,
        unknown_only=0,
        examples_sha256="0",
        counts=(30, 10),
        log_probabilities=(-100.0, -30.0),
        first=(6, 4),
        among_three=(12, 8),
    )
    assert offered_shares(found) == (0.25, 0.5)
