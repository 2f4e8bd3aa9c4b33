"""Simulates how often the intervals that edgeseq prints hold what they are to hold.

    python benchmarks/studies/coverage.py                 2,000 runs a line, several minutes
    python benchmarks/studies/coverage.py --runs 500      a look
    python benchmarks/studies/coverage.py --write         into benchmarks/README.md

Latencies are simulated as exp of a first-order autoregression, whose percentiles are known. A line
says how many runs were given an interval with two ends (a tail may have no upper end), and how
many intervals hold the true value; the standard error of 95 % over 2,000 runs is 0.5 points.
Answers of models are simulated with a known share, and as pairs of models that share half of their
luck.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.stats.latency import effective_samples, median_ratio, percentile_interval
from edgeseq.stats.scores import mcnemar, paired_bootstrap, wilson

Floats = npt.NDArray[np.float64]
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- coverage -->\n", "<!-- /coverage -->\n"
CORRELATED: tuple[tuple[float, int], ...] = (
    *((0.0, 256), (0.5, 256), (0.9, 256)),
    *((0.0, 1024), (0.5, 1024), (0.8, 1024), (0.9, 1024)),
    *((0.8, 4096), (0.9, 4096), (0.95, 8192)),
)
_SIGMA = 0.2


class Coverage(NamedTuple):
    """`covered` of `runs` intervals hold the true value; `closed` have two ends."""

    what: str
    correlation: float | None
    n: int
    effective: float | None
    runs: int
    closed: int
    covered: int


def make_runs(correlation: float, n: int, runs: int, *, seed: int) -> Floats:
    """Simulated latency series [runs, n] of median 1, neighbours correlated in log space."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, runs))
    series = np.empty((n, runs))
    series[0] = noise[0]
    for step in range(1, n):
        series[step] = correlation * series[step - 1]
        series[step] += math.sqrt(1 - correlation**2) * noise[step]
    return np.asarray(np.exp(_SIGMA * series.T))


def true_percentile(percent: float) -> float:
    """The percentile of what `make_runs` simulates."""
    return math.exp(_SIGMA * NormalDist().inv_cdf(percent / 100))


def of_percentile(percent: float, correlation: float, n: int, runs: int, seed: int) -> Coverage:
    """Coverage of `percentile_interval`."""
    true, closed, covered, effective = true_percentile(percent), 0, 0, []
    for run in make_runs(correlation, n, runs, seed=seed):
        effective.append(effective_samples(run))
        interval = percentile_interval(run, percent)
        if interval is not None:
            closed += math.isfinite(interval.high)
            covered += interval.low <= true <= interval.high
    label = "median" if percent == 50 else f"p{percent:g}"
    return Coverage(label, correlation, n, float(np.median(effective)), runs, closed, covered)


def of_ratio(correlation: float, n: int, runs: int, seed: int) -> Coverage:
    """Coverage of `median_ratio`, of one model that takes three times as long as another."""
    above = make_runs(correlation, n, runs, seed=seed)
    below = make_runs(correlation, n, runs, seed=seed + 1)
    covered = 0
    for number in range(runs):
        ratio = median_ratio(3 * above[number], below[number], resamples=1_000, seed=number)
        covered += ratio.low <= 3 <= ratio.high
    effective = float(np.median([effective_samples(run) for run in above[:200]]))
    return Coverage("ratio of medians", correlation, n, effective, runs, runs, covered)


def of_wilson(share: float, n: int, runs: int, seed: int) -> Coverage:
    """Coverage of `wilson`."""
    covered = 0
    for right in np.random.default_rng(seed).binomial(n, share, runs).tolist():
        interval = wilson(right, n)
        covered += interval.low <= share <= interval.high
    return Coverage(f"accuracy of {share:.0%}", None, n, None, runs, runs, covered)


def make_answers(
    rng: np.random.Generator, n: int, right: tuple[float, float]
) -> list[npt.NDArray[np.int64]]:
    """Gold classes and two models' answers, which share half of their luck."""
    gold = rng.integers(0, 3, n)
    shared = rng.random(n)
    models = []
    for share in right:
        luck = np.where(rng.random(n) < 0.5, shared, rng.random(n))
        models.append(np.where(luck < share, gold, (gold + rng.integers(1, 3, n)) % 3))
    return [gold, *models]


