"""One label per text: logistic regression over TF-IDF of words and characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from edgeseq.tasks.examples import Dataset, TextExample

METHOD = "TF-IDF of words and characters with logistic regression"
INVERSE_PENALTIES = (1.0, 4.0)
"""Tried on the development split: scikit-learn's `C`, a larger one of which regularizes less."""
RAREST_RUN = 2
"""Texts that a run of characters must occur in to be a feature,"""
FEW_TEXTS = 100
"""but for data sets smaller than this."""
_WORD = r"(?u)\S+"
_EVERYWHERE = "\u2402"


class TextCandidate(NamedTuple):
    """A fitted model's class numbers for the development split and for the test split."""

    dev: list[int]
    test: list[int]
    settings: dict[str, float]
    parameters: int


def candidates(dataset: Dataset) -> Iterator[TextCandidate]:
    """One model for each of `INVERSE_PENALTIES`.

    Features are those of Wang & Manning 2012 ("Baselines and Bigrams") with characters beside them:
    words and pairs of words, and runs of 2 to 5 characters within a word, weighted by TF-IDF with
    the logarithm of the count (Manning, Raghavan & Schütze 2008, section 6.4).
    """
    train, dev, test = _features(dataset)
    numbers = {label: number for number, label in enumerate(dataset.labels)}
    gold = np.array([numbers[example.label] for example in dataset.train])
    for penalty in INVERSE_PENALTIES:
        # One binary model for each label: liblinear ends at the optimum in seconds, where L-BFGS
        # over all labels at once stops early on features of such different frequency.
        model = OneVsRestClassifier(LogisticRegression(C=penalty, solver="liblinear"))
        model.fit(train, gold)
        yield TextCandidate(
            dev=model.predict(dev).tolist(),
            test=model.predict(test).tolist(),
            settings={"inverse_penalty": penalty},
            parameters=sum(part.coef_.size + 1 for part in model.estimators_),
        )


def _features(dataset: Dataset) -> list[scipy.sparse.csr_matrix]:
    """[texts, features] of the three splits; the vocabulary is that of the training texts."""
    rarest = RAREST_RUN if len(dataset.train) >= FEW_TEXTS else 1
    vectorizers = (
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=rarest),
    )
    for vectorizer in vectorizers:
        vectorizer.fit([_EVERYWHERE, *_texts(dataset.train)])
    return [
        scipy.sparse.hstack([v.transform(_texts(split)) for v in vectorizers], format="csr")
        for split in (dataset.train, dataset.dev, dataset.test)
    ]


def _texts(examples: Sequence[TextExample]) -> list[str]:
    """The texts, each after a word that all have: one of blanks alone has a feature, too."""
    return [f"{_EVERYWHERE} {example.text}" for example in examples]
