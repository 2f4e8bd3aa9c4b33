"""Tags of words: the rules of BIO, the best tags under them, and the entities that tags mean.

In BIO (Tjong Kim Sang & Veenstra 1999, "IOB2") an entity of type X begins with `B-X` and continues
with `I-X`. Only numpy is used, so that a device decodes and scores as a workstation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeseq.errors import DataError
from edgeseq.tasks.tag_transitions import TagTransitions

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
DoubleArray = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


class Rules(NamedTuple):
    """What may follow what: `start` [tags] and `follows` [tag before, tag]."""

    start: BoolArray
    follows: BoolArray


class PathScores(NamedTuple):
    """What a path of tags gets besides the scores of its words: `start` [tags] for its first tag,
    `pairs` [tag before, tag], `end` [tags] for its last one; minus infinity forbids."""

    start: DoubleArray
    pairs: DoubleArray
    end: DoubleArray


class Span(NamedTuple):
    """An entity: its type and its words, `end` not included."""

    kind: str
    start: int
    end: int


def bio_rules(labels: Sequence[str]) -> Rules:
    """`I-X` only after `B-X` or `I-X`, never at the start; everything else may follow anything."""
    inside = np.array([label.startswith("I-") for label in labels], dtype=bool)
    kinds = np.array([label[2:] if label[:2] in ("B-", "I-") else "" for label in labels])
    follows: BoolArray = ~inside[None, :] | (kinds[:, None] == kinds[None, :])
    return Rules(start=~inside, follows=follows)


def path_scores(transitions: TagTransitions) -> PathScores:
    """The transitions as arrays, rounded to float32 as the native runner has them."""
    rows = (transitions.start, transitions.pairs, transitions.end)
    return PathScores(*(np.array(row, np.float32).astype(np.float64) for row in rows))


class TagDecoder:
    """Finds the best tags of a sentence's words from their logits."""

    def __init__(
        self, span_labels: Sequence[str] = (), transitions: TagTransitions | None = None
    ) -> None:
        """`span_labels`: all labels where they are BIO tags, else none; `transitions`: those that
        the model was trained with."""
        self._rules = bio_rules(span_labels) if span_labels else None
        self._free = self._learnt = None if transitions is None else path_scores(transitions)
        if self._free is not None and self._rules is not None:
            self._learnt = _under_rules(self._free, self._rules)

    def best_tags(self, logits: AnyFloats) -> IntArray:
        """The most likely tags [words] from logits [words, tags]; BIO's rules are kept.

        With transitions it is Viterbi's path over the sums of logits and transitions, of which the
        rules forbid some; without them what `best_tags` gives.
        """
        if self._learnt is None or not len(logits):
            return best_tags(logits, self._rules)
        return _viterbi(np.asarray(logits, np.float64), self._learnt)

    def path_shares(self, logits: AnyFloats, tags: Sequence[int]) -> tuple[float, ...]:
        """With transitions the probability of each word's tag [words], BIO's rules aside
        (`tag_probabilities`). Empty without them, where a softmax of each word's logits gives it,
        and for logits that are not finite."""
        if self._free is None or not len(logits) or not np.isfinite(logits).all():
            return ()
        return tuple(tag_probabilities(logits, self._free)[range(len(tags)), tags].tolist())


def best_tags(logits: AnyFloats, rules: Rules | None = None) -> IntArray:
    """The most likely tags [words] from logits [words, tags]; `rules` are kept.

    Without rules, and where the most likely tag of each word already follows them, that is the
    argmax. Else it is Viterbi's path (Viterbi 1967; Forney 1973, Proceedings of the IEEE 61) over
    log-probabilities with transitions that are free or forbidden: the tags of largest product of
    probabilities among those that the rules allow. Of equal paths the lower tag numbers win.
    """
    best: IntArray = np.asarray(logits.argmax(axis=-1), dtype=np.int64)
    if rules is None or not len(best):
        return best
    if rules.start[best[0]] and rules.follows[best[:-1], best[1:]].all():
        return best
    zeros = np.zeros(rules.start.shape)
    free = PathScores(zeros, np.zeros(rules.follows.shape), zeros)
    return _viterbi(log_softmax(logits), _under_rules(free, rules))


