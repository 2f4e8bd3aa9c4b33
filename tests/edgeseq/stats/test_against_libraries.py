"""Intervals and tests beside those of scipy and statsmodels, and by coverage."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseq.stats.latency import percentile_interval
from edgeseq.stats.scores import accuracy_difference, mcnemar, wilson

scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="no statsmodels")
proportion = pytest.importorskip("statsmodels.stats.proportion", reason="no statsmodels")


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 7), (3, 3), (12, 31), (140, 99), (700, 777)])
def test_mcnemar(b: int, c: int) -> None:
    theirs = tables.mcnemar([[50, b], [c, 20]], exact=True).pvalue
    assert mcnemar(b, c).p_value == pytest.approx(min(1.0, theirs), rel=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 9), (1, 40), (785, 1000), (2270, 2270)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_of_a_share(right: int, n: int, level: float) -> None:
    low, high = proportion.proportion_confint(right, n, alpha=1 - level, method="wilson")
    ours = wilson(right, n, level=level)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(30, 55, 400), (150, 90, 2270), (4, 9, 300)])
def test_the_interval_of_a_difference(only_a: int, only_b: int, n: int) -> None:
    """scipy draws 20,000 resamples of the same steps: its ends are one or two examples off."""
    steps = np.repeat([1.0, -1.0, 0.0], [only_a, only_b, n - only_a - only_b])
    theirs = scipy_stats.bootstrap(
        (steps,), np.mean, n_resamples=20_000, method="percentile",
        confidence_level=0.95, rng=np.random.default_rng(3), batch=2_000,
    ).confidence_interval  # fmt: skip
    ours = accuracy_difference(only_a, only_b, n).interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=2 / n)


def test_the_interval_of_a_difference_covers_and_so_does_its_bound() -> None:
    rng, runs, n = np.random.default_rng(8), 2_000, 2_270
    chances = [0.11, 0.07, 0.82]  # only a right, only b right, both or none
    both_sides = one_side = 0
    for only_a, only_b, _ in rng.multinomial(n, chances, size=runs).tolist():
        difference = accuracy_difference(only_a, only_b, n)
        both_sides += difference.interval.low <= 0.04 <= difference.interval.high
        one_side += difference.lower_bound <= 0.04
    # Three standard errors of 95 % over 2,000 runs are 1.5 points.
    assert both_sides / runs == pytest.approx(0.95, abs=0.015)
    assert one_side / runs == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("percent", [50, 90, 95])
def test_the_interval_of_a_percentile_of_independent_samples(percent: int) -> None:
    """scipy's is exact for independent samples and covers 95 % or a little more; ours does not know
    that they are, and has to find out."""
    rng, widths = np.random.default_rng(percent), []
    for _ in range(60):
        samples = np.exp(0.3 * rng.standard_normal(1_024))
        theirs = scipy_stats.quantile_test(samples, q=1.0, p=percent / 100).confidence_interval(
            0.95
        )
        ours = percentile_interval(samples, percent)
        assert ours is not None
        if np.isfinite(ours.high):
            widths.append((ours.high - ours.low) / (theirs.high - theirs.low))
    assert len(widths) >= 55
    assert 0.97 <= float(np.mean(widths)) <= 1.15
