"""The loss of a CRF by enumeration of all paths, and a tagger that learns transitions."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from edgeseq.errors import BundleError, CheckpointError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.storage import read_json, write_json
from edgeseq.formats.trained_model import ModelManifest, read_model_folder, write_model_folder
from edgeseq.tasks.tag_transitions import TagTransitions
from edgeseq.tasks.tagging import TagDecoder, path_scores, tag_probabilities
from edgeseq_benchmarks.bench.predictor import predict
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.arrays import FloatArray
from edgeseq_converters.training.crf import TransitionScores
from edgeseq_converters.training.settings import LstmSettings, TrainerOptions, read_settings
from edgeseq_converters.training.tags import EncodedWords
from edgeseq_converters.training.teacher import teacher_tag_probabilities
from edgeseq_converters.training.trainer import train_to_completion

from .test_taggers import LONGEST, TAGS, ask, tagged, tagger

N = 3
# Of each row: the places of its words, and whether they begin and end their sentence.
ROWS = (((1, 3, 4), 1, 1), ((0, 1, 2, 5), 0, 1), ((), 0, 0), ((2,), 1, 0))

PAIRS = ((0.5, 1.0, -2.0), (-1.5, -9.0, 3.0), (0.25, 2.0, 1.0))
TRANSITIONS = TagTransitions((0.1, 0.2, 0.3), PAIRS, (0.7, -0.2, 0.1))


def random_scores() -> TransitionScores:
    scores = TransitionScores(N)
    for seed, variable in enumerate(scores.variables):
        variable.assign(np.random.default_rng(seed).normal(size=variable.shape))
    return scores


def inputs(*, is_hard: bool) -> tuple[FloatArray, FloatArray]:
    """Logits, and rows of distributions and edges."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(len(ROWS), 6, N)).astype(np.float32)
    rows = np.zeros((len(ROWS), 6, N + 2), np.float32)
    for row, (places, begins, ends) in zip(rows, ROWS, strict=True):
        for place in places:
            shares = rng.dirichlet(np.ones(N))
            row[place, :N] = np.eye(N)[shares.argmax()] if is_hard else shares
        if places:
            row[places[0], N], row[places[-1], N + 1] = begins, ends
    return logits, rows


def enumerated(scores: TransitionScores, logits: FloatArray, rows: FloatArray) -> float:
    """The mean over words of - sum over paths of q(path) ln p(path), with q a product of words."""
    start, pairs, end = (variable.numpy().astype(float) for variable in scores.variables)
    total = 0.0
    for number, (places, begins, ends) in enumerate(ROWS):
        values, weights = [], []
        for path in itertools.product(range(N), repeat=len(places)) if places else ():
            emissions = sum(logits[number, at, tag] for at, tag in zip(places, path, strict=True))
            between = sum(pairs[before, tag] for before, tag in itertools.pairwise(path))
            values.append(emissions + between + begins * start[path[0]] + ends * end[path[-1]])
            shares = [rows[number, at, tag] for at, tag in zip(places, path, strict=True)]
            weights.append(math.prod(shares))
        log_total = math.log(sum(map(math.exp, values))) if values else 0.0
        total += sum(w * (log_total - v) for w, v in zip(weights, values, strict=True))
    return total / sum(len(places) for places, _, _ in ROWS)


@pytest.mark.parametrize("is_hard", [True, False])
def test_the_loss_is_that_of_all_paths(is_hard: bool) -> None:
    scores = random_scores()
    logits, rows = inputs(is_hard=is_hard)
    expected = enumerated(scores, logits, rows)
    assert float(scores.cross_entropy(logits, rows)) == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    scores = random_scores()
    logits, rows = inputs(is_hard=False)
    values = [variable.value for variable in scores.variables]
    with tf.GradientTape() as tape:
        loss = scores.cross_entropy(logits, rows)
    for variable, slope in zip(scores.variables, tape.gradient(loss, values), strict=True):
        at = np.unravel_index(int(np.abs(np.asarray(slope)).argmax()), variable.shape)
        old, step = variable.numpy(), np.zeros(variable.shape, np.float32)
        step[at] = 1e-2
        sides = []
        for sign in (1, -1):
            variable.assign(old + sign * step)
            sides.append(enumerated(scores, logits, rows))
        variable.assign(old)
        assert float(np.asarray(slope)[at]) == pytest.approx((sides[0] - sides[1]) / 2e-2, rel=1e-2)


def test_edges_are_those_of_sentences_with_words() -> None:
    words = EncodedWords([], [], [], np.zeros(4, np.int64), (0, 3, 0, 1))
    assert words.sentence_edges().tolist() == [[1, 0], [0, 0], [0, 1], [1, 1]]
    nothing = EncodedWords([], [], [], np.zeros(0, np.int64), (0,))
    assert nothing.sentence_edges().shape == (0, 2)


