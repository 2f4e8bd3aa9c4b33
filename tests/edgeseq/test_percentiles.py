"""Percentiles: their floors against the binomial formula, their intervals against simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import InputError
from edgeseq.percentiles import (
    block_length,
    early_stopping_percentile,
    median,
    median_ratio,
    min_samples,
    percentile,
    percentile_interval,
)

stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra `report`")


def make_runs(correlation: float, n: int, runs: int, seed: int = 0) -> np.ndarray:
    """`runs` simulated latency series (runs, n): exp of a first-order autoregression, median 1."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, runs))
    series = np.empty((n, runs))
    series[0] = noise[0] / math.sqrt(1 - correlation**2)
    for step in range(1, n):
        series[step] = correlation * series[step - 1] + noise[step]
    return np.exp(0.2 * series.T)


def true_percentile(correlation: float, percent: float) -> float:
    quantile = NormalDist().inv_cdf(percent / 100)
    return math.exp(0.2 * quantile / math.sqrt(1 - correlation**2))


def test_floors_are_those_of_mlperf_and_of_the_binomial_formula() -> None:
    assert [min_samples(percent) for percent in (90, 95, 99)] == [64, 130, 662]
    assert min_samples(50) == min_samples(10) == 1
    for percent in (60, 75, 90, 95, 99, 99.9):
        n, p = min_samples(percent), percent / 100

        def at_most_one(n: int, p: float = p) -> float:
            return p**n + n * (1 - p) * p ** (n - 1)

        assert at_most_one(n) <= 0.01 < at_most_one(n - 1)


@pytest.mark.parametrize(("percent", "floor"), [(90, 64), (95, 130), (99, 662)])
def test_nothing_below_the_floor(percent: int, floor: int) -> None:
    samples = np.arange(floor, dtype=float)
    for function in (percentile, early_stopping_percentile, percentile_interval):
        assert function(samples[1:], percent) is None
        assert function(samples, percent) is not None


@given(st.lists(st.integers(0, 50), min_size=64, max_size=300), st.sampled_from([25, 50, 90]))
def test_nearest_rank(samples: list[int], percent: int) -> None:
    value = percentile(samples, percent)
    assert value in samples
    reaches = sum(one <= value for one in samples) * 100
    misses = sum(one < value for one in samples) * 100
    assert misses < percent * len(samples) <= reaches


def test_small_and_exact_ranks() -> None:
    assert median([3]) == 3
    assert median([4, 1, 3, 2]) == 2, "of an even number the lower one"
    assert percentile(range(1, 101), 7) == 7, "0.07 * 100 is a little more than 7 in binary"
    assert percentile(range(1, 101), 90) == 90


def test_early_stopping_against_the_binomial_formula() -> None:
    for n in (64, 130, 1000, 20_000):
        for percent in (90, 95, 99):
            value = early_stopping_percentile(np.arange(1, n + 1), percent)
            if n < min_samples(percent):
                assert value is None
                continue
            largest = n + 1 - int(value)
            over = 1 - percent / 100
            assert stats.binom.cdf(largest, n, over) <= 0.01 < stats.binom.cdf(largest + 1, n, over)
            assert value >= percentile(np.arange(1, n + 1), percent)
    assert early_stopping_percentile([1.0] * 100, 50) is None


def test_early_stopping_is_99_percent_sure() -> None:
    runs = make_runs(0, 300, 2000)
    above = [early_stopping_percentile(run, 90) >= true_percentile(0, 90) for run in runs]
    assert np.mean(above) >= 0.99 - 0.007


@pytest.mark.parametrize(
    ("correlation", "n", "percent"),
    [
        (0.0, 256, 50),
        (0.5, 256, 50),
        (0.0, 1024, 50),
        (0.5, 1024, 50),
        (0.8, 1024, 50),
        (0.9, 2048, 50),
        (0.5, 1024, 90),
        (0.5, 1024, 95),
    ],
)
def test_interval_covers_in_autocorrelated_runs(correlation, n: int, percent: int) -> None:
    # 1,200 runs: the coverage itself is known to about a point and a quarter.
    true = true_percentile(correlation, percent)
    covered = 0
    for seed, run in enumerate(make_runs(correlation, n, 1200, seed=11)):
        interval = percentile_interval(run, percent, resamples=800, seed=seed)
        covered += interval.low <= true <= interval.high
    assert 0.93 <= covered / 1200 <= 0.97


def test_an_interval_for_independent_samples_would_not_cover() -> None:
    covered = 0
    for run in make_runs(0.8, 1024, 300):
        ordered = np.sort(run)
        half = round(1.96 * math.sqrt(1024) / 2)
        covered += ordered[512 - half - 1] <= 1 <= ordered[512 + half]
    assert covered / 300 < 0.75


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_ratio_of_medians_covers(correlation: float) -> None:
    slow, fast = (make_runs(correlation, 1024, 1000, seed=seed) for seed in (1, 2))
    covered = 0
    for seed in range(1000):
        ratio = median_ratio(3 * slow[seed], fast[seed], resamples=800, seed=seed)
        covered += ratio.low <= 3 <= ratio.high
    assert 0.93 <= covered / 1000 <= 0.975


def test_block_length_grows_with_correlation_and_n() -> None:
    lengths = [block_length(make_runs(c, 4096, 1)[0]) for c in (0.0, 0.5, 0.8, 0.95)]
    assert lengths == sorted(lengths)
    assert lengths[0] < 5
    assert block_length(np.zeros(100)) == block_length(np.arange(3)) == 1
    alternating = np.tile([0.0, 1.0], 200)
    assert block_length(alternating) >= 1


@given(
    st.lists(st.floats(0.001, 1e9), min_size=1, max_size=80), st.sampled_from([0.90, 0.95, 0.98])
)
def test_any_samples_give_an_ordered_interval(samples: list[float], level: float) -> None:
    interval = percentile_interval(samples, level=level, resamples=200)
    assert min(samples) <= interval.low <= interval.estimate <= interval.high <= max(samples)
    assert interval == percentile_interval(samples, level=level, resamples=200)
    ratio = median_ratio(samples, samples[::-1], level=level, resamples=200)
    assert ratio.low <= ratio.estimate == 1 <= ratio.high


def test_constant_and_many_samples() -> None:
    constant = percentile_interval([2] * 100)
    assert (constant.low, constant.estimate, constant.high, constant.n) == (2, 2, 2, 100)
    many = percentile_interval(np.random.default_rng(0).random(500_000), 99)
    assert 0.989 < many.low < many.high < 0.991


def test_wrong_input() -> None:
    for samples in ([], [[1.0]], [float("nan")], [1.0, float("inf")]):
        with pytest.raises(InputError, match=r"no samples|not a finite number"):
            percentile(samples, 50)
    for percent in (0, 100, -5):
        with pytest.raises(InputError, match="percent out of range"):
            percentile([1.0], percent)
    with pytest.raises(InputError, match=r"unknown level .* expected 0.9, 0.95, 0.98"):
        percentile_interval([1.0, 2.0], level=0.5)
    with pytest.raises(InputError, match="not above 0"):
        median_ratio([1.0], [0.0])
