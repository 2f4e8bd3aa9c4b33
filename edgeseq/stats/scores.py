"""How sure a score is, and whether two models differ: intervals and paired tests of answers.

Answers are scored on the same test examples, so two models are always compared in pairs.
Percentiles of dependent samples (latencies) are in `edgeseq.stats.latency`.

Every interval treats the test examples as independent (words within one are not taken to be);
sentences of one review or document are a little less than that, so read an interval as the least
uncertainty there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from edgeseq.errors import InputError
from edgeseq.stats.classification import FloatArray, IntArray, accuracy, confusion_matrix, macro_f1

Metric = Literal["accuracy", "macro_f1"]

LEVEL, ALPHA = 0.95, 0.05
"""Of two-sided intervals, and of one-sided bounds."""
RESAMPLES = 10_000
"""Enough that the bounds of a 95 % interval move by less than a twentieth of its width."""

_BATCH_CELLS = 1 << 22


class Interval(msgspec.Struct, frozen=True):
    """An estimate from `n` observations with its interval of confidence `level` (0..1)."""

    estimate: float
    low: float
    high: float
    level: float
    n: int


class McNemar(msgspec.Struct, frozen=True):
    """Two models on the same examples: how often only one was right, and the p-value."""

    only_a_right: int
    only_b_right: int
    p_value: float


class Difference(msgspec.Struct, frozen=True):
    """A score of model a minus that of model b, as fractions, by paired bootstrap.

    `interval` is two-sided; `lower_bound` is one-sided, at `1 - alpha`.
    """

    metric: str
    interval: Interval
    lower_bound: float
    alpha: float


class NonInferiority(msgspec.Struct, frozen=True):
    """Whether model a is no worse than model b by more than `margin` (a fraction)."""

    difference: Difference
    margin: float
    holds: bool


def wilson(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share `successes / n`, for example an accuracy.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) (Wilson 1927, JASA 22; recommended by
    Brown, Cai & DasGupta 2001, Statistical Science 16). Raises `InputError` unless
    0 <= successes <= n, n > 0 and 0 < level < 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise InputError("no share", found=f"{successes} of {n}", expected="0 <= successes <= n")
    _check_fraction("level", level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    center = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n the bounds are exactly 0 and 1; rounding must not put them beside.
    low = 0.0 if successes == 0 else max(0.0, (center - half) / scale)
    high = 1.0 if successes == n else min(1.0, (center + half) / scale)
    return Interval(estimate=share, low=low, high=high, level=level, n=n)


def mcnemar(only_a_right: int, only_b_right: int) -> McNemar:
    """McNemar's test in its exact form, from the examples on which just one model was right.

    Under the null hypothesis each of the b + c such examples is a fair coin; the two-sided
    p-value is min(1, 2 P[Binomial(b + c, 1/2) <= min(b, c)]) (McNemar 1947, Psychometrika 12;
    Dietterich 1998, Neural Computation 10, for classifiers). Without any such example it is 1.
    Computed with whole numbers, so it is exact. Raises `InputError` for a negative count.
    """
    if only_a_right < 0 or only_b_right < 0:
        raise InputError(
            "a count is negative", found=f"{only_a_right} and {only_b_right}", expected=">= 0"
        )
    n = only_a_right + only_b_right
    term, total = 1, 1  # the binomial coefficients (n over k), and their sum up to k
    for k in range(1, min(only_a_right, only_b_right) + 1):
        term = term * (n - k + 1) // k
        total += term
    above, below = 2 * total, 1 << n
    p_value = 1.0 if above >= below else above / below
    return McNemar(only_a_right=only_a_right, only_b_right=only_b_right, p_value=p_value)


def mcnemar_of_answers(
    gold: Sequence[int] | IntArray, a: Sequence[int] | IntArray, b: Sequence[int] | IntArray
) -> McNemar:
    """`mcnemar` from the gold classes and the classes two models gave, all of shape (n,)."""
    gold_array, a_array, b_array = _same_length(gold, a, b)
    a_right, b_right = a_array == gold_array, b_array == gold_array
    return mcnemar(int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum()))


def paired_bootstrap(
    gold: Sequence[int] | IntArray,
    a: Sequence[int] | IntArray,
    b: Sequence[int] | IntArray,
    n_classes: int,
    *,
    metric: Metric = "accuracy",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """The difference of two models' scores, a minus b, with its percentile-bootstrap interval.

    Test examples are drawn with replacement, each with both models' answers (Efron & Tibshirani
    1993, An Introduction to the Bootstrap, chapter 13; Berg-Kirkpatrick et al. 2012, EMNLP). Only
    the counts of (gold, a, b) matter to a score, so the counts are drawn from their multinomial
    distribution, which is the same. The same `seed` gives the same answer.

    `gold`, `a` and `b` are classes of shape (n,). Raises `DataError` for classes out of range and
    `InputError` for lengths that differ or settings out of range.
    """
    if resamples < 100:
        raise InputError("too few resamples", found=resamples, expected=">= 100")
    gold_array, a_array, b_array = _same_length(gold, a, b)
    observed = _score(confusion_matrix(gold_array, a_array, n_classes), metric) - _score(
        confusion_matrix(gold_array, b_array, n_classes), metric
    )
    rows, counts = np.unique(
        np.stack([gold_array, a_array, b_array], axis=1), axis=0, return_counts=True
    )
    n = len(gold_array)
    size = n_classes * n_classes
    into_a, into_b = (np.zeros((len(rows), size)) for _ in range(2))
    into_a[np.arange(len(rows)), rows[:, 0] * n_classes + rows[:, 1]] = 1
    into_b[np.arange(len(rows)), rows[:, 0] * n_classes + rows[:, 2]] = 1
    rng = np.random.default_rng(seed)
    batch = max(1, _BATCH_CELLS // max(size, len(rows)))
    differences = []
    for start in range(0, resamples, batch):
        drawn = rng.multinomial(n, counts / n, size=min(batch, resamples - start))
        shape = (len(drawn), n_classes, n_classes)
        score_a = _score((drawn @ into_a).reshape(shape), metric)
        score_b = _score((drawn @ into_b).reshape(shape), metric)
        differences.append(score_a - score_b)
    drawn_differences = np.concatenate(differences)
    return bootstrap_difference(metric, float(observed), drawn_differences, n)


def accuracy_difference(only_a_right: int, only_b_right: int, n: int) -> Difference:
    """Accuracy of model a minus that of model b: the paired bootstrap without its resamples.

    A resample's difference is (B - C) / n, where B and C count the drawn examples on which only a
    or only b was right: a sum of n independent steps of +1, -1 or 0, whose distribution is the
    n-fold convolution of one step's. It is computed through its Fourier transform, on a lattice so
    wide that what wraps around has a probability below 1e-30 (Bernstein's inequality). The
    quantiles are those that `paired_bootstrap` tends to with ever more resamples.

    Raises `InputError` for a negative count, for more than `n` examples, and for n < 1.
    """
    if min(only_a_right, only_b_right) < 0 or not n >= max(1, only_a_right + only_b_right):
        raise InputError(
            "no counts of a comparison",
            found=f"{only_a_right} and {only_b_right} of {n}",
            expected=">= 0, and together at most all examples",
        )
    mean = only_a_right - only_b_right
    reach = 40 + math.ceil(12 * math.sqrt(only_a_right + only_b_right))
    size = 1 << (2 * reach).bit_length()
    angle = 2 * np.pi * np.fft.rfftfreq(size)
    step = (n - only_a_right - only_b_right) / n + (
        (only_a_right * np.exp(-1j * angle) + only_b_right * np.exp(1j * angle)) / n
    )
    # The lattice begins at mean - size / 2, so that the mean lies in its middle.
    shift = np.exp(1j * angle * (mean - size // 2))
    cumulative = np.cumsum(np.fft.irfft(step**n * shift, size))
    tail = (1 - LEVEL) / 2
    # A probability that equals the level but for rounding has reached it.
    places = np.searchsorted(cumulative, np.array([tail, 1 - tail, ALPHA]) - 1e-12)
    low, high, bound = ((places + mean - size // 2) / n).tolist()
    return Difference(
        metric="accuracy",
        interval=Interval(estimate=mean / n, low=low, high=high, level=LEVEL, n=n),
        lower_bound=bound,
        alpha=ALPHA,
    )


def cluster_bootstrap(
    counts: FloatArray, *, resamples: int = RESAMPLES, seed: int = 0
) -> FloatArray:
    """Sums [resamples, k] of counts [clusters, k] over clusters drawn with replacement.

    What belongs together (the words of a sentence) is drawn together, so what is computed of the
    sums keeps the dependence within it (Efron & Tibshirani 1993, chapter 8; Davison & Hinkley
    1997, section 3.8, resampling of clusters). Equal clusters are drawn as one by their number.
    The same `seed` gives the same sums. Raises `InputError` without clusters.
    """
    if counts.ndim != 2 or not len(counts):
        raise InputError("nothing to draw from", found=f"counts of shape {counts.shape}")
    rows, times = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    n, batch = len(counts), max(1, _BATCH_CELLS // len(rows))
    drawn = [
        rng.multinomial(n, times / n, size=min(batch, resamples - start)) @ rows
        for start in range(0, resamples, batch)
    ]
    return np.concatenate(drawn).astype(np.float64)


def bootstrap_difference(metric: str, observed: float, drawn: FloatArray, n: int) -> Difference:
    """A `Difference` from the observed one and those of resamples [resamples], of `n` clusters."""
    tail = (1 - LEVEL) / 2
    low, high, bound = np.quantile(drawn, [tail, 1 - tail, ALPHA]).tolist()
    return Difference(
        metric=metric,
        interval=Interval(estimate=observed, low=low, high=high, level=LEVEL, n=n),
        lower_bound=bound,
        alpha=ALPHA,
    )


def non_inferiority(difference: Difference, margin: float) -> NonInferiority:
    """Whether model a is no worse than model b by `margin` or more, a fraction (0.01: a point).

    It holds when the one-sided lower bound of a minus b lies above -margin (Piaggio et al. 2012,
    JAMA 308, on reporting non-inferiority). Not holding does not prove being worse: too few
    examples fail as well. Raises `InputError` for a margin that is not above 0.
    """
    if not margin > 0:
        raise InputError("the margin is not above 0", found=margin, expected="for example 0.01")
    return NonInferiority(
        difference=difference, margin=margin, holds=difference.lower_bound > -margin
    )


def _score(confusion: npt.NDArray[np.generic], metric: Metric) -> FloatArray:
    if metric == "accuracy":
        return accuracy(confusion)
    if metric == "macro_f1":
        return macro_f1(confusion)
    raise InputError("unknown metric", found=repr(metric), expected="accuracy or macro_f1")


def _same_length(*lists: Sequence[int] | IntArray) -> list[IntArray]:
    arrays = [np.asarray(array, dtype=np.int64) for array in lists]
    if (
        any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays)
        or not arrays[0].size
    ):
        raise InputError(
            "gold classes and both models' answers must be lists of one length",
            found=", ".join(str(array.shape) for array in arrays),
        )
    return arrays


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{name} out of range", found=value, expected="above 0 and below 1")
