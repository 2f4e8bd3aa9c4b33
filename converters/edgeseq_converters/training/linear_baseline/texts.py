"""Labels per text: logistic regression over TF-IDF of words and characters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from edgeseq.tasks.examples import AnyExample, Dataset, gold_classes
from edgeseq.tasks.label_thresholds import choose_thresholds, decide
from edgeseq.tasks.multilabel_classification import threshold_logits
from edgeseq.tasks.registry import task_of

METHOD = "TF-IDF of words and characters with logistic regression"
INVERSE_PENALTIES = (1.0, 4.0)
"""Tried on the development split: scikit-learn's `C`, a larger one of which regularizes less."""
RAREST_RUN = 2
"""Texts that a run of characters must occur in to be a feature,"""
FEW_TEXTS = 100
"""but for data sets smaller than this."""
MAX_PASSES = 1000
"""Over the training texts, should the solver not have ended before."""
_WORD = r"(?u)\S+"
_EVERYWHERE = "\u2402"


class TextCandidate(NamedTuple):
    """A fitted model's class numbers for the development split and for the test split, as
    `Predictions` has them."""

    dev: list[int]
    test: list[int]
    settings: dict[str, float]
    parameters: int


def candidates(dataset: Dataset[Any]) -> Iterator[TextCandidate]:
    """One model for each of `INVERSE_PENALTIES`.

    Features are those of Wang & Manning 2012 ("Baselines and Bigrams") with characters beside them:
    words and pairs of words, and runs of 2 to 5 characters within a word, weighted by TF-IDF with
    the logarithm of the count (Manning, Raghavan & Schütze 2008, section 6.4).
    """
    train, dev, test = _features(dataset)
    is_multilabel = task_of(dataset.task).is_multilabel
    gold = _gold(dataset, dataset.train) if is_multilabel else _gold(dataset, dataset.train)[:, 0]
    for penalty in INVERSE_PENALTIES:
        # One binary model for each label: liblinear ends at the optimum in seconds, where L-BFGS
        # over all labels at once stops early on features of such different frequency. Its dual
        # form takes a third of the time where there are more features than texts.
        form = LogisticRegression(C=penalty, solver="liblinear", dual=True, max_iter=MAX_PASSES)
        model = OneVsRestClassifier(form)
        model.fit(train, gold)
        predict = _label_decisions(model, dev, dataset) if is_multilabel else model.predict
        yield TextCandidate(
            dev=predict(dev).ravel().tolist(),
            test=predict(test).ravel().tolist(),
            settings={"inverse_penalty": penalty},
            parameters=sum(map(_num_weights, model.estimators_)),
        )


def _num_weights(part: Any) -> int:
    """Weights of one label's model; a label that every text has needs only a constant."""
    return (part.coef_.size if hasattr(part, "coef_") else 0) + 1


def _gold(dataset: Dataset[Any], examples: Sequence[AnyExample]) -> npt.NDArray[np.int64]:
    return np.array([gold_classes(example, dataset.labels) for example in examples], np.int64)


def _label_decisions(
    model: Any, dev: scipy.sparse.csr_matrix, dataset: Dataset[Any]
) -> Callable[[scipy.sparse.csr_matrix], npt.NDArray[np.int64]]:
    """Features [texts, features] → decisions [texts, labels], at thresholds that are chosen as
    those of a bundle are."""
    gold = _gold(dataset, dataset.dev) > 0
    thresholds = threshold_logits(choose_thresholds(model.decision_function(dev), gold))
    return lambda features: decide(model.decision_function(features), thresholds)


def _features(dataset: Dataset[Any]) -> list[scipy.sparse.csr_matrix]:
    """[texts, features] of the three splits; the vocabulary is that of the training texts."""
    rarest = RAREST_RUN if len(dataset.train) >= FEW_TEXTS else 1
    vectorizers = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=rarest),
    )
    train = [v.fit_transform([_EVERYWHERE, *_texts(dataset.train)])[1:] for v in vectorizers]
    rest = [
        [v.transform(_texts(split)) for v in vectorizers] for split in (dataset.dev, dataset.test)
    ]
    return [scipy.sparse.hstack(parts, format="csr") for parts in (train, *rest)]


def _texts(examples: Sequence[AnyExample]) -> list[str]:
    """The texts, each after a word that all have: one of blanks alone has a feature, too."""
    return [f"{_EVERYWHERE} {example.text}" for example in examples]
