"""Tags and entities against a reference written from the definitions, and Viterbi by trying all."""

from __future__ import annotations

import itertools
import math
import random
import warnings

import numpy as np
import pytest

from edgeseq.errors import DataError
from edgeseq.tasks.entity_f1 import ENTITY_F1
from edgeseq.tasks.predictions import Predictions
from edgeseq.tasks.scoring import ACCURACY, difference, score
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.tagging import (
    TagDecoder,
    best_tags,
    bio_rules,
    entity_counts,
    entity_types,
    log_softmax,
    path_scores,
    spans,
    tag_probabilities,
)

LABELS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def entities(tags: list[str]) -> set[tuple[str, int, int]]:
    """Straight from conlleval's rule: an entity starts where a tag is B-, or I- of another type
    than the tag before it has; it goes on while I- of its type follows."""
    found = set()
    for start, tag in enumerate(tags):
        if tag == "O":
            continue
        kind = tag[2:]
        before = tags[start - 1] if start else "O"
        if tag[0] == "I" and before != "O" and before[2:] == kind:
            continue
        end = start + 1
        while end < len(tags) and tags[end] == f"I-{kind}":
            end += 1
        found.add((kind, start, end))
    return found


def f1_by_hand(gold: list[list[str]], said: list[list[str]]) -> float:
    there = {(n, *one) for n, tags in enumerate(gold) for one in entities(tags)}
    given = {(n, *one) for n, tags in enumerate(said) for one in entities(tags)}
    both = len(there & given)
    return 2 * both / (len(there) + len(given)) if there or given else 0.0


def answers(gold: list[list[str]], said: list[list[str]]) -> Predictions:
    return Predictions(
        gold=tuple(LABELS.index(tag) for tags in gold for tag in tags),
        predicted=tuple(LABELS.index(tag) for tags in said for tag in tags),
        sources=("",) * len(gold),
        truncated=0,
        unknown_only=0,
        examples_sha256="",
        counts=tuple(map(len, gold)),
    )


def random_sentences(draw: random.Random) -> tuple[list[list[str]], list[list[str]]]:
    lengths = [draw.randrange(0, 9) for _ in range(draw.randrange(1, 12))]
    return tuple(  # type: ignore[return-value]
        [[draw.choice(LABELS) for _ in range(length)] for length in lengths] for _ in range(2)
    )


def test_entity_f1_is_that_of_the_definition() -> None:
    metric, draw = ENTITY_F1, random.Random(1)  # noqa: S311
    for _ in range(300):
        gold, said = random_sentences(draw)
        counts = metric.counts(answers(gold, said), LABELS)
        assert counts.shape == (len(gold), 3)
        found = float(metric.value(counts.sum(axis=0)))
        assert found == pytest.approx(f1_by_hand(gold, said))


