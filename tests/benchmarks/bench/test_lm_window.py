"""A model of the next word that sees a window, in the measured process and in a whole benchmark."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.errors import BundleError
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.result import Settings
from edgeseq.runtime.stateful import StatefulModel, score_document
from edgeseq.tasks.context_windows import half_overlapping
from edgeseq.tasks.examples import StreamExample
from edgeseq.tasks.perplexity import PERPLEXITY
from edgeseq.tasks.scoring import score
from edgeseq_benchmarks.bench.predictor import continue_texts
from edgeseq_benchmarks.bench.runner import bench
from edgeseq_benchmarks.bench.stream_subject import STREAM_LENGTHS
from edgeseq_benchmarks.bench.verify import verify

from ...next_word_models import VOCABULARY, WINDOW, causal_transformer

WORDS = len(VOCABULARY)


@pytest.fixture(scope="module", params=["encoder", "cached"])
def bundle(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> BundleFiles:
    """Its test part has an empty document, one of one word, and one longer than its window."""
    from edgeseq.formats.trained_model import write_model_folder
    from edgeseq_converters.convert.import_model import load_model
    from edgeseq_converters.convert.pipeline import convert
    from edgeseq_converters.convert.plan import ConversionOptions

    folder = tmp_path_factory.mktemp("window")
    write_model_folder(folder / "model", causal_transformer("window"))
    generator = np.random.default_rng(0)
    lengths = {"train": (30,), "dev": (200, 90), "test": (120, 0, 1, 75)}
    parts: dict[Any, Any] = {
        part: tuple(
            StreamExample(
                id=f"{part}/{n}",
                words=tuple(VOCABULARY[m] for m in generator.integers(0, WORDS, length)),
            )
            for n, length in enumerate(own)
        )
        for part, own in lengths.items()
    }
    data = stream_dataset("random", parts, licence="", origin="")
    convert(
        load_model(folder / "model"),
        data,
        folder / "bundle",
        ConversionOptions(recipes=("float32",), lowerings=(request.param,)),
    )
    return read_bundle(folder / "bundle")


@pytest.fixture
def model(bundle: BundleFiles) -> StatefulModel:
    return StatefulModel(
        str(bundle.model_path),
        signature_key="stream",
        vocabulary_size=WORDS,
        max_tokens=bundle.manifest.max_tokens,
        threads=1,
    )


def brute_force(model: StatefulModel, ids: list[int]) -> tuple[float, int, int]:
    """ln p, first and among three, each word from a text of its own that ends before it."""
    given = [WORDS - 1, *ids[:-1]]
    nats, first, top3_correct = 0.0, 0, 0
    for begin, answered, end in half_overlapping(len(ids), WINDOW):
        for place in range(answered, end):
            model.reset()
            row = model.feed(given[begin : place + 1])[-1].astype(np.float64)
            nats += row[ids[place]] - np.log(np.exp(row - row.max()).sum()) - row.max()
            order = np.argsort(-row, kind="stable").tolist()
            first += order[0] == ids[place]
            top3_correct += ids[place] in order[:3]
    return nats, first, top3_correct


@pytest.mark.parametrize("length", [0, 1, 15, 16, 96])
def test_a_document_in_windows_scores_as_each_word_by_itself(
    model: StatefulModel, length: int
) -> None:
    ids = np.random.default_rng(1).integers(0, WORDS, length).tolist()
    nats, first, top3_correct = brute_force(model, ids)
    found = score_document(model, ids, WORDS - 1)
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert (found.tokens, found.top1_correct, found.top3_correct) == (length, first, top3_correct)


def last_words(bundle: BundleFiles, place: int) -> int:
    """How many words the answer behind word `place` sees, fed one by one: all that a window holds,
    or what a cache holds that begins anew with half a window whenever it is full."""
    if place < WINDOW:
        return place + 1
    if bundle.manifest.lowering == "encoder":
        return WINDOW
    return WINDOW // 2 + 1 + (place - WINDOW) % (WINDOW // 2)


def test_a_window_holds_the_last_words_and_a_document_begins_anew(
    bundle: BundleFiles, model: StatefulModel
) -> None:
    ids = np.random.default_rng(2).integers(0, WORDS, 50).tolist()
    rows = [model.feed([one])[0] for one in ids]
    for place in range(50):
        model.reset()
        seen = ids[place + 1 - last_words(bundle, place) : place + 1]
        np.testing.assert_allclose(model.feed(seen)[-1], rows[place], atol=1e-5)
    model.reset()
    np.testing.assert_allclose(model.feed(ids[:5]), rows[:5], atol=1e-5)
    assert np.abs(model.feed(ids[:1])[0] - rows[0]).max() > 1e-3
    with pytest.raises(BundleError, match="fewer tokens at a time"):
        model.feed(ids[: WINDOW + 1])


@pytest.mark.parametrize("tokens", [1, 2, 16, 17, 100])
def test_what_is_timed_behind_a_context_is_its_next_word(model: StatefulModel, tokens: int) -> None:
    ids = np.random.default_rng(4).integers(0, WORDS, tokens).tolist()
    model.reset()
    expected = model.feed(ids[-WINDOW:])[-1]
    again = model.prefill(ids)
    for _ in range(3):
        np.testing.assert_allclose(again(), expected, atol=1e-5)


def test_a_text_that_is_longer_than_the_window_is_answered_whole(model: StatefulModel) -> None:
    ids = np.random.default_rng(5).integers(0, WORDS, 45).tolist()
    found = model.token_log_probabilities(ids)
    assert found.shape == (45,)
    np.testing.assert_allclose(found[:9], model.token_log_probabilities(ids[:9]), atol=1e-5)


def test_the_end_of_a_document_is_no_worse_off(bundle: BundleFiles, model: StatefulModel) -> None:
    """Its last piece is shorter: a window holds more before it, a cache half a window as ever."""
    ids = np.random.default_rng(6).integers(0, WORDS, 19).tolist()
    given = [WORDS - 1, *ids[:-1]]
    found = score_document(model, ids, WORDS - 1).nats
    nats = 0.0
    for place in range(19):
        begin = 0 if place < WINDOW else (3 if bundle.manifest.lowering == "encoder" else 8)
        model.reset()
        row = model.feed(given[begin : place + 1])[-1].astype(np.float64)
        nats += row[ids[place]] - np.log(np.exp(row - row.max()).sum()) - row.max()
    assert found == pytest.approx(nats, rel=1e-5)


def test_the_golden_examples_hold_on_the_device(bundle: BundleFiles) -> None:
    assert [one for one in verify(bundle) if one.severity == "invalid"] == []


def test_a_text_goes_on_with_the_likeliest_words(bundle: BundleFiles, model: StatefulModel) -> None:
    text = " ".join(f"w{n % 30}" for n in range(40))
    (short, long) = continue_texts(bundle.path, ["w1 w2", text])
    ids = [n % 30 for n in range(40)][-WINDOW:]
    for found, given in ((short, [WORDS - 1, 1, 2]), (long, ids)):
        model.reset()
        row = model.feed(given)[-1].astype(np.float64)
        shares = np.exp(row) / np.exp(row).sum()
        assert found.words == tuple(VOCABULARY[n] for n in np.argsort(-shares)[:3])
    assert (short.tokens, long.tokens) == (2, 40)


def test_a_benchmark_measures_it_like_any_other(bundle: BundleFiles, brief: Settings) -> None:
    settings = msgspec.structs.replace(brief, length_tokens=(8, 16, 32))
    result = bench([bundle.path], settings=settings)
    (run,) = result.runs
    assert {one.code for one in run.findings if one.severity == "invalid"} <= {
        "processor-shared",
        "unstable",
    }
    assert [point.tokens for point in run.lengths] == sorted({8, 16, 32, *STREAM_LENGTHS})
    assert set(run.queries.tokens) == {1}
    found = run.predictions
    assert found is not None
    assert found.counts == (120, 0, 1, 75)
    value = score(PERPLEXITY, found, ()).value
    assert value == pytest.approx(np.exp(-sum(found.log_probabilities) / 196))
    assert run.bundle.max_tokens == WINDOW
