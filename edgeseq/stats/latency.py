"""Percentiles of latencies: when there are enough samples, which value, and how sure it is.

**Definition.** The p-th percentile of n samples is the nearest rank: the smallest sample that at
least p % of the samples do not exceed, x₍ₖ₎ with k = ceil(p n / 100). It is always a sample that
was measured; the median is p = 50.

**Enough samples.** MLPerf Inference lets a run end early when, with 99 % confidence, its tail is
known (early stopping, LoadGen's `early_stopping.cc`; Reddi et al. 2020, arXiv:1911.02549). Its
estimate for a percentile needs at least one sample above it: n such that
P[Binomial(n, 1 - p) <= 1] <= 0.01, which is 64 for p90, 130 for p95 and 662 for p99. Below that
a tail percentile is None here. The median and lower percentiles have no floor.

**Interval.** Latencies in a run depend on their neighbours (heat, clock, caches), so an interval
for independent samples is too narrow (see `effective_samples`, `percentile_interval`). Where a
tail's interval would reach beyond the slowest sample it has no upper end: who left such
intervals out would keep those of runs that look more independent than they are, and these cover
the true value less often than promised.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edgeseq.errors import InputError
from edgeseq.stats.classification import FloatArray
from edgeseq.stats.scores import Interval

Numbers = Sequence[float] | Sequence[int] | npt.NDArray[np.generic]

MLPERF_CONFIDENCE = 0.99

RESAMPLES = 4_000

_LENGTHENING = 3.0
"""The length that estimates a variance best is too short for an interval to cover as promised
(Lahiri 2003, Resampling Methods for Dependent Data, section 7), so it is taken three times."""

_BIAS_WEIGHT = 2.0
"""Blocks of length l miss G / l of a series' long-run variance D (Künsch 1989). G is
estimated from the same few samples and comes out low itself. With twice the estimate, intervals
cover 93 to 97 % down to 25 effective samples (`benchmarks/studies/coverage.py` prints it); with it
once,
92.5 % there."""

# Kiefer & Vogelsang 2005 (Econometric Theory 21, table 1, Bartlett kernel): the critical value of
# a studentized mean whose variance was estimated with bandwidth b n is z + c1 b + c2 b² + c3 b³.
# The table is one-sided: two-sided 0.90, 0.95 and 0.98 are its 95, 97.5 and 99 %. A test simulates
# the limiting distribution and finds the same to about 2 % for b up to a quarter, which is the
# longest block here.
_CRITICAL_VALUES = {
    0.90: (1.6449, 2.1859, 0.3142, -0.3427),
    0.95: (1.9600, 2.9694, 0.4160, -0.5324),
    0.98: (2.3263, 4.1618, 0.5368, -0.9060),
}


class SampleSeries:
    """Samples in the order of measuring, with what several functions derive from them.

    Every function here takes one in place of plain numbers; sorting, ranks and block lengths are
    then computed once. Raises `InputError` for no samples and for one that is not finite.
    """

    def __init__(self, samples: Numbers) -> None:
        self.values = _checked(samples)
        self._below: dict[float, tuple[FloatArray, float]] = {}

    def __len__(self) -> int:
        return len(self.values)

    @functools.cached_property
    def ordered(self) -> FloatArray:
        """The samples in ascending order."""
        return np.sort(self.values)

    @functools.cached_property
    def ranks(self) -> FloatArray:
        """The rank of each sample from 0; equal ones share their mean rank."""
        return _ranks(self.values)

    @functools.cached_property
    def rank_block(self) -> float:
        """`block_length` of the ranks."""
        return block_length(self.ranks)

    def below(self, cut: float) -> tuple[FloatArray, float]:
        """1 where a sample is at or below `cut`, else 0; and the `block_length` of that."""
        if cut not in self._below:
            indicator = (self.values <= cut).astype(np.float64)
            self._below[cut] = (indicator, block_length(indicator))
        return self._below[cut]

    def at_rank(self, percent: float) -> float:
        """The nearest-rank percentile, of any number of samples."""
        return float(self.ordered[_rank(percent, len(self)) - 1])


Samples = Numbers | SampleSeries


def _series(samples: Samples) -> SampleSeries:
    return samples if isinstance(samples, SampleSeries) else SampleSeries(samples)


@functools.cache
def min_samples(percent: float) -> int:
    """How many samples a percentile needs: 64 for 90, 130 for 95, 662 for 99, 1 up to 50.

    Raises `InputError` unless 0 < percent < 100.
    """
    _check_percent(percent)
    if percent <= 50:
        return 1
    over = 1 - percent / 100
    # P[Binomial(n, over) <= 1] falls with n: double, then halve the gap.
    low, high = 1, 2
    while _one_at_most(high, over) > 1 - MLPERF_CONFIDENCE:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _one_at_most(middle, over) > 1 - MLPERF_CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def percentile(samples: Samples, percent: float) -> float | None:
    """The nearest-rank percentile in the samples' unit, or None below `min_samples(percent)`.

    Raises `InputError` for no samples, a sample that is not finite, or a percent out of range.
    """
    series = _series(samples)
    return series.at_rank(percent) if len(series) >= min_samples(percent) else None


def nearest_rank(samples: Samples, percent: float) -> float:
    """`percentile` of any number of samples above 0, where the tail does not matter."""
    return _series(samples).at_rank(percent)


def median(samples: Samples) -> float:
    """The nearest-rank median in the samples' unit, of any number of samples above 0."""
    return nearest_rank(samples, 50)


