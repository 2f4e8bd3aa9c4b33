"""Intervals and tests of answers against known values, scipy, and simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeseq.errors import DataError, InputError
from edgeseq.stats.scores import (
    accuracy_difference,
    mcnemar,
    mcnemar_of_answers,
    non_inferiority,
    paired_bootstrap,
    wilson,
)

stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_against_published_values(successes, n, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_against_scipy(n: int, data, level: float) -> None:
    successes = data.draw(st.integers(0, n))
    interval = wilson(successes, n, level=level)
    expected = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)
    assert 0 <= interval.low <= interval.estimate <= interval.high <= 1


def test_wilson_covers() -> None:
    for n, share in ((300, 0.7), (2270, 0.85)):
        counts = np.arange(n + 1)
        inside = [wilson(int(k), n).low <= share <= wilson(int(k), n).high for k in counts]
        covered = stats.binom.pmf(counts, n, share)[inside].sum()
        assert 0.94 < covered < 0.96


def exact_sign_test(b: int, c: int) -> Fraction:
    """The two-sided binomial test of one half, in whole numbers: no rounding and no underflow
    (SciPy's gives 0 below about 1e-299)."""
    total, term = 0, 1
    for k in range(min(b, c) + 1):
        total += term
        term = term * (b + c - k) // (k + 1)
    return min(Fraction(2 * total, 2 ** (b + c)), Fraction(1))


@given(st.integers(0, 3000), st.integers(0, 3000))
@example(10, 1065)
def test_mcnemar_is_the_exact_test(b: int, c: int) -> None:
    expected = float(exact_sign_test(b, c))
    assert mcnemar(b, c).p_value == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert mcnemar(b, c).p_value == mcnemar(c, b).p_value


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_against_scipy(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar(b, c).p_value == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0).p_value == 1
    assert mcnemar(0, 5).p_value == 2 / 32
    assert mcnemar(1, 6).p_value == 2 * (1 + 7) / 128
    assert mcnemar(4, 4).p_value == 1
    answers = mcnemar_of_answers([0, 0, 1, 1], [0, 0, 1, 0], [0, 1, 0, 1])
    assert (answers.only_a_right, answers.only_b_right) == (2, 1)


def make_answers(rng: np.random.Generator, n: int, right: tuple[float, float]):
    """Gold classes and two models' answers that share half of their luck."""
    gold = rng.integers(0, 3, n)
    shared = rng.random(n)
    models = []
    for share in right:
        luck = np.where(rng.random(n) < 0.5, shared, rng.random(n))
        models.append(np.where(luck < share, gold, (gold + rng.integers(1, 3, n)) % 3))
    return gold, models[0], models[1]


def test_paired_bootstrap_covers_and_keeps_its_promise_of_one_side() -> None:
    rng = np.random.default_rng(5)
    covered = below = 0
    for seed in range(500):
        gold, a, b = make_answers(rng, 400, (0.8, 0.75))
        difference = paired_bootstrap(gold, a, b, 3, resamples=500, seed=seed)
        covered += difference.interval.low <= 0.05 <= difference.interval.high
        below += difference.lower_bound <= 0.05
    assert 0.93 < covered / 500 < 0.97
    assert 0.93 < below / 500 < 0.97


def test_paired_bootstrap_equals_the_plain_one() -> None:
    gold, a, b = make_answers(np.random.default_rng(1), 300, (0.8, 0.7))
    for metric, k in (("accuracy", 3), ("macro_f1", 3)):
        ours = paired_bootstrap(gold, a, b, k, metric=metric, resamples=4000)
        rng = np.random.default_rng(2)
        drawn = []
        for _ in range(1500):
            rows = rng.integers(0, 300, 300)
            one = paired_bootstrap(gold[rows], a[rows], b[rows], k, metric=metric, resamples=100)
            drawn.append(one.interval.estimate)
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert ours.interval.low == pytest.approx(low, abs=0.008)
        assert ours.interval.high == pytest.approx(high, abs=0.008)


def test_same_seed_same_answer_and_same_model_no_difference() -> None:
    gold, a, b = make_answers(np.random.default_rng(1), 100, (0.8, 0.7))
    assert paired_bootstrap(gold, a, b, 3) == paired_bootstrap(gold, a, b, 3)
    same = paired_bootstrap(gold, a, a, 3, metric="macro_f1")
    assert (same.interval.low, same.interval.estimate, same.interval.high) == (0, 0, 0)
    assert non_inferiority(same, 0.01).holds


def test_non_inferiority_needs_evidence_not_only_equality() -> None:
    rng = np.random.default_rng(3)
    few = paired_bootstrap(*make_answers(rng, 60, (0.8, 0.8)), 3)
    many = paired_bootstrap(*make_answers(rng, 20_000, (0.8, 0.8)), 3)
    worse = paired_bootstrap(*make_answers(rng, 20_000, (0.75, 0.8)), 3)
    assert [non_inferiority(one, 0.02).holds for one in (few, many, worse)] == [False, True, False]


def test_many_classes_fit_in_memory() -> None:
    rng = np.random.default_rng(0)
    gold, a, b = (rng.integers(0, 77, 3000) for _ in range(3))
    assert paired_bootstrap(gold, a, b, 77, metric="macro_f1", resamples=200).interval.n == 3000


def test_wrong_input() -> None:
    for successes, n in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match="no share"):
            wilson(successes, n)
    with pytest.raises(InputError, match="level out of range"):
        wilson(1, 2, level=95)
    with pytest.raises(InputError, match="a count is negative"):
        mcnemar(-1, 0)
    with pytest.raises(InputError, match="lists of one length"):
        mcnemar_of_answers([0], [0, 1], [0, 1])
    with pytest.raises(DataError, match="out of range"):
        paired_bootstrap([0, 1], [0, 1], [0, 5], 3)
    with pytest.raises(InputError, match="too few resamples"):
        paired_bootstrap([0, 1], [0, 1], [0, 1], 2, resamples=10)
    with pytest.raises(InputError, match="unknown metric"):
        paired_bootstrap([0, 1], [0, 1], [0, 1], 2, metric="f2")
    difference = paired_bootstrap([0, 1], [0, 1], [0, 1], 2)
    for margin in (0, -0.01, float("nan")):
        with pytest.raises(InputError, match="the margin is not above 0"):
            non_inferiority(difference, margin)


