"""What ships, and why everything else does not, over rows made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from edgeseq.reporting.boundary import boundary_sentence, winner_map
from edgeseq.reporting.budgets import Budget, parse_budget
from edgeseq.reporting.rows import ReportRow
from edgeseq.reporting.score_gaps import ScoreGap
from edgeseq.reporting.verdict import (
    Verdict,
    by_cost,
    cost_reason,
    decide,
    nearest_miss,
    worse_reason,
)

MB = 1_000_000


def row(
    name: str, score: float | None, p95_ms: float | None, memory_mb: float, **other: object
) -> ReportRow:
    made = ReportRow(
        bundle=name,
        task="sentiment",
        arch="lstm" if name.startswith("lstm") else "bert",
        runner="python",
        recipe="float32",
        lowering="loop" if name.startswith("lstm") else "encoder",
        device="board",
        threads=1,
        parameters=1_000,
        size_bytes=int(memory_mb * MB / 2),
        metric="accuracy",
        score=score,
        score_ci95=None if score is None else (score - 0.01, score + 0.01),
        n_examples=1_000,
        p50_ms=None if p95_ms is None else p95_ms / 2,
        p95_ms=p95_ms,
        cold_start_ms=100.0,
        peak_memory_bytes=int(memory_mb * MB) - 40 * MB,
        peak_process_bytes=int(memory_mb * MB),
        valid=True,
        invalid_reasons=(),
    )
    return msgspec.structs.replace(made, **other)


BERT = row("bert-float32", 0.80, 18.0, 143)
SMALL_BERT = row("bert-int8", 0.795, 10.0, 84)
LSTM = row("lstm-float32", 0.728, 0.6, 58)
SMALL_LSTM = row("lstm-int8", 0.725, 0.4, 54)
ROWS = (BERT, SMALL_BERT, LSTM, SMALL_LSTM)


def gaps(
    rows: Sequence[ReportRow], allowed: float = 1.0, *, noise: float = 0.3
) -> Callable[[str, str], ScoreGap]:
    """Gaps as if `noise` points more could not be ruled out."""
    scores = {one.bundle: one.score or 0.0 for one in rows}

    def between(best: str, other: str) -> ScoreGap:
        points = 100 * (scores[best] - scores[other])
        return ScoreGap(points, points + noise, points + noise < allowed)

    return between


def verdict(text: str, rows: Sequence[ReportRow] = ROWS, *, noise: float = 0.3) -> Verdict:
    budget = parse_budget(text)
    return decide(rows, budget, gaps(rows, budget.drop_points, noise=noise))


def reasons(found: Verdict, name: str) -> tuple[str, ...]:
    return next(refusal.reasons for refusal in found.refused if refusal.bundle == name)


def test_without_limits_the_cheapest_that_is_not_worse_ships() -> None:
    found = verdict("")
    assert found.winner == "bert-int8"
    assert found.best == "bert-float32"
    assert "79.5 % against 80.0 % for bert-float32" in found.reason
    assert "no limits" not in found.reason
    assert len(found.refused) == 3


def test_the_best_ships_when_nothing_cheaper_is_close() -> None:
    found = verdict("drop=0.4")
    assert found.winner == found.best == "bert-float32"
    assert "best score" in found.reason


def test_a_difference_that_cannot_be_ruled_out_is_not_granted() -> None:
    found = verdict("", noise=0.9)
    assert found.winner == "bert-float32"
    assert reasons(found, "bert-int8") == (
        "accuracy 79.5 % is 0.5 points below bert-float32 (80.0 %) and could be 1.4 points below; "
        "1 allowed",
    )


def test_memory_makes_the_lstm_win_and_says_both_numbers() -> None:
    found = verdict("memory=64MB p95=20ms")
    assert found.winner == "lstm-int8"
    assert reasons(found, "bert-int8") == ("peak memory 84.0 MB > 64 MB",)
    assert reasons(found, "bert-float32") == ("peak memory 143 MB > 64 MB",)
    assert reasons(found, "lstm-float32") == (
        "within the margin, but costs more: p95 0.600 ms > 0.400 ms, peak memory "
        "58.0 MB > 54.0 MB, size 29.0 MB > 27.0 MB",
    )
    assert "memory ≤ 64 MB, p95 latency ≤ 20 ms" in found.reason


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("p95=9ms", "p95 latency 10.0 ms > 9 ms"),
        ("p50=4ms", "median latency 5.00 ms > 4 ms"),
        ("size=30MB", "size 42.0 MB > 30 MB"),
        ("cold_start=99ms", "cold start 100 ms > 99 ms"),
        ("model_memory=40MB", "model memory 44.0 MB > 40 MB"),
        ("memory=83MB", "peak memory 84.0 MB > 83 MB"),
    ],
)
def test_each_limit_refuses_with_both_numbers(limit: str, said: str) -> None:
    assert said in reasons(verdict(limit), "bert-int8")


def test_a_value_equal_to_its_limit_is_within_it() -> None:
    assert verdict("memory=84MB p95=10ms").winner == "bert-int8"


@pytest.mark.parametrize(
    ("limits", "at_most_ms", "doubt"),
    [
        ("p95=0.41ms", 0.43, "may truly be up to 0.430 ms (99 % confidence), above the limit"),
        ("p95=0.41ms", None, "may be above the limit, because too few queries were measured"),
        ("p95=0.43ms", 0.43, ""),
        ("memory=60MB", 0.43, ""),
    ],
)
def test_a_limit_within_an_interval_is_said_to_be_doubtful(
    limits: str, at_most_ms: float | None, doubt: str
) -> None:
    lstm = msgspec.structs.replace(
        SMALL_LSTM,
        p95_ms_ci95=(0.39, 0.408),
        p95_at_most_ms=at_most_ms,
        working_memory_bytes=54 * MB,
    )
    found = verdict(limits, [lstm])
    assert found.winner == lstm.bundle
    sentence = (
        f"Its p95 latency of 0.400 ms keeps the limit, but {doubt}: "
        "measure again without --quick to be sure."
    )
    assert found.proof == (sentence if doubt else "")
    assert found.doubts == (("p95",) if doubt else ())
    assert found.headline == ("lstm-int8 may not fit" if doubt else "Ship lstm-int8")


def test_beside_a_doubtful_model_stands_the_cheapest_that_is_certain() -> None:
    near, certain, worse = (
        row("lstm-near", 0.725, 0.40, 54, p95_ms_ci95=(0.39, 0.42), p95_at_most_ms=0.43),
        row("lstm-certain", 0.726, 0.30, 80, p95_ms_ci95=(0.29, 0.31), p95_at_most_ms=0.32),
        row("lstm-worse", 0.60, 0.10, 20, p95_ms_ci95=(0.09, 0.11), p95_at_most_ms=0.12),
    )
    found = verdict("p95=0.41ms", [near, certain, worse])
    assert (found.winner, found.certain) == ("lstm-near", "lstm-certain")
    assert found.proof.endswith(
        "lstm-certain keeps every limit by more than the measuring error, at a higher cost."
    )
    assert verdict("p95=0.41ms", [near, worse]).certain is None
    assert verdict("p95=0.5ms", [near, certain]).certain is None


def test_every_reason_is_given_not_only_the_first() -> None:
    found = verdict("memory=50MB p95=1ms")
    assert found.winner is None
    assert len(reasons(found, "bert-float32")) == 2


def test_nothing_fits_and_the_nearest_miss_is_named() -> None:
    found = verdict("memory=50MB")
    assert found.winner is None
    assert found.nearest_miss == "lstm-int8 at 1.1 times the limit (peak memory 54.0 MB > 50 MB)"
    assert found.reason == (
        "No model fits memory ≤ 50 MB. The nearest miss is lstm-int8 "
        "at 1.1 times the limit (peak memory 54.0 MB > 50 MB)."
    )
    assert len(found.refused) == 4


def test_the_nearest_miss_is_the_smallest_factor_over_any_limit() -> None:
    budget = parse_budget("memory=50MB p95=0.1ms")
    # 0.4 ms is four times its limit; the BERT is 1.7 times over memory, but 100 over latency.
    assert (nearest_miss(ROWS, budget) or "").startswith("lstm-int8")


def test_invalid_rows_never_ship_and_say_why() -> None:
    bad = msgspec.structs.replace(
        SMALL_LSTM, valid=False, invalid_reasons=("the board throttled: cool it; measure again",)
    )
    found = verdict("memory=64MB", (BERT, SMALL_BERT, LSTM, bad))
    assert found.winner == "lstm-float32"
    assert reasons(found, "lstm-int8") == ("not valid: the board throttled",)


def test_when_no_row_is_valid_nothing_ships() -> None:
    rows = [msgspec.structs.replace(one, valid=False, invalid_reasons=("x",)) for one in ROWS]
    found = verdict("", rows)
    assert found.winner is None
    assert found.reason == "No measurement is valid, so nothing can be recommended."
    assert found.nearest_miss is None


def test_a_row_without_a_score_is_refused() -> None:
    unknown = msgspec.structs.replace(SMALL_LSTM, score=None, score_ci95=None)
    found = verdict("memory=64MB", (LSTM, unknown))
    assert found.winner == "lstm-float32"
    assert reasons(found, "lstm-int8") == ("accuracy was not measured",)
    nothing = verdict("", (unknown,))
    assert nothing.winner is None
    assert "No valid measurement includes accuracy" in nothing.reason


def test_a_limit_on_something_not_measured_refuses() -> None:
    emulated = msgspec.structs.replace(LSTM, p95_ms=None, p50_ms=None)
    found = verdict("p95=20ms", (emulated,))
    assert found.winner is None
    assert reasons(found, "lstm-float32") == ("p95 latency was not measured",)
    assert verdict("", (emulated,)).winner == "lstm-float32"


def test_no_row_at_all() -> None:
    found = verdict("", ())
    assert found.winner is None
    assert found.reason == "Nothing was measured."


def test_one_row_ships_alone() -> None:
    found = verdict("", (LSTM,))
    assert found.winner == "lstm-float32"
    assert found.refused == ()


def test_equal_scores_are_decided_by_cost() -> None:
    twin = msgspec.structs.replace(BERT, bundle="bert-twin", p95_ms=17.0)
    found = verdict("drop=0", (BERT, twin))
    assert found.winner == "bert-twin"
    same = msgspec.structs.replace(BERT, bundle="bert-a-twin")
    assert verdict("drop=0", (BERT, same)).winner == "bert-a-twin"


def test_cost_is_a_mean_of_ratios_not_of_units() -> None:
    slow_small = row("lstm-a", 0.7, 4.0, 50)
    fast_big = row("lstm-b", 0.7, 1.0, 90)
    # Four times as slow weighs more than 1.8 times the memory and 1.8 times the size: 4 > 3.24.
    assert by_cost([slow_small, fast_big]) == ["lstm-b", "lstm-a"]


def sentence(rows: Sequence[ReportRow], text: str = "") -> str:
    budget = parse_budget(text)
    return boundary_sentence(rows, winner_map(rows, budget, gaps(rows, budget.drop_points)))


def test_the_boundary_says_where_each_architecture_wins() -> None:
    said = sentence(ROWS)
    assert said == (
        "Ship a BERT if you can spare 84.0 MB and a p95 of 10.0 ms (+7.0 points). Below that ship "
        "an LSTM, down to 54.0 MB and a p95 of 0.400 ms. Nothing fits below."
    )


@pytest.mark.parametrize(
    ("ends_ms", "corners"), [((9.2, 9.6), 2), ((9.2, 10.3), 1), ((9.2, None), 1)]
)
def test_a_corner_that_is_noise_is_not_named(
    ends_ms: tuple[float, float | None], corners: int
) -> None:
    larger = row("bert-int8-b", 0.795, 9.5, 90, p95_ms_ci95=ends_ms)
    said = sentence((*ROWS, larger))
    assert said.startswith("Ship a BERT if you can spare 84.0 MB and a p95 of 10.0 ms")
    assert ("or 90.0 MB and 9.50 ms" in said) == (corners == 2)


def test_what_looks_the_same_in_print_is_no_reason() -> None:
    winner = row("bert-a", 0.8, 3.4951, 76)
    other = row("bert-b", 0.8, 3.4999, 92)
    assert cost_reason(winner, other).startswith("within the margin, but costs more: peak")


def test_the_boundary_of_one_architecture() -> None:
    assert sentence((LSTM, SMALL_LSTM)) == (
        "Ship an LSTM if you can spare 54.0 MB and a p95 of 0.400 ms. Nothing fits below."
    )


def test_an_architecture_that_never_wins_is_named() -> None:
    poor = msgspec.structs.replace(BERT, score=0.6)
    assert sentence((poor, LSTM)).endswith("No limit makes a BERT the better choice.")


def test_other_limits_hold_in_the_map() -> None:
    assert "BERT the better" in sentence(ROWS, "size=30MB")
    assert sentence(ROWS, "size=1MB").startswith("No model fits under any memory and latency limit")
    assert sentence(()).startswith("No model fits")


def test_a_region_that_is_no_corner_is_told_axis_by_axis() -> None:
    rows = (row("lstm-a", 0.7, 1.0, 40), row("bert-b", 0.8, 2.0, 60), row("lstm-c", 0.9, 3.0, 80))
    assert sentence(rows) == (
        "With any latency: an LSTM from 40.0 MB, a BERT from 60.0 MB, an LSTM from "
        "80.0 MB. With any memory: an LSTM from 1.00 ms, a BERT from 2.00 ms, an LSTM "
        "from 3.00 ms."
    )


def test_without_latencies_the_boundary_asks_memory_alone() -> None:
    rows = [msgspec.structs.replace(one, p95_ms=None, p50_ms=None) for one in ROWS]
    said = sentence(rows)
    assert "you can spare 84.0 MB (" in said
    assert "p95" not in said


def test_the_map_agrees_with_the_verdict_everywhere() -> None:
    found = winner_map(ROWS, Budget(), gaps(ROWS))
    for i, memory in enumerate(found.memory_bytes):
        for j, p95 in enumerate(found.p95_ms):
            budget = Budget(memory_bytes=memory, p95_ms=p95)
            assert decide(ROWS, budget, gaps(ROWS)).winner == found.winners[i][j]


def test_of_perplexity_more_is_worse() -> None:
    best = row("bert-int8", 87.6, 1.7, 82, task="lm")
    other = row("lstm-int8", 101.4, 1.1, 78, task="lm")
    said = worse_reason(best, other, ScoreGap(13.8, 14.0, False), parse_budget(""))
    assert said == "perplexity 101.4 is 13.8 points above bert-int8 (87.6); 1 allowed"