def effective_samples(samples: Samples) -> float:
    """How many independent samples would say as much as these, given in the order of measuring.

    n R(0) / Σ R(k) over the ranks of the samples, whose sum of autocovariances R is that of
    circular blocks (`block_length`, three times as long) and what they miss of it. Ranks, because
    one slow sample must not decide, and because a tail alone has too few samples to show how they
    depend on each other. Above n when neighbours differ more than strangers. Raises `InputError`
    as `percentile` does.
    """
    series = _series(samples)
    n, length = len(series), _length(series.rank_block, len(series))
    ratio = _variance_ratio(series.ranks, length)
    return n * ratio / (1 + _missed(series.rank_block, n, length))


def percentile_interval(
    samples: Samples, percent: float = 50, *, level: float = 0.95
) -> Interval | None:
    """A percentile of dependent samples, in the order of measuring, with its interval.

    The variance of the share of samples at or below the percentile is that of a bootstrap in
    blocks that wrap around, which has a closed form (Künsch 1989, Annals of Statistics 17;
    Politis & Romano 1992); the block length comes from the correlation of neighbours
    (`block_length` of the ranks or of the share, the longer). The share's distribution is a
    binomial's of as many samples as that variance is worth, its skewness taken into account
    (Cornish & Fisher 1937); the spread is widened for having estimated it from few blocks
    (`_CRITICAL_VALUES`); the interval is read off the ordered samples (Woodruff 1952, JASA 47).
    The process is taken as stationary: a drift is for the validity checks.

    `benchmarks/studies/coverage.py` simulates what it covers, and the tests hold it to that. None
    below
    `min_samples(percent)`. For percentiles above 50 `high` is infinite where the samples show no
    upper end. `level` is 0.90, 0.95 or 0.98. Raises `InputError` as `percentile` does.
    """
    series = _series(samples)
    n, ordered = len(series), series.ordered
    z, *terms = _critical_values(level)
    if n < min_samples(percent):
        return None
    estimate = series.at_rank(percent)
    below, below_block = series.below(estimate)
    length = max(_length(series.rank_block, n), _length(below_block, n))
    share = percent / 100
    worth = n * _variance_ratio(below, length) / _widening(z, terms, length / n) ** 2
    worth /= 1 + _BIAS_WEIGHT * _missed(series.rank_block, n, length)
    spread = math.sqrt(share * (1 - share) / worth)
    # The skewness of a share of `worth` samples, times the second Hermite polynomial over 6.
    bend = (1 - 2 * share) / math.sqrt(share * (1 - share) * worth) * (z * z - 1) / 6
    # x₍ₐ₎ <= percentile < x₍b₎ holds when at least a and at most b - 1 samples lie below it.
    first = min(max(round((share + spread * (bend - z)) * n), 1), n)
    last = max(round((share + spread * (bend + z)) * n) + 1, 1)
    has_upper_end = last <= n or percent <= 50
    return Interval(
        estimate=estimate,
        low=min(float(ordered[first - 1]), estimate),
        high=max(float(ordered[min(last, n) - 1]), estimate) if has_upper_end else math.inf,
        level=level,
        n=n,
    )


