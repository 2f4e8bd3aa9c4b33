"""The map of winners agrees with the verdict under every limit; its names stand clear of marks."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.reporting.boundary import boundary_sentence, winner_map
from edgeseq.reporting.budgets import Budget
from edgeseq.reporting.charts.winner_chart import MARK_RADIUS_PX, clear_middle
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.verdict import decide

from .test_verdict import MB, gaps, row


def _random_rows(seed: int) -> list[ReportRow]:
    """A dozen rows with ties, and some that cannot ship."""
    rng = np.random.default_rng(seed)
    rows = [
        row(
            f"{arch}-{number}",
            0.6 + 0.01 * int(rng.integers(0, 30)),
            float(rng.integers(1, 8)),
            float(rng.integers(50, 60)),
        )
        for number in range(6)
        for arch in ("lstm", "bert")
    ]
    if seed % 3 == 0:
        rows[2] = msgspec.structs.replace(rows[2], valid=False)
        rows[3] = msgspec.structs.replace(rows[3], score=None)
    if seed % 5 == 1:
        rows[4] = msgspec.structs.replace(rows[4], p95_ms=None)
    return rows


@pytest.mark.parametrize("seed", range(30))
def test_the_map_is_the_verdict_under_every_limit(seed: int) -> None:
    rows = _random_rows(seed)
    budget = Budget(drop_points=5, size_bytes=29 * MB if seed % 4 == 0 else None)
    between = gaps(rows, 5, noise=0.3)
    winners = winner_map(rows, budget, between)
    for i, memory in enumerate(winners.memory_bytes):
        for j, p95 in enumerate(winners.p95_ms):
            limits = msgspec.structs.replace(budget, memory_bytes=memory, p95_ms=p95)
            assert winners.winners[i][j] == decide(rows, limits, between).winner, (memory, p95)
    assert boundary_sentence(rows, winners).endswith((".", "each."))


def test_a_map_of_200_models_asks_for_few_paired_tests() -> None:
    rng = np.random.default_rng(1)
    rows = [
        row(
            f"{'lstm' if number % 2 else 'bert'}-{number}",
            float(rng.uniform(0.6, 0.9)),
            float(rng.uniform(0.1, 20)),
            float(rng.uniform(10, 100)),
        )
        for number in range(200)
    ]
    between, asked = gaps(rows), []
    winners = winner_map(
        rows, Budget(), lambda best, other: (asked.append((best, other)), between(best, other))[1]
    )
    assert len(winners.memory_bytes) == len(winners.p95_ms) == 200
    assert len(set(asked)) < 2_000


def test_corners_that_print_the_same_memory_are_one() -> None:
    rows = [
        row("bert-a", 0.9, 9.0, 49.41),
        row("bert-b", 0.9, 2.0, 49.43),
        row("lstm-a", 0.7, 0.5, 20.0),
    ]
    sentence = boundary_sentence(rows, winner_map(rows, Budget(), gaps(rows)))
    assert sentence == (
        "Ship a BERT if you can spare 49.4 MB and a p95 of 2.00 ms (+20.0 points). "
        "Below that ship an LSTM, down to 20.0 MB and a p95 of 0.500 ms. Nothing fits below."
    )


def test_steps_that_print_the_same_limit_are_one() -> None:
    # The BERT is faster than the LSTM that wins with more memory: neither region is closed upward.
    rows = [
        row("bert-a", 0.80, 1.0, 49.41),
        row("lstm-a", 0.85, 3.0, 49.43),
        row("bert-b", 0.90, 2.0, 70.0),
    ]
    sentence = boundary_sentence(rows, winner_map(rows, Budget(), gaps(rows)))
    assert sentence.count("49.4 MB") == 1


def test_a_name_moves_no_further_than_it_must() -> None:
    assert clear_middle(0, 100, 14, []) == 50
    assert clear_middle(0, 100, 14, [80]) == 50
    assert clear_middle(0, 100, 14, [50]) == 50 + 14 / 2 + MARK_RADIUS_PX
    assert clear_middle(0, 100, 14, [52]) == 52 - 14 / 2 - MARK_RADIUS_PX
    # Nowhere is room: it stays where it would be without marks.
    assert clear_middle(0, 30, 14, [5, 15, 25]) == 15


@given(
    high=st.floats(20, 340),
    height=st.sampled_from([14, 28]),
    marks=st.lists(st.floats(0, 340), max_size=8),
)
def test_a_name_stays_in_its_rectangle_and_clear(
    high: float, height: float, marks: list[float]
) -> None:
    middle = clear_middle(0, high, height, marks)
    if middle != high / 2:
        assert height / 2 <= middle <= high - height / 2
        assert all(abs(middle - mark) >= height / 2 + MARK_RADIUS_PX for mark in marks)


def test_three_architectures_are_told_along_each_axis() -> None:
    bag = msgspec.structs.replace(row("lstm-bag", 0.68, 0.05, 9.0), arch="bag", bundle="bag")
    rows = [row("bert-a", 0.80, 9.0, 30.0), row("lstm-a", 0.72, 0.5, 12.0), bag]
    sentence = boundary_sentence(rows, winner_map(rows, Budget(), gaps(rows)))
    assert sentence == (
        "With any latency: a bag of embeddings from 9.00 MB, an LSTM from 12.0 MB, a BERT from "
        "30.0 MB. With any memory: a bag of embeddings from 0.050 ms, an LSTM from 0.500 ms, a "
        "BERT from 9.00 ms."
    )


def test_architectures_that_never_win_are_named() -> None:
    bag = msgspec.structs.replace(row("lstm-bag", 0.68, 0.5, 40.0), arch="bag", bundle="bag")
    rows = [row("bert-a", 0.80, 0.2, 30.0), row("lstm-a", 0.72, 0.5, 32.0), bag]
    sentence = boundary_sentence(rows, winner_map(rows, Budget(), gaps(rows)))
    assert sentence.endswith("No limit makes a bag of embeddings or an LSTM the better choice.")