def tag_probabilities(logits: AnyFloats, scores: PathScores | None = None) -> DoubleArray:
    """The probability of each tag [words, tags] from logits [words, tags], BIO's rules aside.

    Without scores of paths it is the softmax of each word; with them the share of all paths through
    the tag, by the forward-backward algorithm (Rabiner 1989, Proceedings of the IEEE 77).
    """
    if scores is None or not len(logits):
        return np.exp(log_softmax(logits))
    emissions = np.asarray(logits, np.float64)
    forward, backward = np.empty_like(emissions), np.empty_like(emissions)
    forward[0], backward[-1] = emissions[0] + scores.start, scores.end
    for word in range(1, len(emissions)):
        paths = forward[word - 1][:, None] + scores.pairs
        forward[word] = np.logaddexp.reduce(paths, axis=0) + emissions[word]
        later = len(emissions) - 1 - word
        paths = scores.pairs + (emissions[later + 1] + backward[later + 1])
        backward[later] = np.logaddexp.reduce(paths, axis=1)
    return np.exp(log_softmax(forward + backward))


def log_softmax(logits: AnyFloats) -> DoubleArray:
    """Log-probabilities over the last axis; the largest logit is subtracted first."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    result: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _under_rules(scores: PathScores, rules: Rules) -> PathScores:
    start = np.where(rules.start, scores.start, -np.inf)
    return PathScores(start, np.where(rules.follows, scores.pairs, -np.inf), scores.end)


def _viterbi(emissions: DoubleArray, scores: PathScores) -> IntArray:
    best = scores.start + emissions[0]
    came_from = np.zeros(emissions.shape, dtype=np.int64)
    for position in range(1, len(emissions)):
        paths = best[:, None] + scores.pairs
        came_from[position] = paths.argmax(axis=0)
        best = paths.max(axis=0) + emissions[position]
    tags = np.empty(len(emissions), dtype=np.int64)
    tags[-1] = (best + scores.end).argmax()
    for position in range(len(emissions) - 1, 0, -1):
        tags[position - 1] = came_from[position, tags[position]]
    return tags


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one sentence's BIO tags, in order.

    A stray `I-X` (after `O` or another type) begins an entity, as the published scorers take it
    (`conlleval`). Raises `DataError` for a tag that is neither `O`, `B-X` nor `I-X`.
    """
    entities: list[Span] = []
    kind, start = "", 0
    for position, tag in enumerate((*tags, "O")):
        prefix, _, tag_type = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not tag_type):
            raise DataError(
                "no BIO tag",
                where=f"word {position + 1}",
                found=repr(tag),
                expected="O, B-X or I-X",
            )
        continues = prefix == "I" and tag_type == kind
        if kind and not continues:
            entities.append(Span(kind, start, position))
            kind = ""
        if tag_type and not continues:
            kind, start = tag_type, position
    return entities


def entity_types(labels: Sequence[str]) -> tuple[str, ...]:
    """The types that BIO labels name, each once, in their order."""
    return tuple(dict.fromkeys(label[2:] for label in labels if label[:2] in ("B-", "I-")))


def entity_counts(
    gold: Sequence[str], predicted: Sequence[str], types: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Counts [types, 3] of one sentence: entities found exactly, entities there, entities said.

    An entity is found when type, first and last word agree (Tjong Kim Sang & De Meulder 2003).
    Raises `DataError` when the two differ in length, and as `spans` does.
    """
    if len(gold) != len(predicted):
        raise DataError("must have one tag per word", found=len(predicted), expected=len(gold))
    counts = np.zeros((len(types), 3), dtype=np.int64)
    number = {kind: index for index, kind in enumerate(types)}
    present, predicted_spans = set(spans(gold)), set(spans(predicted))
    for column, entities in enumerate((present & predicted_spans, present, predicted_spans)):
        for entity in entities:
            counts[number[entity.kind], column] += 1
    return counts