def test_a_tagger_learns_transitions(small_bert_checkpoint: Path, tmp_path: Path) -> None:
    """An X never follows an X in these sentences."""
    data = tagged(120)
    values = {
        "epochs": 8, "batch_size": 8, "embedding_size": 16, "hidden_size": 16,
        "max_tokens": LONGEST, "learning_rate": 1e-2, "min_piece_count": 1, "dropout": 0.1,
        "token_dropout": 0.0, "patience": 8, "crf": True,
    }  # fmt: skip
    settings = read_settings(values, "lstm", "ner")
    assert isinstance(settings, LstmSettings)
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    model = train_to_completion(data, tmp_path / "model", settings, options)
    transitions = model.manifest.transitions
    assert transitions is not None
    assert transitions.is_for(len(TAGS))
    x = TAGS.index("B-X")
    assert transitions.pairs[x][x] < min(transitions.pairs[0][0], transitions.pairs[x][0])
    assert read_model_folder(tmp_path / "model").manifest.transitions == transitions
    # The epoch that was kept is the one that the score is of.
    training = model.manifest.training
    assert training.dev_score == max(training.dev_scores) > 0.7


def test_a_teacher_gives_the_shares_of_its_paths() -> None:
    data = tagged(8)
    model = tagger("bert")
    plain = teacher_tag_probabilities(model, data.train)
    manifest = msgspec.structs.replace(model.manifest, transitions=TRANSITIONS)
    found = teacher_tag_probabilities(msgspec.structs.replace(model, manifest=manifest), data.train)
    counts = [len(example.words) for example in data.train]
    sentences = np.split(np.log(plain), np.cumsum(counts)[:-1])
    scores = path_scores(TRANSITIONS)
    expected = np.concatenate([tag_probabilities(rows, scores) for rows in sentences])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - plain).max() > 0.1


def test_a_bundle_has_the_transitions_of_its_model(tmp_path: Path) -> None:
    model, data = tagger("lstm"), tagged()
    transitions = TRANSITIONS
    manifest = msgspec.structs.replace(model.manifest, transitions=transitions)
    model = msgspec.structs.replace(model, manifest=manifest)
    write_model_folder(tmp_path / "model", model)
    recipe = ConversionOptions(recipes=("float32",))
    convert(load_model(tmp_path / "model"), data, tmp_path / "bundle", recipe)
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.manifest.transitions == transitions
    words = [one.words for one in data.test if len(one.words) > 1]
    plain, decoder, changed = TagDecoder(TAGS), TagDecoder(TAGS, transitions), 0
    for answer in ask(bundle.path, words):
        logits = np.array(answer.logits, np.float32).reshape(-1, len(TAGS))
        assert answer.classes == tuple(decoder.best_tags(logits).tolist())
        changed += answer.classes != tuple(plain.best_tags(logits).tolist())
    assert changed > 0
    [answer] = ask(bundle.path, [("the", "teapot", "was", "fine")])
    [said] = predict(bundle.path, ["the teapot was fine"])
    logits = np.array(answer.logits, np.float32).reshape(-1, len(TAGS))
    shares = tag_probabilities(logits, path_scores(transitions))
    tags = [TAGS.index(tag) for tag in said.tags]
    assert said.tag_scores == pytest.approx(shares[range(len(tags)), tags].tolist())


def test_transitions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_model_folder(tmp_path / "model", tagger("lstm"))
    recipe = ConversionOptions(recipes=("float32",))
    convert(load_model(tmp_path / "model"), tagged(), tmp_path / "bundle", recipe)
    wrong = TagTransitions((0.0,), ((0.0,),), (0.0,))
    manifest = read_bundle(tmp_path / "bundle").manifest
    changed = msgspec.structs.replace(manifest, transitions=wrong)
    write_json(tmp_path / "bundle" / "bundle.json", changed)
    with pytest.raises(BundleError, match="transitions that do not fit its labels: found 1, 1 row"):
        read_bundle(tmp_path / "bundle")
    path = tmp_path / "model" / "model.json"
    trained = read_json(path, ModelManifest, error=CheckpointError)
    write_json(path, msgspec.structs.replace(trained, transitions=wrong))
    with pytest.raises(CheckpointError, match="its transitions do not fit its labels"):
        read_model_folder(tmp_path / "model")


def test_a_label_per_text_has_no_crf() -> None:
    for arch in ("lstm", "bert", "bag"):
        with pytest.raises(InputError, match="crf: a CRF needs a label for each word"):
            read_settings({"crf": True}, arch, "sentiment")
