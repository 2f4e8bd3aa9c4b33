"""Linear models beside the neural ones: what they learn, and their formulas."""

from __future__ import annotations

from itertools import pairwise
from math import isclose, log

import pytest

from edgeseq.datasets.splits import SPLITS, make_dataset
from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.tasks.examples import (
    EOS,
    AnyDataset,
    StreamExample,
    TaggedExample,
    TextExample,
    gold_classes,
)
from edgeseq.tasks.scoring import metric_of, score
from edgeseq_converters.training.linear_baseline.fit import fit_linear_baseline
from edgeseq_converters.training.linear_baseline.next_words import BigramModel, estimated_discount
from edgeseq_converters.training.linear_baseline.tags import sentence_features, word_shape

from ...multilabel_data import multilabel_data

LABEL_OF = {"good": "positive", "bad": "negative", "plain": "neutral"}
TEXT = "the city of riga is a port and the port is old"


def texts(count: int) -> AnyDataset:
    """Texts whose label one word tells; the last of each split is blank."""
    words = list(LABEL_OF)
    splits = {
        split: [
            TextExample(f"{split}{n}", f"{words[n % 3]} thing {n}", LABEL_OF[words[n % 3]])
            for n in range(count)
        ]
        + [TextExample(f"{split}-blank", " ", "neutral")]
        for split in SPLITS
    }
    return make_dataset(
        "words", "sentiment", list(LABEL_OF.values()), splits, licence="", origin=""
    )


@pytest.mark.parametrize("count", [6, 120])
def test_logistic_regression_learns_the_word_that_tells(count: int) -> None:
    dataset = texts(count)
    baseline = fit_linear_baseline(dataset)
    assert baseline.data_sha256 == dataset.sha256
    assert baseline.labels == dataset.labels
    gold = [dataset.labels.index(example.label) for example in dataset.test]
    assert list(baseline.predictions.gold) == gold
    assert list(baseline.predictions.predicted[:-1]) == gold[:-1]
    assert baseline.dev_score >= count / (count + 1)
    assert baseline.settings["inverse_penalty"] > 0
    assert baseline.parameters > 0


def test_any_number_of_labels_is_learnt() -> None:
    dataset = multilabel_data(train=120, dev=30, test=20)
    baseline = fit_linear_baseline(dataset)
    gold = [gold_classes(example, dataset.labels) for example in dataset.test]
    assert list(baseline.predictions.gold) == [number for classes in gold for number in classes]
    assert baseline.predictions.counts == (len(dataset.labels),) * len(dataset.test)
    scored = score(metric_of(dataset.task), baseline.predictions, dataset.labels)
    assert min(scored.value, baseline.dev_score) > 0.9


def test_two_labels_are_learnt() -> None:
    examples = {
        split: [
            TextExample(f"{split}{n}", f"{word} day", label)
            for n in range(10)
            for word, label in [(("fine", "yes"), ("awful", "no"))[n % 2]]
        ]
        for split in SPLITS
    }
    data = make_dataset(
        "days", "text-classification", ("no", "yes"), examples, licence="", origin=""
    )
    assert fit_linear_baseline(data).dev_score == 1.0


def test_the_crf_sees_capitals_and_neighbours() -> None:
    names, verbs = ("Anna", "Boris", "Clara", "Dmitri"), ("sleeps", "runs", "sings")
    splits = {
        split: [
            TaggedExample(f"{split}{n}", (name, verbs[n % 3], "."), ("B-PER", "O", "O"))
            for n, name in enumerate(names)
        ]
        for split in SPLITS
    }
    unseen = TaggedExample("unseen", ("Zeno", "sleeps", "."), ("B-PER", "O", "O"))
    splits["test"] = [*splits["test"], unseen]
    data = make_dataset("names", "ner", ("O", "B-PER"), splits, licence="", origin="")
    baseline = fit_linear_baseline(data)
    found = score(metric_of("ner"), baseline.predictions, baseline.labels)
    assert (found.value, found.n) == (1.0, 15)
    assert baseline.predictions.counts == (3,) * 5
    assert [word_shape(word) for word in ("Ab3-", "IBM", "2026", "McDonald")] == [
        "Xxd-",
        "XX",
        "dd",
        "XxXxx",
    ]
    first, second = sentence_features(("Ab", "cd"))
    assert "start" in "".join(first)
    assert "after:word:cd" in first
    assert "before:shape:Xx" in second


def test_bigrams_are_those_of_the_formula_and_sum_to_one() -> None:
    words = ("x", "y", "x", "y", "x", "z", EOS)
    model = BigramModel([StreamExample("a", words)])
    for before in (EOS, "x", "never seen"):
        total = sum(model.probability(before, word) for word in set(words))
        assert isclose(total + model.probability(before, "unknown"), 1.0)
    # Five different pairs, three of them seen once and two twice; four words, of which x follows
    # two others and the rest one.
    discount, low_discount = 3 / (3 + 2 * 2), 3 / (3 + 2 * 1)
    lower = (1 - low_discount) / 5 + low_discount * 4 / 5 / (4 + 1)
    assert isclose(
        model.probability("x", "y"), (2 - discount) / 3 + discount * 2 / 3 * lower, rel_tol=1e-12
    )
    assert estimated_discount([1, 1, 2]) == 0.5
    assert isclose(
        model.log_probability(words),
        sum(log(model.probability(v, w)) for v, w in pairwise((EOS, *words))),
    )


def test_running_text_is_scored_by_document() -> None:
    documents = {split: [StreamExample(f"{split}/1", (*TEXT.split(), EOS))] for split in SPLITS}
    baseline = fit_linear_baseline(stream_dataset("text", documents, licence="", origin=""))
    found = score(metric_of("lm"), baseline.predictions, baseline.labels)
    assert 1 < found.value < 12
    assert baseline.predictions.counts == (len(TEXT.split()) + 1,)
