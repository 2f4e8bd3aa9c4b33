"""Scores against hand-worked numbers and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import DataError
from edgeseq.stats.classification import (
    accuracy,
    confusion_matrix,
    macro_f1,
    score,
)

LABELS = ("negative", "neutral", "positive")
GOLD = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
PREDICTED = [0, 0, 0, 2, 0, 1, 2, 2, 1, 1]


def test_hand_worked_numbers() -> None:
    scores = score(GOLD, PREDICTED, LABELS)
    assert scores.confusion == ((3, 0, 1), (1, 1, 0), (0, 2, 2))
    assert scores.accuracy == 0.6
    negative, neutral, positive = scores.per_class
    assert (negative.precision, negative.recall, negative.support) == (0.75, 0.75, 4)
    assert neutral.precision == pytest.approx(1 / 3)
    assert neutral.recall == 0.5
    assert neutral.f1 == pytest.approx(0.4)
    assert positive.f1 == pytest.approx(4 / 7)
    assert scores.macro_f1 == pytest.approx((0.75 + 0.4 + 4 / 7) / 3)


def test_class_that_never_occurs_scores_zero() -> None:
    scores = score([0, 0], [0, 0], ("a", "b"))
    assert scores.accuracy == 1
    assert scores.per_class[1].f1 == 0
    assert scores.macro_f1 == 0.5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_definitions(answers: list[tuple[int, int]]) -> None:
    gold, predicted = zip(*answers, strict=True)
    scores = score(gold, predicted, "abcd")
    assert scores.accuracy == pytest.approx(sum(g == p for g, p in answers) / len(answers))
    for number, own in enumerate(scores.per_class):
        hits = answers.count((number, number))
        assert own.precision == pytest.approx(hits / max(predicted.count(number), 1))
        assert own.recall == pytest.approx(hits / max(gold.count(number), 1))
        together = own.precision + own.recall
        harmonic = 2 * own.precision * own.recall / together if together else 0
        assert own.f1 == pytest.approx(harmonic)
    assert scores.macro_f1 == pytest.approx(sum(own.f1 for own in scores.per_class) / 4)


def test_batches_of_matrices() -> None:
    one = confusion_matrix(GOLD, PREDICTED, 3)
    batch = np.stack([one, 2 * one, np.eye(3, dtype=np.int64)])
    assert accuracy(batch).tolist() == [0.6, 0.6, 1.0]
    assert macro_f1(batch)[0] == macro_f1(batch)[1] == macro_f1(one)


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        ([], [], "two lists of one length"),
        ([0], [0, 1], "two lists of one length"),
        ([0, 3], [0, 1], "a gold class is out of range: found 3, expected 0 to 2"),
        ([0, 1], [0, -1], "a predicted class is out of range: found -1"),
    ],
)
def test_wrong_input(gold, predicted, message: str) -> None:
    with pytest.raises(DataError, match=message):
        score(gold, predicted, LABELS)
