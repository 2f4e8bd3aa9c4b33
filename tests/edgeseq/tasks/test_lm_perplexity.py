"""Perplexity per whole word, and WikiText-2 by articles."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edgeseq.datasets import wikitext
from edgeseq.datasets.registry import load_dataset
from edgeseq.datasets.unlabelled import is_absent, read_unlabelled
from edgeseq.errors import DataError
from edgeseq.tasks import perplexity, scoring
from edgeseq.tasks.perplexity import PERPLEXITY
from edgeseq.tasks.predictions import Predictions

ARTICLE = " \n = {title} = \n \n The first line . \n 1 = 2 = 3 \n \n = = Part = = \n \n More . \n"


def write_parts(folder: Path, *, articles: int = 2) -> None:
    for part in ("train", "valid", "test"):
        text = "".join(ARTICLE.format(title=f"T {number}") for number in range(articles))
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")


def answers(nats: tuple[float, ...], words: tuple[int, ...]) -> Predictions:
    return Predictions(
        gold=(),
        predicted=(),
        sources=("",) * len(words),
        truncated=0,
        unknown_only=0,
        examples_sha256="0",
        counts=words,
        log_probabilities=nats,
    )


def test_log_probabilities_and_ranks_are_those_of_brute_force() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(40, 17), scale=20).astype(np.float32)
    logits[3] = 5.0  # a tie of all words
    ids = generator.integers(0, 17, size=40).tolist()
    nats, places = perplexity.log_probabilities(logits, ids), perplexity.ranks(logits, ids)
    for row, own, found, place in zip(logits.tolist(), ids, nats, places, strict=True):
        shifted = [math.exp(one - max(row)) for one in row]
        assert found == pytest.approx(math.log(shifted[own] / sum(shifted)), abs=1e-4)
        assert place == sorted(range(17), key=lambda k, row=row: (-row[k], k)).index(own)


def test_words_of_several_tokens_count_once() -> None:
    """A model of pieces: the perplexity is that of whole words, whatever they are cut into."""
    pieces = [[-1.0, -0.5], [-2.0], [-0.25, -0.25, -0.5]]
    flat = [one for word in pieces for one in word]
    brute = math.prod(math.exp(sum(word)) for word in pieces) ** (-1 / len(pieces))
    assert perplexity.perplexity(sum(flat), len(pieces)) == pytest.approx(brute)


@pytest.mark.parametrize(
    ("logits", "ids", "what"),
    [
        (np.zeros((2, 3), np.float32), [0], "do not go with"),
        (np.zeros((1, 3), np.float32), [3], "outside of the vocabulary"),
        (np.zeros((1, 3), np.float32), [-1], "outside of the vocabulary"),
        (np.full((1, 3), np.nan, np.float32), [0], "returned NaN"),
    ],
)
def test_bad_logits_are_refused(logits: np.ndarray, ids: list[int], what: str) -> None:
    with pytest.raises(DataError, match=what):
        perplexity.log_probabilities(logits, ids)


def test_an_empty_text_has_no_perplexity() -> None:
    assert perplexity.log_probabilities(np.zeros((0, 3), np.float32), []).size == 0
    with pytest.raises(DataError, match="no word"):
        perplexity.perplexity(0.0, 0)


def test_the_score_is_over_all_words_and_drawn_by_document() -> None:
    metric = PERPLEXITY
    found = answers((-400.0, -1200.0, 0.0), (100, 200, 0))  # the last document is empty
    score = scoring.score(metric, found, ())
    assert score.value == pytest.approx(math.exp(1600 / 300))
    assert score.n == 300
    assert score.ci95[0] < score.value < score.ci95[1]
    assert metric.points(90.0, 100.0) > 0 > metric.points(100.0, 90.0)
    assert metric.show(98.76) == "98.8"
    one = answers((-400.0,), (100,))
    assert scoring.score(metric, one, ()).value == pytest.approx(math.exp(4))


def test_two_models_are_compared_on_the_same_documents() -> None:
    metric = PERPLEXITY
    words = (100, 120, 80, 90)
    better = answers(tuple(-4.0 * n for n in words), words)
    worse = answers(tuple(-4.1 * n for n in words), words)
    difference = scoring.difference(metric, better, worse, ())
    assert difference.interval.estimate == pytest.approx(0.1)
    assert difference.lower_bound > 0
    with pytest.raises(DataError, match="other examples"):
        scoring.difference(metric, better, answers((-1.0,), (1,)), ())


def test_articles_begin_at_titles_and_every_line_ends_with_a_word(tmp_path: Path) -> None:
    write_parts(tmp_path)
    data = load_dataset("wikitext2", data_dir=tmp_path)
    assert [len(part) for part in (data.train, data.dev, data.test)] == [2, 2, 2]
    text = "".join(ARTICLE.format(title=f"T {number}") for number in range(2))
    words = [word for one in data.test for word in one.words]
    assert words == [w for line in text.splitlines() for w in [*line.split(), "<eos>"]]
    assert data.test[1].words[:5] == ("=", "T", "1", "=", "<eos>")
    assert "1 = 2 = 3" in data.test[0].text  # a formula is no title


def test_a_text_without_a_title_is_one_document() -> None:
    assert list(wikitext.articles(["a b", "", "c"])) == [("a", "b", "<eos>", "<eos>", "c", "<eos>")]
    assert list(wikitext.articles([])) == []


def test_sentences_of_an_article_are_cut_at_their_ends() -> None:
    text = (
        "= A title of five words = <eos> The 9 @-@ year @-@ old <unk> sat down . Too short ! "
        "<unk> and the line ends here <eos> " + "word " * 41 + ". <eos>"
    )
    assert [" ".join(sentence) for sentence in wikitext.sentences(text.split())] == [
        "The 9 - year - old sat down .",
        "and the line ends here",
    ]


def test_running_text_is_unlabelled_text_sentence_by_sentence(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        content = f" = {split} = \n \n One sentence has five words . So has that one here . \n"
        (tmp_path / f"{split}.txt").write_text(content)
    texts = read_unlabelled("wikitext2", data_dir=tmp_path)
    assert texts == ["One sentence has five words .", "So has that one here ."]
    assert not is_absent("wikitext2", tmp_path)
    assert is_absent("wikitext2", None)
    assert not is_absent(str(tmp_path / "none.txt"), None)  # a mistake, which reading it names


def test_missing_and_empty_parts_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="wikitext2 is not on this machine"):
        load_dataset("wikitext2", data_dir=tmp_path)
    write_parts(tmp_path)
    (tmp_path / "test.txt").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match="is empty"):
        load_dataset("wikitext2", data_dir=tmp_path)