def of_difference(right: tuple[float, float], n: int, runs: int, seed: int) -> Coverage:
    """Coverage of `paired_bootstrap`'s two-sided interval."""
    rng, covered, true = np.random.default_rng(seed), 0, right[0] - right[1]
    for number in range(runs):
        gold, a, b = make_answers(rng, n, right)
        interval = paired_bootstrap(gold, a, b, 3, resamples=1_000, seed=number).interval
        covered += interval.low <= true <= interval.high
    return Coverage(f"difference of {true:.0%}", None, n, None, runs, runs, covered)


def of_mcnemar(share: float, n: int, runs: int, seed: int) -> Coverage:
    """How often the exact test does not reject two equally good models at 5 %: at least 95 %."""
    rng, covered = np.random.default_rng(seed), 0
    for _ in range(runs):
        gold, a, b = make_answers(rng, n, (share, share))
        only_a = int(((a == gold) & (b != gold)).sum())
        only_b = int(((b == gold) & (a != gold)).sum())
        covered += mcnemar(only_a, only_b).p_value > 0.05
    return Coverage("McNemar, equal models", None, n, None, runs, runs, covered)


def bartlett_critical_value(share: float, level: float, *, paths: int, seed: int) -> float:
    """The two-sided critical value of a studentized mean with a Bartlett bandwidth of `share` n.

    Simulated: the limit does not depend on the process, so independent normal samples will do.
    """
    rng, n, maxima = np.random.default_rng(seed), 1_000, []
    width = max(1, round(share * n))
    for _ in range(max(1, paths // 1_000)):
        noise = rng.standard_normal((1_000, n))
        mean = noise.mean(axis=1)
        partial = np.cumsum(noise - mean[:, None], axis=1)
        # Kiefer & Vogelsang 2005, equation for the Bartlett kernel in partial sums (S_n = 0).
        lagged = partial[:, width:]
        variance = (
            2
            / (width * n)
            * ((partial**2).sum(axis=1) - (partial[:, : n - width] * lagged).sum(axis=1))
        )
        maxima.append(np.abs(mean) * math.sqrt(n) / np.sqrt(variance))
    return float(np.quantile(np.concatenate(maxima), level))


def simulate(runs: int) -> Iterator[Coverage]:
    """Every line of the table."""
    for percent in (50, 90, 95, 99):
        for correlation, n in CORRELATED:
            if percent < 99 or n >= 1024:
                yield of_percentile(percent, correlation, n, runs, seed=7)
    for correlation, n in ((0.0, 1024), (0.5, 1024), (0.8, 1024), (0.9, 4096)):
        yield of_ratio(correlation, n, runs, seed=11)
    for share, n in ((0.7, 300), (0.785, 2270), (0.97, 300)):
        yield of_wilson(share, n, runs, seed=13)
    for right, n in (((0.8, 0.75), 400), ((0.785, 0.72), 2270)):
        yield of_difference(right, n, runs, seed=17)
    yield of_mcnemar(0.75, 2270, runs, seed=19)


def lines(coverages: Sequence[Coverage]) -> Iterator[str]:
    """The table as Markdown."""
    yield f"{coverages[0].runs:,} simulated runs a line."
    yield ""
    yield "| 95 % interval of | neighbours correlated | samples | worth | two ends | hold |"
    yield "|---|---|---|---|---|---|"
    for coverage in coverages:
        correlation = "–" if coverage.correlation is None else f"{coverage.correlation:g}"
        worth = "–" if coverage.effective is None else f"{coverage.effective:,.0f}"
        yield (
            f"| {coverage.what} | {correlation} | {coverage.n:,} | {worth} "
            f"| {coverage.closed / coverage.runs:.0%} | {coverage.covered / coverage.runs:.1%} |"
        )


def main() -> int:
    """Simulates, prints, and with `--write` keeps the table."""
    parser = argparse.ArgumentParser(description="coverage of intervals, by simulation")
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    text = "\n".join(lines(list(simulate(arguments.runs)))) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        page = README.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
