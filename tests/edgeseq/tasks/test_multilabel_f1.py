"""Macro and micro F1 against scikit-learn, their intervals, and the choice of thresholds."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from edgeseq.errors import DataError, InputError
from edgeseq.tasks import scoring
from edgeseq.tasks.label_thresholds import (
    MIN_TEXTS,
    choose_thresholds,
    decide,
    sigmoid,
    threshold_choice,
)
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq.tasks.multilabel_f1 import MACRO_F1, MICRO_F1
from edgeseq.tasks.predictions import Predictions

Array = np.ndarray[Any, Any]


def predictions_of(gold: Array, predicted: Array) -> Predictions:
    """Predictions of decisions [texts, labels]."""
    return Predictions(
        gold=tuple(gold.ravel().tolist()),
        predicted=tuple(predicted.ravel().tolist()),
        sources=("",) * len(gold),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=(gold.shape[1],) * len(gold),
    )


def draw(n_texts: int, n_labels: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    shares = rng.uniform(0, 0.5, n_labels)
    gold = (rng.random((n_texts, n_labels)) < shares).astype(int)
    return gold, gold ^ (rng.random(gold.shape) < 0.2)


@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 10_000))
def test_both_are_those_of_scikit_learn(n_texts: int, n_labels: int, seed: int) -> None:
    gold, predicted = draw(n_texts, n_labels, seed)
    labels = tuple(map(str, range(n_labels)))
    predictions = predictions_of(gold, predicted)
    for metric, average in ((MACRO_F1, "macro"), (MICRO_F1, "micro")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a label without texts has 0 there as well
            expected = f1_score(gold, predicted, average=average)
        assert scoring.score(metric, predictions, labels).value == pytest.approx(expected)
    [names, counts] = MACRO_F1.class_counts(predictions, labels)  # type: ignore[misc]
    assert names == labels
    both = np.stack([gold & predicted, gold, predicted]).sum(axis=1).T
    assert counts.tolist() == both.tolist()


def test_intervals_are_those_of_texts_drawn_with_replacement() -> None:
    gold, predicted = draw(150, 4, seed=3)
    rng = np.random.default_rng(8)
    for metric, average in ((MACRO_F1, "macro"), (MICRO_F1, "micro")):
        drawn = [rng.integers(len(gold), size=len(gold)) for _ in range(2000)]
        values = [
            f1_score(gold[rows], predicted[rows], average=average, zero_division=0)
            for rows in drawn
        ]
        score = scoring.score(metric, predictions_of(gold, predicted), tuple("abcd"))
        # The ends of an interval from 2,000 drawings are known to about a hundredth.
        assert score.ci95 == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])), abs=0.01)


def test_models_are_compared_on_the_same_texts() -> None:
    gold, better = draw(400, 3, seed=1)
    worse = better ^ (np.random.default_rng(2).random(gold.shape) < 0.15)
    first, second = predictions_of(gold, better), predictions_of(gold, worse)
    difference = scoring.difference(MACRO_F1, first, second, tuple("abc"))
    expected = [f1_score(gold, one, average="macro") for one in (better, worse)]
    assert difference.interval.estimate == pytest.approx(expected[0] - expected[1])
    assert 0 < difference.interval.low < difference.interval.high


@pytest.mark.parametrize(
    ("gold", "counts", "what"),
    [((1, 0, 1), (2, 1), "a decision for each label"), ((2, 0), (2,), "neither 0 nor 1")],
)
def test_what_are_no_decisions(gold: tuple[int, ...], counts: tuple[int, ...], what: str) -> None:
    predictions = Predictions(gold, gold, ("",) * len(counts), 0, 0, "", counts=counts)
    with pytest.raises(DataError, match=what):
        MACRO_F1.counts(predictions, ("a", "b"))


@given(st.integers(MIN_TEXTS + 1, 30), st.integers(0, 10_000), st.booleans())
def test_no_threshold_is_better_than_the_chosen_one(n: int, seed: int, has_ties: bool) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3), scale=3).astype(np.float32)
    logits = np.round(logits) if has_ties else logits
    gold = rng.random((n, 3)) < sigmoid(logits)
    gold[:MIN_TEXTS] = True
    thresholds = threshold_logits(choose_thresholds(logits, gold))
    decided = decide(logits, thresholds)
    for label in range(3):
        possible = [*logits[:, label], logits.max() + 1]
        best = max(f1_score(gold[:, label], logits[:, label] >= one) for one in possible)
        assert f1_score(gold[:, label], decided[:, label]) == pytest.approx(best)
    shared = choose_thresholds(logits, gold, "shared")
    assert len(set(shared)) == 1
    best = max(
        f1_score(gold, logits >= one, average="micro", zero_division=0) for one in logits.ravel()
    )
    decided = decide(logits, threshold_logits(shared))
    assert f1_score(gold, decided, average="micro", zero_division=0) == pytest.approx(best)


def test_a_rare_label_takes_the_shared_threshold() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 2), loc=-1)
    gold = np.stack([logits[:, 0] > -1.3, np.arange(50) < MIN_TEXTS - 1], axis=1)
    per_label, shared = choose_thresholds(logits, gold), choose_thresholds(logits, gold, "shared")
    assert per_label[1] == shared[1]
    assert per_label[0] != shared[0]
    assert choose_thresholds(logits, np.zeros_like(gold)) == (0.5, 0.5)
    assert choose_thresholds(100 * logits, gold, 0.25) == (0.25, 0.25)
    extreme = choose_thresholds(1000 * logits, gold)
    assert all(0 < threshold < 1 for threshold in extreme)


def test_thresholds_that_a_user_names() -> None:
    assert [threshold_choice(one) for one in ("per-label", "shared", "0.3", 0.3)] == [
        *("per-label", "shared", 0.3, 0.3),
    ]
    for wrong in ("often", "0", "1", "nan", -1.0):
        with pytest.raises(InputError, match="does not say how thresholds"):
            threshold_choice(wrong)
    assert threshold_logits((0.5, 0.75)) == (0.0, float(np.float32(np.log(3))))
