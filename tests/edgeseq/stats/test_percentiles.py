"""Percentiles: their floors against the binomial formula, their intervals against simulation."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import InputError
from edgeseq.reporting.run_statistics import latency_summary
from edgeseq.stats import latency as percentiles
from edgeseq.stats.latency import (
    SampleSeries,
    block_length,
    effective_samples,
    median,
    median_ratio,
    min_samples,
    percentile,
    percentile_interval,
)
from edgeseq.units import format_interval

stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")


STUDIES = Path(__file__).parents[3] / "benchmarks" / "studies"


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    """The script that simulates the whole table; here, fewer runs of some lines."""
    spec = importlib.util.spec_from_file_location("coverage_script", STUDIES / "coverage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def assert_covers(found, *, most: float = 0.97) -> None:
    """93 to 97 %, beyond what three standard errors of so many runs explain."""
    share = found.covered / found.runs
    error = 3 * math.sqrt(0.05 * 0.95 / found.runs)
    assert 0.93 - error <= share <= most + error, found


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
    samples = np.random.default_rng(0).random(2 * floor)
    for function in (percentile, percentile_interval):
        assert function(samples[: floor - 1], percent) is None
        assert function(samples, percent) is not None
    assert percentile(samples[:floor], percent) is not None
    # In order, they are worth a handful: no upper end is known.
    found = percentile_interval(np.sort(samples), percent)
    assert found is not None
    assert found.high == math.inf


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


@pytest.mark.parametrize(
    ("percent", "correlation", "n"),
    [
        (50, 0.0, 256),
        (50, 0.5, 256),
        (50, 0.8, 1024),
        (50, 0.9, 1024),
        (50, 0.9, 256),
        (90, 0.9, 1024),
        (90, 0.5, 1024),
        (90, 0.8, 1024),
        (95, 0.0, 1024),
        (95, 0.5, 1024),
        (95, 0.8, 4096),
        (99, 0.9, 1024),
    ],
)
def test_interval_covers_in_autocorrelated_runs(
    coverage: ModuleType, percent: int, correlation: float, n: int
) -> None:
    found = coverage.of_percentile(percent, correlation, n, 400, seed=3)
    assert_covers(found)


def test_a_tail_of_dependent_samples_has_no_upper_end(coverage: ModuleType) -> None:
    assert coverage.of_percentile(99, 0.0, 1024, 100, seed=3).closed == 100
    assert coverage.of_percentile(99, 0.9, 1024, 100, seed=3).closed <= 40
    assert coverage.of_percentile(95, 0.95, 256, 100, seed=3).closed <= 20
    open_ones = [
        interval
        for run in coverage.make_runs(0.9, 1024, 40, seed=3)
        for interval in [percentile_interval(run, 99)]
        if interval and math.isinf(interval.high)
    ]
    assert open_ones
    assert all(0 < one.low <= one.estimate for one in open_ones)


def test_an_interval_without_an_upper_end_is_said_in_words(coverage: ModuleType) -> None:
    said = set()
    for run in coverage.make_runs(0.9, 512, 20, seed=3):
        low, high = latency_summary(np.round(run * 1e6).astype(int).tolist()).p95_ci95 or (0, 0)
        assert low > 0
        said.add(format_interval((low, high)).split()[0] if high is None else "both ends")
    assert said == {"at", "both ends"}
    assert format_interval((1.5, None)) == "at least 1.5"
    assert format_interval((1.5, 2.0)) == "1.5 to 2"


def test_effective_samples_are_what_theory_says(coverage: ModuleType) -> None:
    for correlation in (0.0, 0.5, 0.8):
        # (1 - r) / (1 + r) for the values; ranks depend on each other a little less.
        expected = 8192 * (1 - correlation) / (1 + correlation)
        runs = coverage.make_runs(correlation, 8192, 20, seed=5)
        found = np.median([effective_samples(run) for run in runs])
        assert 0.95 * expected <= found <= 1.25 * expected
    assert effective_samples([3.0] * 50) == 50
    assert effective_samples([1.0]) == 1


def test_an_interval_for_independent_samples_would_not_cover(coverage: ModuleType) -> None:
    covered = 0
    for run in coverage.make_runs(0.8, 1024, 300, seed=0):
        ordered = np.sort(run)
        half = round(1.96 * math.sqrt(1024) / 2)
        covered += ordered[512 - half - 1] <= 1 <= ordered[512 + half]
    assert covered / 300 < 0.75


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_ratio_of_medians_covers(coverage: ModuleType, correlation: float) -> None:
    assert_covers(coverage.of_ratio(correlation, 1024, 400, seed=1))


def test_shares_and_paired_tests_cover(coverage: ModuleType) -> None:
    assert_covers(coverage.of_wilson(0.785, 2270, 2000, seed=13))
    assert_covers(coverage.of_difference((0.8, 0.75), 400, 300, seed=17))
    assert_covers(coverage.of_mcnemar(0.75, 2270, 600, seed=19), most=1.0)


@pytest.mark.parametrize("level", [0.90, 0.95, 0.98])
def test_the_published_critical_values_are_those_of_the_limit(
    coverage: ModuleType, level: float
) -> None:
    z, *terms = percentiles._CRITICAL_VALUES[level]
    for share in (0.02, 0.1, 0.25):
        published = z * percentiles._widening(z, terms, share)
        simulated = coverage.bartlett_critical_value(share, level, paths=8_000, seed=1)
        assert published == pytest.approx(simulated, rel=0.05)


def test_block_length_grows_with_correlation_and_n(coverage: ModuleType) -> None:
    lengths = [
        block_length(coverage.make_runs(c, 4096, 1, seed=0)[0]) for c in (0.0, 0.5, 0.8, 0.95)
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < 5
    assert block_length(np.zeros(100)) == block_length(np.arange(3)) == 1
    alternating = np.tile([0.0, 1.0], 200)
    assert block_length(alternating) >= 1


@given(
    st.lists(st.floats(0.001, 1e9), min_size=1, max_size=80), st.sampled_from([0.90, 0.95, 0.98])
)
def test_any_samples_give_an_ordered_interval(samples: list[float], level: float) -> None:
    interval = percentile_interval(samples, level=level)
    assert min(samples) <= interval.low <= interval.estimate <= interval.high <= max(samples)
    assert interval == percentile_interval(samples, level=level)
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


def test_a_series_gives_what_its_numbers_give() -> None:
    samples = np.exp(np.random.default_rng(3).normal(0, 0.3, 700))
    series = SampleSeries(samples)
    for percent in (25, 50, 95):
        assert percentile_interval(series, percent) == percentile_interval(samples, percent)
    assert median_ratio(series, samples[::-1]) == median_ratio(samples, samples[::-1])
    assert effective_samples(series) == effective_samples(samples)
    assert len(series) == 700
