"""GAP's scores against its definition written out pair by pair, and their edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import DataError
from edgeseq.tasks.gap_f1 import GENDERS, bias_of, decisions, f1_of_counts, gap_f1
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import difference, metric_of, score

ANSWERS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(GENDERS)),
    min_size=1,
    max_size=40,
)


def by_hand(rows: list[tuple[int, int, str]]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the yes-and-no questions, one after the other."""
    questions = []
    for gold, predicted, _ in rows:
        questions += [(gold == name, predicted == name) for name in (0, 1)]
    yes = [truth for truth, said in questions if said]
    meant = [said for truth, said in questions if truth]
    precision = sum(yes) / len(yes) if yes else 0.0
    recall = sum(meant) / len(meant) if meant else 0.0
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


@given(ANSWERS)
def test_scores_are_the_definitions(rows: list[tuple[int, int, str]]) -> None:
    gold, predicted, genders = ([row[n] for row in rows] for n in range(3))
    assert gap_f1(gold, predicted) == pytest.approx(by_hand(rows)[2])
    counts = decisions(gold, predicted).sum(axis=0)
    f1_by_gender = {}
    for gender in set(genders):
        rows_of_gender = [row for row in rows if row[2] == gender]
        golds, answers = ([row[n] for row in rows_of_gender] for n in range(2))
        f1_by_gender[gender] = gap_f1(golds, answers)
        assert f1_by_gender[gender] == pytest.approx(by_hand(rows_of_gender)[2])
        counts -= decisions(golds, answers).sum(axis=0)
    assert not counts.any()
    if len(f1_by_gender) == 2 and f1_by_gender["masculine"]:
        expected = f1_by_gender["feminine"] / f1_by_gender["masculine"]
        assert bias_of(f1_by_gender) == pytest.approx(expected)
    else:
        assert bias_of(f1_by_gender) is None


@given(ANSWERS)
def test_swapping_the_names_changes_nothing(rows: list[tuple[int, int, str]]) -> None:
    swap = (1, 0, 2)
    swapped = [(swap[gold], swap[predicted], gender) for gold, predicted, gender in rows]
    assert gap_f1([r[0] for r in rows], [r[1] for r in rows]) == gap_f1(
        [r[0] for r in swapped], [r[1] for r in swapped]
    )


def test_edges() -> None:
    assert gap_f1([0, 1, 2], [0, 1, 2]) == 1.0
    assert gap_f1([2, 2], [2, 2]) == 0.0  # nothing asked for, nothing said
    assert gap_f1([0, 1], [2, 2]) == 0.0
    # The wrong name is a false positive and a false negative; "neither" is only the latter.
    assert decisions([0, 0], [1, 2]).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert f1_of_counts(np.asarray([[1, 1, 1], [0, 0, 0]])).tolist() == [0.5, 0.0]


def test_what_is_no_answer_is_refused() -> None:
    with pytest.raises(DataError, match="a predicted answer is not a class"):
        gap_f1([0], [3])
    with pytest.raises(DataError, match="one length"):
        gap_f1([0, 1], [0])
    with pytest.raises(DataError, match="one length"):
        gap_f1([], [])


def test_the_tasks_metric_is_the_overall_f1_with_an_interval() -> None:
    rng = np.random.default_rng(0)
    gold = rng.integers(0, 3, 300)
    predicted = np.where(rng.random(300) < 0.7, gold, rng.integers(0, 3, 300))
    found = Predictions(
        gold=tuple(gold.tolist()),
        predicted=tuple(predicted.tolist()),
        sources=("feminine", "masculine") * 150,
        truncated=0,
        unknown_only=0,
        examples_sha256="",
    )
    metric, labels = metric_of("coref"), ("A", "B", "neither")
    scored = score(metric, found, labels)
    assert scored.value == pytest.approx(gap_f1(gold, predicted))
    assert scored.ci95[0] < scored.value < scored.ci95[1]
    assert scored.n == 300
    same = difference(metric, found, found, labels)
    assert same.interval.estimate == 0
    with pytest.raises(DataError, match="A, B and neither"):
        score(metric, found, ("yes", "no"))


def test_bias_is_a_ratio_of_two_genders_only() -> None:
    assert bias_of({"feminine": 0.6, "masculine": 0.8}) == pytest.approx(0.75)
    assert bias_of({"feminine": 0.6, "masculine": 0.0}) is None
    assert bias_of({"feminine": 0.6}) is None
    assert bias_of({"feminine": 0.6, "masculine": 0.8, "product": 0.7}) is None
