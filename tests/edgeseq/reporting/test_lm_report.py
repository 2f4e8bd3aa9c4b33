"""A report of next-word models speaks of words, not of sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from edgeseq.formats.result import LengthPoint
from edgeseq.reporting.charts.next_word_captions import (
    context_cost_caption,
    growth_caption,
    transformer_caption,
)
from edgeseq.reporting.rows import MeasuredModel, derive_row, read_groups
from edgeseq.reporting.run_statistics import top_k_shares
from edgeseq.reporting.sections import measured_examples
from edgeseq.tasks.examples import TextExample
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.registry import task_of

from ...fake_results import MODELS, Fake, FakeModel, make_result, write_result


def test_the_cost_of_a_word_is_lettered_as_such() -> None:
    assert "next word" in task_of("lm").length_chart.title
    assert task_of("sentiment").length_chart.title == "What a longer sentence costs"
    said = growth_caption("m", {1: 0.5, 64: 0.7, 512: 1.0}, 1 << 20)
    assert "takes m 2 times as long" in said
    assert "after 512 words takes" in said
    assert "(it sees the last 128)" in growth_caption("m", {1: 0.5, 512: 1.0}, 128)


def test_a_transformer_is_held_against_an_lstm_at_the_same_contexts() -> None:
    lstm = {1: 1.0, 8: 1.0, 128: 1.0, 512: 1.0}
    said = transformer_caption(lstm, {1: 0.5, 8: 1.5, 128: 9.0})
    assert "0.5 times the fastest LSTM's time after 1 words and 9 times after 128." in said
    assert "From 8 words on the LSTM is faster" in said
    assert "From" not in transformer_caption(lstm, {1: 2.0, 128: 9.0})
    assert "130 times after 128" in transformer_caption(lstm, {1: 2.0, 128: 130.0})
    assert transformer_caption(lstm, {1: 2.0}) == ""


def test_of_each_form_the_fastest_model_is_spoken_of() -> None:
    def entry(model: FakeModel, ms: dict[int, float]) -> MeasuredModel:
        result = make_result(Fake(models=(model,), n_queries=200, n_examples=50))
        points = tuple(LengthPoint(words, (round(one * 1e6),)) for words, one in ms.items())
        bundle = msgspec.structs.replace(result.runs[0].bundle, task="lm", max_tokens=128)
        run = msgspec.structs.replace(result.runs[0], lengths=points, bundle=bundle)
        return MeasuredModel(derive_row(result, result.runs[0]), run)

    bert, lstm = (next(one for one in MODELS if one.arch == arch) for arch in ("bert", "lstm"))
    flat, growing = {1: 0.5, 512: 0.5}, {1: 0.4, 512: 60.0}
    slow = {1: 1.0, 512: 2.0}
    again = replace(bert, name="again", lowering="encoder")
    said = context_cost_caption(
        [
            entry(replace(lstm, name="fast", lowering="loop"), flat),
            entry(replace(lstm, name="slow", lowering="loop"), slow),
            entry(again, growing),
            entry(replace(bert, name="kept", lowering="cached"), slow),
        ]
    )
    assert "takes fast 1 times as long" in said
    assert "slow" not in said
    assert "takes again 150 times as long" in said
    assert "0.8 times the fastest LSTM's time after 1 words and 120 times after 512" in said
    assert said.count("Every 64 words its KV cache is full") == 1


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
        top1_correct=(6, 4),
        top3_correct=(12, 8),
    )
    assert top_k_shares(found) == (0.25, 0.5)


def test_a_quick_run_is_held_against_the_first_documents_alone(tmp_path: Path) -> None:
    path = write_result(tmp_path / "result.json", Fake(n_examples=6, n_queries=200, quick=True))
    group = msgspec.structs.replace(read_groups([path])[0], task="lm")
    texts = [TextExample(str(number), "a text", "neutral") for number in range(60)]
    assert list(measured_examples(group, texts)) == texts[:6]
    assert list(measured_examples(msgspec.structs.replace(group, task="sentiment"), texts)) == texts