def test_entity_f1_equals_seqeval() -> None:
    seqeval = pytest.importorskip("seqeval.metrics", reason="seqeval is not installed")
    metric, draw = ENTITY_F1, random.Random(2)  # noqa: S311
    for _ in range(60):
        gold, said = random_sentences(draw)
        counts = metric.counts(answers(gold, said), LABELS)
        found = float(metric.value(counts.sum(axis=0)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sentences without an entity
            expected = seqeval.f1_score(gold, said, zero_division=0)
        assert found == pytest.approx(float(expected))


def test_a_stray_inside_tag_begins_an_entity() -> None:
    assert spans(["I-PER", "I-PER", "I-LOC", "O", "I-LOC"]) == [
        ("PER", 0, 2), ("LOC", 2, 3), ("LOC", 4, 5),
    ]  # fmt: skip
    assert spans([]) == []
    with pytest.raises(DataError, match="word 2: no BIO tag: found 'PER'"):
        spans(["O", "PER"])
    with pytest.raises(DataError, match="one tag per word"):
        entity_counts(["O"], [], ("PER",))
    assert entity_types(LABELS) == ("LOC", "PER")


def legal(path: tuple[int, ...]) -> bool:
    tags = [LABELS[number] for number in path]
    return all(
        not tag.startswith("I-") or before[2:] == tag[2:]
        for before, tag in zip(["O", *tags], tags, strict=False)
    )


def test_decoding_finds_the_best_legal_tags() -> None:
    rules, generator = bio_rules(LABELS), np.random.default_rng(0)
    paths = {n: [p for p in itertools.product(range(5), repeat=n) if legal(p)] for n in range(1, 5)}
    changed = 0
    for _ in range(150):
        n = int(generator.integers(1, 5))
        logits = generator.normal(0, 2, (n, 5)).astype(np.float32)
        odds = log_softmax(logits)
        found = tuple(best_tags(logits, rules).tolist())
        best = max(sum(odds[i, tag] for i, tag in enumerate(path)) for path in paths[n])
        assert legal(found)
        assert sum(odds[i, tag] for i, tag in enumerate(found)) == pytest.approx(best)
        changed += found != tuple(logits.argmax(axis=1))
    assert changed > 20  # the rules had something to do


def random_transitions(generator: np.random.Generator) -> TagTransitions:
    start, end, *pairs = generator.normal(0, 2, (7, 5)).tolist()
    return TagTransitions(tuple(start), tuple(map(tuple, pairs)), tuple(end))


def path_score(
    path: tuple[int, ...], logits: np.ndarray, transitions: TagTransitions
) -> float:  # straight from Lample et al. 2016, equation in section 2.2
    pairs = sum(transitions.pairs[a][b] for a, b in itertools.pairwise(path))
    words = sum(float(logits[word, tag]) for word, tag in enumerate(path))
    return transitions.start[path[0]] + pairs + words + transitions.end[path[-1]]


@pytest.mark.parametrize("has_rules", [False, True])
def test_transitions_decode_to_the_best_of_all_paths(has_rules: bool) -> None:
    generator, changed = np.random.default_rng(5), 0
    for _ in range(60):
        n = int(generator.integers(1, 5))
        transitions = random_transitions(generator)
        logits = generator.normal(0, 2, (n, 5)).astype(np.float32)
        found = tuple(
            TagDecoder(LABELS if has_rules else (), transitions).best_tags(logits).tolist()
        )
        paths = itertools.product(range(5), repeat=n)
        best = max(
            path_score(path, logits, transitions) for path in paths if legal(path) or not has_rules
        )
        assert legal(found) or not has_rules
        assert path_score(found, logits, transitions) == pytest.approx(best, rel=1e-5)
        changed += found != tuple(logits.argmax(axis=1))
    assert changed > 20
    assert TagDecoder(LABELS, transitions).best_tags(np.zeros((0, 5), np.float32)).tolist() == []


def test_probabilities_of_tags_are_shares_of_all_paths() -> None:
    generator = np.random.default_rng(6)
    for n in range(1, 5):
        transitions = random_transitions(generator)
        logits = generator.normal(0, 2, (n, 5)).astype(np.float32)
        shares, total = np.zeros((n, 5)), 0.0
        for path in itertools.product(range(5), repeat=n):
            weight = math.exp(path_score(path, logits, transitions))
            total += weight
            shares[range(n), path] += weight
        found = tag_probabilities(logits, path_scores(transitions))
        np.testing.assert_allclose(found, shares / total, rtol=1e-5)
    plain = tag_probabilities(logits)
    np.testing.assert_allclose(plain, np.exp(log_softmax(logits)))


def test_ties_go_to_the_lower_tag_and_nothing_has_no_tags() -> None:
    rules = bio_rules(LABELS)
    assert best_tags(np.zeros((4, 5), np.float32), rules).tolist() == [0, 0, 0, 0]
    assert best_tags(np.zeros((0, 5), np.float32), rules).tolist() == []
    stray = np.array([[0, -9, 5, -9, -9]], np.float32)  # I-LOC is likeliest, and barred
    assert best_tags(stray).tolist() == [2]
    assert best_tags(stray, rules).tolist() == [0]


def test_words_of_a_sentence_are_drawn_together() -> None:
    """A model that gets whole sentences right or wrong is known less well than its words say."""
    draw = random.Random(3)  # noqa: S311
    right = [draw.random() < 0.7 for _ in range(200)]
    gold = [["O"] * 20 for _ in right]
    said = [["O" if ok else "B-PER"] * 20 for ok in right]
    found = answers(gold, said)
    whole = score(ACCURACY, found, LABELS)
    share = sum(right) / len(right)
    assert whole.value == pytest.approx(share)
    assert whole.n == 4000
    half = (whole.ci95[1] - whole.ci95[0]) / 2
    assert half == pytest.approx(1.96 * math.sqrt(share * (1 - share) / 200), rel=0.1)
    part = answers(gold[:50], said[:50])
    assert part.counts == (20,) * 50
    assert score(ACCURACY, part, LABELS).value == pytest.approx(sum(right[:50]) / 50)


def test_a_better_tagger_is_better_on_the_same_sentences() -> None:
    draw = random.Random(4)  # noqa: S311
    gold = [["B-PER", "I-PER", "O", "B-LOC"] for _ in range(150)]
    worse = [tags if draw.random() < 0.6 else ["O"] * 4 for tags in gold]
    better = [tags if draw.random() < 0.9 else ["O"] * 4 for tags in gold]
    metric = ENTITY_F1
    gained = difference(metric, answers(gold, better), answers(gold, worse), LABELS)
    values = [score(metric, answers(gold, said), LABELS).value for said in (better, worse)]
    assert gained.interval.estimate == pytest.approx(values[0] - values[1])
    assert 0 < gained.lower_bound < gained.interval.estimate
    same = difference(metric, answers(gold, better), answers(gold, better), LABELS)
    assert same.interval.low == same.interval.high == 0


def test_nothing_wrong_is_not_known_for_sure() -> None:
    gold = [["B-PER", "O"]] * 40
    perfect = score(ENTITY_F1, answers(gold, gold), LABELS)
    assert perfect.value == perfect.ci95[1] == 1
    assert 0.9 < perfect.ci95[0] < 0.95  # Wilson's bound of 40 of 40 sentences