@pytest.mark.parametrize(
    ("only_a", "only_b", "n"),
    [(150, 120, 2_408), (3, 5, 60), (0, 0, 9), (10, 0, 10), (1, 0, 2_408), (0, 7, 50)],
)
def test_the_exact_difference_is_what_resampling_tends_to(only_a: int, only_b: int, n: int) -> None:
    exact = accuracy_difference(only_a, only_b, n)
    chances = [only_a / n, only_b / n, (n - only_a - only_b) / n]
    drawn = np.random.default_rng(0).multinomial(n, chances, size=1_000_000)
    steps = drawn[:, 0] - drawn[:, 1]
    # Each quantile is a step of the lattice: below it lies less than the level, with it no less.
    for value, level in (
        (exact.interval.low, 0.025),
        (exact.interval.high, 0.975),
        (exact.lower_bound, 0.05),
    ):
        step = round(value * n)
        assert (steps < step).mean() <= level + 1e-3
        assert (steps <= step).mean() >= level - 1e-3
    assert exact.interval.estimate == (only_a - only_b) / n


def test_the_exact_difference_by_enumeration() -> None:
    # 3 examples: a alone right on one, b alone on one; the 27 resamples counted by hand.
    exact = accuracy_difference(1, 1, 3)
    sums = sorted(a + b + c for a in (1, -1, 0) for b in (1, -1, 0) for c in (1, -1, 0))
    assert exact.lower_bound == sums[math.ceil(0.05 * 27) - 1] / 3
    assert (exact.interval.low, exact.interval.high) == (
        sums[math.ceil(0.025 * 27) - 1] / 3,
        sums[math.ceil(0.975 * 27) - 1] / 3,
    )
    for wrong in ((-1, 0, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(InputError, match="no counts of a comparison"):
            accuracy_difference(*wrong)
