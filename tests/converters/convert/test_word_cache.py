"""The cache of words read a moment ago: its file, its formula, and how it is fitted."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.trained_model import TrainedModel, read_model_folder
from edgeseq.runtime.stateful import StatefulModel, score_document
from edgeseq.tasks.examples import EOS, UNKNOWN, Dataset, StreamExample
from edgeseq.tasks.perplexity import log_probabilities, perplexity
from edgeseq.tasks.word_cache import WordCache
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import Target, lower
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.reference import reference_answers
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.reference_word_cache import with_word_cache
from edgeseq_converters.training.language_model.fit_word_cache import ReadWords, fit_word_cache
from edgeseq_converters.training.language_model.lstm import initial_arrays, network_of_arrays
from edgeseq_converters.training.settings import LmLstmSettings
from edgeseq_converters.training.trainer import train

from ...next_word_models import VOCABULARY, stream_of_network

CACHE = WordCache(size=5, sharpness=3.0, share=0.4)
IDS = np.random.default_rng(1).integers(0, 9, size=40).tolist()


def model_with(cache: WordCache | None) -> TrainedModel:
    """A random model of the next word."""
    words = len(VOCABULARY)
    arrays = initial_arrays(np.full(words, 1 / words, np.float32), 16, 12, np.random.default_rng(0))
    model = stream_of_network(network_of_arrays("cached", arrays), "cached")
    return msgspec.structs.replace(
        model, manifest=msgspec.structs.replace(model.manifest, word_cache=cache)
    )


def fed(path: Path, pieces: list[int]) -> np.ndarray:
    """The logits of `IDS`, fed in pieces of these sizes."""
    model = StatefulModel(path, max_tokens=1000)
    ends = np.cumsum(pieces).tolist()
    starts = [0, *ends[:-1]]
    rows = [model.feed(IDS[a:b]).copy() for a, b in zip(starts, ends, strict=True)]
    return np.concatenate(rows)


@pytest.mark.parametrize(
    "recipe", ["float32", "dynamic_wi8_afp32", "dynamic_wi4_ei4_afp32", "static_wi8_ai8"]
)
def test_the_file_has_the_cache_of_the_reference_however_it_is_fed(
    recipe: str, tmp_path: Path
) -> None:
    path, plain = tmp_path / "cached.tflite", tmp_path / "plain.tflite"
    texts = [IDS] * 4
    path.write_bytes(lower(model_with(CACHE), get_recipe(recipe), Target("loop"), texts))
    plain.write_bytes(lower(model_with(None), get_recipe(recipe), Target("loop"), texts))
    logits = fed(path, [40])
    for pieces in ([1] * 40, [3, 7, 30]):
        np.testing.assert_allclose(fed(path, pieces), logits, atol=1e-5)
    (reference,) = reference_answers(model_with(CACHE), [IDS])
    raised = fed(plain, [40])
    if recipe == "float32":
        np.testing.assert_allclose(logits, reference, atol=1e-5)
    else:  # the cache itself is computed in float32, from states and logits of the file
        assert np.abs(logits - reference).max() <= 3 * np.abs(raised - model_reference()).max()
    assert np.abs(logits - raised).max() > 0.5


def model_reference() -> np.ndarray:
    """The float logits without a cache."""
    return reference_answers(model_with(None), [IDS])[0]


def test_probabilities_sum_to_1_and_the_first_word_has_no_cache() -> None:
    network = network_of(model_with(None))
    outputs: dict[str, np.ndarray] = {}
    (logits,) = answers(network, [IDS], outputs.__setitem__)
    cached = with_word_cache(CACHE, logits, outputs["project/output"][0], IDS)
    np.testing.assert_array_equal(cached[0], logits[0])
    # Logits are shifted by ln(1 − share) where there is a cache: what is not in it keeps its own.
    total = np.exp(logits[-1] - np.logaddexp.reduce(logits[-1])).sum()
    shifted = cached[-1] + np.log(1 - CACHE.share) - np.logaddexp.reduce(logits[-1])
    assert np.exp(shifted).sum() == pytest.approx(total, rel=1e-5)


def test_the_fitted_perplexity_is_that_of_the_published_formula() -> None:
    generator = np.random.default_rng(2)
    words, size, vocabulary = 300, 20, 30
    ids = generator.integers(0, 6, size=words + 1)
    table = generator.normal(size=(vocabulary, 8)).astype(np.float32)
    states = table[ids[:-1]] + 0.1 * generator.normal(size=(words, 8)).astype(np.float32)
    logits = (states @ table.T).astype(np.float32)
    carry = np.ones((words, 1), np.float32)
    carry[[0, 150]] = 0
    nats = log_probabilities(logits, ids[1:].tolist()).astype(np.float32)
    targets = ids[1:].astype(np.int32)
    text = ReadWords(states[:, None], nats[:, None], targets[:, None], carry)
    cache, fitted = fit_word_cache(size, text)
    total = 0.0
    for begin, end in ((0, 150), (150, 300)):
        rows = with_word_cache(cache, logits[begin:end], states[begin:end], ids[begin:end].tolist())
        total += float(log_probabilities(rows, ids[begin + 1 : end + 1].tolist()).sum())
    assert fitted == pytest.approx(perplexity(total, words), rel=1e-4)
    assert fitted < perplexity(float(nats.sum()), words)


def test_a_training_fits_a_cache_that_its_bundle_has(tmp_path: Path) -> None:
    """Each document repeats few words of its own, which no weight can know."""
    generator = np.random.default_rng(3)

    def document(number: int, part: str) -> StreamExample:
        own = generator.choice(40, size=4, replace=False)
        words = tuple(f"w{word}" for word in generator.choice(own, size=80))
        return StreamExample(id=f"{part}/{number}", words=(*words, EOS))

    parts = {
        part: tuple(document(number, part) for number in range(count))
        for part, count in (("train", 30), ("dev", 1), ("test", 6))
    }
    data = stream_dataset("own-words", parts, licence="", origin="")  # type: ignore[arg-type]
    settings = LmLstmSettings(
        epochs=2,
        batch_size=4,
        bptt_steps=8,
        embedding_size=8,
        hidden_size=12,
        num_sampled=20,
        pretrained_embeddings=False,
        warmup_steps=5,
        word_cache_size=32,
    )
    train(data, tmp_path / "model", settings)
    model = read_model_folder(tmp_path / "model")
    cache = model.manifest.word_cache
    assert cache is not None
    assert cache.size == 32
    assert cache.share > 0
    convert(load_model(tmp_path / "model"), data, tmp_path / "cached", ConversionOptions())
    plain = msgspec.structs.replace(
        model, manifest=msgspec.structs.replace(model.manifest, word_cache=None)
    )
    (tmp_path / "plain.tflite").write_bytes(lower(plain, get_recipe("float32"), Target("loop")))
    cached, alone = (
        file_perplexity(path, model, data)
        for path in (read_bundle(tmp_path / "cached").model_path, tmp_path / "plain.tflite")
    )
    assert cached < 0.7 * alone
    # The one document was fitted to in one column.
    assert cached == pytest.approx(model.manifest.training.dev_score, rel=1e-3)


def file_perplexity(path: Path, model: TrainedModel, data: Dataset[StreamExample]) -> float:
    """The perplexity of a file on the development split."""
    ids = msgspec.json.decode(model.tokenizer_json)["model"]["vocab"]
    stateful = StatefulModel(path, max_tokens=1 << 20)
    scores = [
        score_document(stateful, [ids.get(word, ids[UNKNOWN]) for word in example.words], ids[EOS])
        for example in data.dev
    ]
    return perplexity(sum(s.nats for s in scores), sum(s.tokens for s in scores))
