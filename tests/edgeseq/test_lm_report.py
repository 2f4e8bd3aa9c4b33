"""A report of next-word models speaks of words, not of sentences."""

from __future__ import annotations

from edgeseq.report.next_words import (
    against_caption,
    growth_caption,
    offered_shares,
    words_of,
)
from edgeseq.results import Predictions


def test_the_cost_of_a_word_is_lettered_as_such() -> None:
    assert "next word" in words_of("lm").title
    assert words_of("sentiment").title == "What a longer sentence costs"
    said = growth_caption("m", {1: 0.5, 64: 0.7, 512: 1.0}, 1 << 20)
    assert "takes 2 times as long" in said
    assert "behind 512 words as" in said
    assert "of which it sees the last 128," in growth_caption("m", {1: 0.5, 512: 1.0}, 128)


def test_a_transformer_is_held_against_an_lstm_at_the_same_contexts() -> None:
    lstm = {1: 1.0, 8: 1.0, 128: 1.0, 512: 1.0}
    said = against_caption(lstm, {1: 0.5, 8: 1.5, 128: 9.0})
    assert "0.5 times the fastest LSTM's behind 1 and 9 times behind 128 words" in said
    assert "From 8 words on the LSTM's is the cheaper one" in said
    assert "From" not in against_caption(lstm, {1: 2.0, 128: 9.0})
    assert against_caption(lstm, {1: 2.0}) == ""


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
