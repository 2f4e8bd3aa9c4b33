"""A model of the next word in the measured process: state, documents, the cost of a context."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.errors import BundleError, DataError
from edgeseq.formats.bundle import BundleFiles, read_bundle
from edgeseq.formats.result import Settings
from edgeseq.runtime.stateful import StatefulModel, score_document, top_k
from edgeseq.stats.working_memory import working_memory
from edgeseq.tasks.examples import EOS, UNKNOWN, StreamExample
from edgeseq.tasks.perplexity import PERPLEXITY, perplexity
from edgeseq.tasks.scoring import score
from edgeseq_benchmarks.bench import protocol
from edgeseq_benchmarks.bench.context import BenchContext
from edgeseq_benchmarks.bench.predictor import continue_texts
from edgeseq_benchmarks.bench.runner import bench, default_settings, subjects_of
from edgeseq_benchmarks.bench.stream_subject import QUICK_WORDS, StreamSubject, score_documents
from edgeseq_benchmarks.bench.this_machine import ThisMachine
from edgeseq_benchmarks.bench.verify import verify
from edgeseq_benchmarks.bench.worker_client import WorkerClient, load_command

from ...next_word_models import VOCABULARY, stream_of_network

WORDS = len(VOCABULARY)
TIMEOUT_S = 60.0


def document(generator: np.random.Generator, length: int) -> tuple[str, ...]:
    return tuple(VOCABULARY[n] for n in generator.integers(0, WORDS, length))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleFiles:
    """A stream with random weights; its test part has an empty document and one of one word."""
    from edgeseq.formats.trained_model import write_model_folder
    from edgeseq_converters.convert.import_model import load_model
    from edgeseq_converters.convert.pipeline import convert
    from edgeseq_converters.convert.plan import ConversionOptions
    from edgeseq_converters.models.network import Network
    from edgeseq_converters.models.network_layers import Cell, Dense, Embedding, Recurrent

    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> Any:
        return generator.normal(size=shape).astype(np.float32)

    table = drawn(WORDS, 8)
    cell = Cell("lstm", drawn(8, 48), drawn(12, 48), drawn(48))
    network = Network(
        "next",
        Embedding("embedding", table),
        (
            Recurrent("lstm.0", cell, sequences=True),
            Dense("project", drawn(12, 8), drawn(8)),
            Dense("words", np.ascontiguousarray(table.T), drawn(WORDS)),
        ),
    )
    folder = tmp_path_factory.mktemp("stream")
    write_model_folder(folder / "model", stream_of_network(network, "next"))
    lengths = {"train": (30,), "dev": (200, 90), "test": (120, 0, 1, 75)}
    parts: dict[Any, Any] = {
        part: tuple(
            StreamExample(id=f"{part}/{n}", words=document(generator, length))
            for n, length in enumerate(own)
        )
        for part, own in lengths.items()
    }
    data = stream_dataset("random", parts, licence="", origin="")
    convert(
        load_model(folder / "model"),
        data,
        folder / "bundle",
        ConversionOptions(recipes=("float32",)),
    )
    return read_bundle(folder / "bundle")


@pytest.fixture
def child(bundle: BundleFiles) -> Iterator[WorkerClient]:
    with WorkerClient("next") as child:
        load = load_command(bundle, child, threads=1, first_text=("w1",))
        child.request(load, protocol.ModelLoaded, timeout_s=TIMEOUT_S)
        yield child


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
    """ln p, first and among three, token by token, with the softmax written out."""
    model.reset()
    nats, first, top3_correct = 0.0, 0, 0
    for before, target in zip([WORDS - 1, *ids], ids, strict=False):
        row = model.feed([before])[0].astype(np.float64)
        nats += row[target] - np.log(np.exp(row).sum())
        order = np.argsort(-row, kind="stable").tolist()
        first += order[0] == target
        top3_correct += target in order[:3]
    return nats, first, top3_correct


def test_chunks_and_single_words_score_the_same(model: StatefulModel) -> None:
    ids = np.random.default_rng(1).integers(0, WORDS, 100).tolist()
    nats, first, top3_correct = brute_force(model, ids)
    for chunk in (1, 7, 32, 1000):
        found = score_document(model, ids, WORDS - 1, chunk_tokens=chunk)
        assert found.nats == pytest.approx(nats, rel=1e-5)
        assert (found.tokens, found.top1_correct, found.top3_correct) == (100, first, top3_correct)


def test_the_state_is_put_back_between_documents(model: StatefulModel) -> None:
    generator = np.random.default_rng(2)
    one, other = (generator.integers(0, WORDS, 50).tolist() for _ in range(2))
    alone = score_document(model, other, WORDS - 1)
    score_document(model, one, WORDS - 1)
    assert score_document(model, other, WORDS - 1) == alone
    model.feed(one)  # without a reset the words before matter
    assert not np.allclose(
        model.feed(other)[0], model.token_log_probabilities([other[0], other[1]])[0]
    )


def test_an_empty_document_has_nothing_to_score(model: StatefulModel, child: WorkerClient) -> None:
    assert score_document(model, [], WORDS - 1) == (0.0, 0, 0, 0)
    for text in ("", "  "):
        reply = child.request(
            protocol.ScoreDocument(text, EOS), protocol.DocumentScored, timeout_s=TIMEOUT_S
        )
        assert (reply.nats, reply.tokens) == (0.0, 0)


def test_a_document_of_twenty_thousand_words(bundle: BundleFiles, child: WorkerClient) -> None:
    """Nothing is cut, and half of its words are unknown ones."""
    words = [VOCABULARY[n % 30] if n % 2 else f"new{n}" for n in range(20_000)]
    reply = child.request(
        protocol.ScoreDocument(" ".join(words), EOS),
        protocol.DocumentScored,
        timeout_s=TIMEOUT_S,
    )
    assert reply.tokens == 20_000
    assert 1 < perplexity(reply.nats, reply.tokens) < 1e6
    known = [word if word in VOCABULARY else UNKNOWN for word in words[:200]]
    some = [" ".join(part) for part in (words[:200], known)]
    replies = [
        child.request(
            protocol.ScoreDocument(text, EOS), protocol.DocumentScored, timeout_s=TIMEOUT_S
        )
        for text in some
    ]
    assert replies[0] == replies[1]


def test_a_subject_scores_whole_documents(
    bundle: BundleFiles, child: WorkerClient, model: StatefulModel
) -> None:
    (subject,) = subjects_of([bundle], default_settings(quick=True, runners=("python",)))
    assert isinstance(subject, StreamSubject)
    assert subject.predictions() is None
    score_documents(subject, child, BenchContext(default_settings(), ThisMachine()))
    found = subject.predictions()
    assert found is not None
    assert found.counts == (120, 0, 1, 75)
    places = {word: number for number, word in enumerate(VOCABULARY)}
    for document, nats in zip(subject.documents, found.log_probabilities, strict=True):
        expected, _, _ = brute_force(model, [places[word] for word in document.words])
        assert nats == pytest.approx(expected, rel=1e-5)
    value = score(PERPLEXITY, found, ()).value
    assert value == pytest.approx(np.exp(-sum(found.log_probabilities) / 196))


def test_a_quick_run_says_how_much_it_scored(
    bundle: BundleFiles, child: WorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeseq_benchmarks.bench.stream_subject.QUICK_WORDS", 100)
    assert QUICK_WORDS > 100
    (subject,) = subjects_of([bundle], default_settings(quick=True, runners=("python",)))
    assert isinstance(subject, StreamSubject)
    score_documents(subject, child, BenchContext(default_settings(quick=True), ThisMachine()))
    assert len(subject.scores) == 1
    assert "first 1 of 4 documents, 120 of 196 words" in subject.findings[-1].message


def test_words_are_timed_as_they_stand_and_never_count_as_varied(
    bundle: BundleFiles, child: WorkerClient
) -> None:
    (subject,) = subjects_of([bundle], default_settings(quick=True, runners=("python",)))
    rounds = [subject.slice_of_round(number, 20) for number in range(20)]
    assert rounds[0] == list(range(len(rounds[0])))
    assert {number for own in rounds for number in own} == set(subject.order)
    done = child.request(
        protocol.RunSlice(
            texts=subject.texts(rounds[0]),
            warmup_texts=subject.texts(rounds[1]),
            min_queries=3 * len(rounds[0]),
            max_queries=1000,
            min_duration_ns=0,
        ),
        protocol.SliceDone,
        timeout_s=TIMEOUT_S,
    )
    subject.add_slice(done, rounds[0], 0)
    queries = subject.table.queries()
    assert set(queries.tokens) == {1}
    assert len(queries.total_ns) >= 3 * len(rounds[0])
    assert not subject._inconsistent


@pytest.mark.parametrize("tokens", [1, 2, 33, 100])
def test_the_next_word_is_timed_behind_a_context(
    bundle: BundleFiles, child: WorkerClient, tokens: int
) -> None:
    (subject,) = subjects_of([bundle], default_settings(quick=True, runners=("python",)))
    command = protocol.RunLength(
        tokens=tokens,
        texts=subject.joined_texts(tokens, count=2),
        min_samples=5,
        max_samples=10,
        min_duration_ns=0,
        max_duration_ns=10**9,
    )
    done = child.request(command, protocol.LengthDone, timeout_s=TIMEOUT_S)
    assert 5 <= len(protocol.unpack(done.inference_ns)) <= 10


def test_what_is_timed_behind_a_context_is_its_next_word(model: StatefulModel) -> None:
    ids = np.random.default_rng(4).integers(0, WORDS, 77).tolist()
    model.reset()
    expected = model.feed(ids)[-1]
    again = model.prefill(ids)
    for _ in range(3):  # each time from the state that the context has led to
        np.testing.assert_allclose(again(), expected, atol=1e-5)


def test_the_golden_examples_hold_on_the_device(bundle: BundleFiles) -> None:
    assert [one for one in verify(bundle) if one.severity == "invalid"] == []


def test_a_text_goes_on_with_the_likeliest_words(bundle: BundleFiles, model: StatefulModel) -> None:
    (found, other) = continue_texts(bundle.path, ["w1 w2", "strange w3"])
    model.reset()
    row = model.feed([WORDS - 1, 1, 2])[-1].astype(np.float64)
    shares = np.exp(row) / np.exp(row).sum()
    best = np.argsort(-shares)[:3]
    assert found.words == tuple(VOCABULARY[n] for n in best)
    assert found.probabilities == pytest.approx(shares[best].tolist(), rel=1e-4)
    assert (found.unknown, other.unknown, other.tokens) == (0, 1, 2)
    with pytest.raises(DataError, match="is empty"):
        continue_texts(bundle.path, [" "])


def test_likeliest_is_in_order_and_never_more_than_there_are() -> None:
    row = np.asarray([0.0, 3.0, -1.0, 2.0], np.float32)
    assert top_k(row) == [1, 3, 0]
    assert top_k(row, 9) == [1, 3, 0, 2]


def test_another_model_is_refused(bundle: BundleFiles, tmp_path: Path) -> None:
    def opened(path: Path, key: str, vocabulary: int) -> StatefulModel:
        return StatefulModel(
            str(path),
            signature_key=key,
            vocabulary_size=vocabulary,
            max_tokens=99,
            threads=1,
        )

    damaged = tmp_path / "model.tflite"
    damaged.write_bytes(bundle.model_path.read_bytes()[:100])
    with pytest.raises(BundleError, match="is not a TFLite model"):
        opened(damaged, "stream", WORDS)
    with pytest.raises(BundleError):
        opened(bundle.model_path, "serving_default", WORDS)
    with pytest.raises(BundleError, match="do not have the shape of its vocabulary"):
        opened(bundle.model_path, "stream", WORDS + 1).feed([1])
    with pytest.raises(BundleError, match="inference failed"):
        opened(bundle.model_path, "stream", WORDS).feed([WORDS])


@pytest.mark.cgroup
def test_a_stream_has_a_working_memory(
    bundle: BundleFiles, brief: Settings, hierarchy: object
) -> None:
    settings = msgspec.structs.replace(
        brief, working_memory=True, search_budget_s=10.0, runners=("native", "python")
    )
    for run in bench([bundle.path], settings=settings).runs:
        search = run.working_memory
        assert search is not None
        assert len(search.references[0].total_ns) == 130
        assert search.references[0].query_major_faults == 0
        assert working_memory(search.references, search.runs).limit_bytes is not None, run.runner
