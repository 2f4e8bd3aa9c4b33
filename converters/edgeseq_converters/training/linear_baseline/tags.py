"""One tag per word: a linear-chain conditional random field over features of words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pycrfsuite

from edgeseq.formats.drafts import temporary_folder
from edgeseq.tasks.examples import TaggedExample

METHOD = "a linear-chain CRF over words, their shapes, affixes and neighbours"
ITERATIONS = 100
PENALTIES = {"c1": 0.1, "c2": 0.01}
"""Of the sums of the weights' sizes and of their squares."""
MAX_AFFIX = 3
MAX_RUN = 2


class TagModel:
    """A fitted model: tags of sentences, and the number of its weights."""

    def __init__(self, path: Path) -> None:
        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(path))
        weights = self._tagger.info()
        self.parameters = len(weights.state_features) + len(weights.transitions)

    def tags(self, words: Sequence[str]) -> list[str]:
        """One tag for each of `words`."""
        tags: list[str] = self._tagger.tag(list(sentence_features(words)))
        return tags


def fit_tags(sentences: Sequence[TaggedExample]) -> TagModel:
    """Fits by L-BFGS (Lafferty, McCallum & Pereira 2001, "Conditional Random Fields")."""
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    for sentence in sentences:
        if sentence.words:
            trainer.append(list(sentence_features(sentence.words)), list(sentence.tags))
    trainer.set_params(
        {**PENALTIES, "max_iterations": ITERATIONS, "feature.possible_transitions": True}
    )
    with temporary_folder() as folder:
        trainer.train(str(folder / "model.crfsuite"))
        return TagModel(folder / "model.crfsuite")


def sentence_features(words: Sequence[str]) -> Iterator[list[str]]:
    """The features of each word: its own, and those of the words before and after it."""
    own = [word_features(word) for word in words]
    for position, features in enumerate(own):
        before = own[position - 1][:2] if position else ["start"]
        after = own[position + 1][:2] if position + 1 < len(own) else ["end"]
        yield [
            *features,
            *(f"before:{feature}" for feature in before),
            *(f"after:{feature}" for feature in after),
        ]


def word_features(word: str) -> list[str]:
    """Lower case, shape, prefixes and suffixes."""
    lower = word.lower()
    affixes = [
        feature
        for length in range(1, min(MAX_AFFIX, len(lower)) + 1)
        for feature in (f"prefix:{lower[:length]}", f"suffix:{lower[-length:]}")
    ]
    return [f"word:{lower}", f"shape:{word_shape(word)}", *affixes]


def word_shape(word: str) -> str:
    """The kinds of the characters, at most two of a kind in a row: `Xxd-` of "Ab3-"."""
    shape = ""
    for character in word:
        kind = (
            "X" if character.isupper()
            else "x" if character.islower()
            else "d" if character.isdigit()
            else character
        )  # fmt: skip
        if not shape.endswith(kind * MAX_RUN):
            shape += kind
    return shape