def median_ratio(
    above: Samples,
    below: Samples,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The ratio of two medians, `above / below`, with its interval; `n` is the smaller count.

    Both medians are bootstrapped in blocks that wrap around, of the lengths of
    `percentile_interval`, independently; where both runs drifted together (interleaved rounds) the
    interval is on the safe side. The same `seed` gives the same answer. Raises `InputError`
    as `percentile` does, and when the lower median is not above 0.
    """
    rng = np.random.default_rng(seed)
    estimates, draws = [], []
    for samples in (above, below):
        series = _series(samples)
        n, estimate = len(series), series.at_rank(50)
        shares = _bootstrap_shares(series, estimate, level, resamples, rng)
        ranks = np.clip(np.ceil((0.5 + shares) * n).astype(np.int64), 1, n)
        estimates.append(estimate)
        draws.append(series.ordered[ranks - 1])
    if estimates[1] <= 0 or draws[1].min() <= 0:
        raise InputError("the median to divide by is not above 0", found=estimates[1])
    low, high = np.quantile(draws[0] / draws[1], [(1 - level) / 2, (1 + level) / 2]).tolist()
    ratio = estimates[0] / estimates[1]
    return Interval(
        estimate=ratio,
        low=min(low, ratio),
        high=max(high, ratio),
        level=level,
        n=min(len(above), len(below)),
    )


def block_length(series: npt.NDArray[np.generic]) -> float:
    """The block length that estimates the variance of a series' mean best; at least 1.

    (2 G² / D)^⅓ n^⅓ with G = Σ λ(k/M) |k| R(k) and D = 4/3 (Σ λ(k/M) R(k))², R the autocovariance,
    λ the flat-top window and M twice the last lag whose correlation is significant (Politis & White
    2004, Econometric Reviews 23, as corrected by Patton, Politis & White 2009, 28, for blocks
    that wrap around). It grows with n^⅓ and with the correlation.
    """
    values = np.asarray(series, dtype=np.float64)
    n = len(values)
    centered = values - values.mean()
    if n < 8 or not centered.any():
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    furthest = min(math.ceil(math.sqrt(n)) + run, n - 1)
    width = _transform_size(n + furthest)  # nothing wraps around into the lags that are looked at
    spectrum = np.fft.rfft(centered, width)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), width)[: furthest + 1] / n
    correlation = np.abs(covariance[1 : furthest + 1] / covariance[0])
    significant = np.flatnonzero(correlation >= 2 * math.sqrt(math.log10(n) / n)) + 1
    last = 1
    for lag in significant.tolist():
        if lag - last > run:  # `run` lags in a row were not significant: the rest is chance
            break
        last = lag
    window = min(2 * last, furthest)
    lags = np.arange(-window, window + 1)
    flat_top = np.clip(2 * (1 - np.abs(lags) / window), 0, 1)
    weighted = flat_top * covariance[np.abs(lags)]
    bend, spread = float((weighted * np.abs(lags)).sum()), float(weighted.sum())
    if spread <= 0:
        return 1.0  # negative correlation: short blocks are on the safe side
    return float(max(1.0, (1.5 * (bend / spread) ** 2 * n) ** (1 / 3)))


def _transform_size(n: int) -> int:
    """A size of at least `n` without large prime factors, for a fast Fourier transform."""
    step = 1 << max(0, n.bit_length() - 4)
    return -(-n // step) * step


def _bootstrap_shares(
    series: SampleSeries, cut: float, level: float, resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Draws of the share of samples at or below `cut`, minus that share itself."""
    z, *terms = _critical_values(level)
    below, below_block = series.below(cut)
    n = len(series)
    length = max(_length(below_block, n), _length(series.rank_block, n))
    counts = _block_sums(below, length).round().astype(np.int64)
    blocks = math.ceil(n / length)
    # Drawing so many blocks and adding them up is drawing once from the distribution of their sum:
    # that of one block, convolved with itself, by its Fourier transform.
    size = blocks * length + 1
    width = _transform_size(size)
    chances = np.bincount(counts, minlength=length + 1) / n
    sums = np.fft.irfft(np.fft.rfft(chances, width) ** blocks, width)[:size]
    cumulative = np.cumsum(np.maximum(sums, 0))
    # One draw from each of `resamples` equal parts of the distribution, in random order.
    places = (rng.permutation(resamples) + rng.random(resamples)) / resamples
    drawn = np.searchsorted(cumulative, places * cumulative[-1], side="right")
    deviation = drawn / (blocks * length) - below.mean()
    wider = _widening(z, terms, length / n)
    wider *= math.sqrt(1 + _BIAS_WEIGHT * _missed(series.rank_block, n, length))
    return np.asarray(deviation * math.sqrt(blocks * length / n) * wider, dtype=np.float64)


def _critical_values(level: float) -> tuple[float, ...]:
    if level not in _CRITICAL_VALUES:
        known = ", ".join(map(str, _CRITICAL_VALUES))
        raise InputError("unknown level of confidence", found=level, expected=known)
    return _CRITICAL_VALUES[level]


def _widening(z: float, terms: Sequence[float], share: float) -> float:
    """How much wider than the normal's an interval is, when a block is `share` of the samples."""
    return 1 + sum(term * share**power for power, term in enumerate(terms, start=1)) / z


def _length(best: float, n: int) -> int:
    """The block length for intervals of `n` samples whose `block_length` is `best`: at most a
    quarter of the series."""
    return int(min(math.ceil(_LENGTHENING * best), max(1, n // 4)))


def _missed(best: float, n: int, length: int) -> float:
    """G / (l D) of `block_length`, which is `best`: the share of the long-run variance of `n`
    samples that blocks of `length` do not see."""
    if best <= 1:
        return 0.0
    return math.sqrt(best**3 / (1.5 * n)) / length


def _block_sums(series: FloatArray, length: int) -> npt.NDArray[np.float64]:
    """Sums of all n blocks of `length` neighbours, wrapping around."""
    total = np.concatenate([[0], np.cumsum(np.concatenate([series, series[: length - 1]]))])
    return np.asarray(total[length:] - total[:-length], dtype=np.float64)


def _variance_ratio(series: FloatArray, length: int) -> float:
    """R(0) / Σ R(k): variance of a sample over n times that of the mean, by blocks; 1 if constant.

    At most the number of samples in a block that are worth it: a series whose blocks all sum to
    the same is not worth endlessly many.
    """
    centered = series - series.mean()
    variance = float((centered**2).mean())
    if variance <= 0:
        return 1.0
    long_run = float((_block_sums(centered, length) ** 2).mean()) / length
    return variance / max(long_run, variance / length)


def _ranks(values: FloatArray) -> FloatArray:
    """The ranks of the values from 0, equal ones sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[inverse], dtype=np.float64)


def _rank(percent: float, n: int) -> int:
    # The product is rounded first, so that 0.07 * 100 does not become rank 8.
    return max(1, math.ceil(round(percent * n / 100, 9)))


def _one_at_most(n: int, chance: float) -> float:
    """P[Binomial(n, chance) <= 1]."""
    return next(itertools.islice(_at_most_each(n, chance), 1, None))


def _at_most_each(n: int, chance: float) -> Iterator[float]:
    """Yields P[Binomial(n, chance) <= t] for t = 0, 1, … n."""
    # In logarithms, since the first terms underflow when n is large.
    log_term = n * math.log1p(-chance)
    log_odds = math.log(chance) - math.log1p(-chance)
    total = math.exp(log_term)
    yield total
    for k in range(1, n + 1):
        log_term += math.log((n - k + 1) / k) + log_odds
        total += math.exp(log_term)
        yield total


def _checked(samples: Numbers) -> FloatArray:
    values = np.asarray(samples, dtype=np.float64)
    if values.ndim != 1 or not values.size:
        raise InputError("has no samples", found=f"shape {values.shape}", expected="(n,)")
    if not np.isfinite(values).all():
        raise InputError("a sample is not a finite number")
    return values


def _check_percent(percent: float) -> None:
    if not 0 < percent < 100:
        raise InputError("percent out of range", found=percent, expected="above 0 and below 100")
