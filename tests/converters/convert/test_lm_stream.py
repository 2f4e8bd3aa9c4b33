"""The next-word LSTM: its gradient, its training that goes on, its file with one table."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.errors import ConversionError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.trained_model import (
    TrainedModel,
    read_model_folder,
)
from edgeseq.runtime.stateful import StatefulModel
from edgeseq.tasks.examples import EOS, UNKNOWN, Dataset, StreamExample
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import Target, lower
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.training.language_model import corpus
from edgeseq_converters.training.language_model.lstm import initial_arrays, network_of_arrays
from edgeseq_converters.training.language_model.recurrence import recur_from
from edgeseq_converters.training.language_model.sampling import sample_words
from edgeseq_converters.training.loop import PausedTraining
from edgeseq_converters.training.settings import LmLstmSettings, TrainerOptions
from edgeseq_converters.training.trainer import train

from ...next_word_models import stream_of_network

SMALL = LmLstmSettings(
    epochs=4,
    batch_size=4,
    bptt_steps=8,
    embedding_size=12,
    hidden_size=16,
    num_sampled=20,
    learning_rate=1e-2,
    warmup_steps=5,
    pretrained_embeddings=False,
)


def walk(generator: np.random.Generator, length: int) -> tuple[str, ...]:
    """Words of which each says a good deal about the next."""
    word, words = 0, []
    for _ in range(length):
        word = (3 * word + int(generator.integers(0, 2))) % 30
        words.append(f"w{word}")
    return (*words, EOS)


@pytest.fixture(scope="module")
def data() -> Dataset[StreamExample]:
    generator = np.random.default_rng(0)
    parts: dict[Any, Any] = {
        part: tuple(
            StreamExample(id=f"{part}/{n}", words=walk(generator, 60)) for n in range(documents)
        )
        for part, documents in (("train", 20), ("dev", 3), ("test", 3))
    }
    return stream_dataset("walks", parts, licence="", origin="")


@pytest.fixture(scope="module")
def trained(data: Dataset[StreamExample], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lm") / "walker"
    train(data, out, SMALL)
    return out


def random_model(words: int = 50, hidden: int = 16, size: int = 12) -> TrainedModel:
    generator = np.random.default_rng(1)
    arrays = initial_arrays(np.full(words, 1 / words, np.float32), hidden, size, generator)
    arrays = {name: array * 3 for name, array in arrays.items()}
    vocabulary = (*(f"w{n}" for n in range(words - 2)), UNKNOWN, EOS)
    return stream_of_network(network_of_arrays("random", arrays), "random", vocabulary)


def test_the_written_out_gradient_is_that_of_tensorflow() -> None:
    """Against automatic differentiation of the same steps, documents beginning in between."""
    steps, batch, hidden = 5, 3, 4
    generator = np.random.default_rng(2)

    def drawn(*shape: int) -> Any:
        return tf.constant(generator.normal(size=shape).astype(np.float32))

    projected, recurrent = drawn(steps, batch, 4 * hidden), drawn(hidden, 4 * hidden)
    h, c, wanted = drawn(batch, hidden), drawn(batch, hidden), drawn(steps, batch, hidden)
    keep = tf.constant(generator.integers(0, 2, (steps, batch, 1)).astype(np.float32))

    def plain(projected: Any, recurrent: Any) -> tuple[Any, Any]:
        state, cell, states = h, c, []
        for t in range(steps):
            state, cell = state * keep[t], cell * keep[t]
            i, f, g, o = tf.split(projected[t] + state @ recurrent, 4, axis=-1)
            cell = tf.sigmoid(f) * cell + tf.sigmoid(i) * tf.tanh(g)
            state = tf.sigmoid(o) * tf.tanh(cell)
            states.append(state)
        return tf.stack(states), cell

    results = []
    for function in (plain, lambda p, r: recur_from(p, r, keep, h, c)):
        with tf.GradientTape() as tape:
            tape.watch([projected, recurrent])
            states, last = function(projected, recurrent)
            loss = tf.reduce_sum(states * wanted)
        results.append((states, last, *tape.gradient(loss, [projected, recurrent])))
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_training_learns_and_leaves_one_table(trained: Path, data: Dataset[StreamExample]) -> None:
    model = read_model_folder(trained)
    counts = corpus.count_words(data.train)
    total = sum(counts.values())
    unigram = math.exp(-sum(n / total * math.log(n / total) for n in counts.values()))
    # A fair coin chooses between two words: nothing is better than about 2.
    assert 1.9 < model.manifest.training.dev_score < unigram / 3
    assert [layer.options.get("tied") for layer in model.manifest.network.layers][-1] == "yes"  # type: ignore[union-attr]
    network = network_of(model)
    np.testing.assert_array_equal(network.layers[-1].kernel.T, network.embedding.table)  # type: ignore[union-attr]
    assert "2.kernel" not in model.weights


def test_a_held_training_goes_on_to_the_same_weights(
    trained: Path, data: Dataset[StreamExample], tmp_path: Path
) -> None:
    out = tmp_path / "walker"
    options = TrainerOptions(checkpoint_interval_s=60)
    paused = train(data, out, SMALL, msgspec.structs.replace(options, max_seconds=1e-3))
    assert isinstance(paused, PausedTraining)
    assert 0 < paused.step < paused.total
    assert not out.exists()
    made = train(data, out, SMALL, options)
    assert isinstance(made, TrainedModel)
    expected = read_model_folder(trained)
    for name, array in expected.weights.items():
        np.testing.assert_allclose(made.weights[name], array, atol=1e-5)
    assert not list(tmp_path.glob("*.training.safetensors"))


def test_candidates_are_drawn_as_often_as_is_said() -> None:
    """The expected count behind each logit is what drawing again and again gives."""
    vocabulary, wanted, times = 60, 12, 4000
    counts, expected = np.zeros(vocabulary), np.zeros(vocabulary)
    shares = np.log((np.arange(vocabulary) + 2) / (np.arange(vocabulary) + 1))
    shares /= np.log(vocabulary + 1)
    for number in range(times):
        drawn, tries = sample_words(vocabulary, wanted, np.random.default_rng(number))
        assert len(set(drawn.tolist())) == wanted
        counts[drawn] += 1 / times
        expected += -np.expm1(tries * np.log1p(-shares)) / times
    np.testing.assert_allclose(counts, expected, atol=0.04)
    assert sample_words(5, 9, np.random.default_rng(0))[0].tolist() == [0, 1, 2, 3, 4]


def test_too_short_a_text_is_refused(data: Dataset[StreamExample], tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SMALL, batch_size=64, bptt_steps=64)
    with pytest.raises(InputError, match="shorter than one chunk"):
        train(data, tmp_path / "out", settings)


@pytest.mark.parametrize("recipe", ["float32", "dynamic_wi8_afp32", "dynamic_wi4_ei4_afp32"])
def test_a_stream_in_pieces_is_the_whole_text(recipe: str, tmp_path: Path) -> None:
    model = random_model()
    path = tmp_path / "model.tflite"
    ids = np.random.default_rng(3).integers(0, 50, 70).tolist()
    path.write_bytes(lower(model, get_recipe(recipe), Target("loop"), [ids]))
    stream = StatefulModel(path, max_tokens=1 << 20)
    whole = stream.feed(ids)
    stream.reset()
    one_by_one = np.concatenate([stream.feed([place]) for place in ids])
    stream.reset()
    pieces = np.concatenate([stream.feed(ids[:1]), stream.feed(ids[1:40]), stream.feed(ids[40:])])
    np.testing.assert_allclose(one_by_one, whole, atol=1e-5)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)
    reference = answers(network_of(model), [ids])[0]
    scale = float(np.abs(reference).max())
    bounds = {"float32": 1e-5 * max(1.0, scale), "dynamic_wi8_afp32": 0.1 * scale}
    assert float(np.abs(whole - reference).max()) <= bounds.get(recipe, 0.3 * scale)


def test_the_table_is_in_the_file_once() -> None:
    """The rows that are looked up and the matrix of the last product are one buffer."""
    model = random_model(words=4000)
    table = 4000 * 12
    ids = np.random.default_rng(3).integers(0, 4000, 300).tolist()
    kinds = (("float32", 4), ("dynamic_wi8_afp32", 1), ("dynamic_wi4_ei4_afp32", 0.5))
    for recipe, each in kinds:
        for texts in ((), (ids,)):  # in 4 bits the words are rounded for the last product
            size = len(lower(model, get_recipe(recipe), Target("loop"), texts))
            # A word's bias, and the scale and zero point of a row: 12 bytes, once.
            rest = 4000 * (4 + (12 if each <= 1 else 0)) + 30_000
            assert table * each < size < table * each + rest


@pytest.mark.parametrize(
    ("recipe", "lowering", "what"),
    [
        ("dynamic_wi4_afp32", "loop", "no recipe dynamic_wi4_afp32"),
        ("float32", "fused", "only the lowering loop streams"),
    ],
)
def test_what_cannot_stream_is_refused(recipe: str, lowering: Any, what: str) -> None:
    with pytest.raises(ConversionError, match=what):
        lower(random_model(), get_recipe(recipe), Target(lowering))


def test_a_bundle_is_compared_with_the_float_model(
    trained: Path, data: Dataset[StreamExample], tmp_path: Path
) -> None:
    manifest = convert(
        load_model(trained),
        data,
        tmp_path / "bundle",
        ConversionOptions(recipes=("dynamic_wi8_afp32",), runtime="tflite-runtime==2.14"),
    ).bundles[0][1]
    # Run there where this Python can have it and it can be installed.
    assert str(manifest.provenance.tried_runtime).startswith("tflite-runtime 2.14.0: ")
    bundle = read_bundle(tmp_path / "bundle")
    assert bundle.labels == ()
    assert [one.name for one in manifest.signature.outputs] == ["logits", "h0_next", "c0_next"]
    fidelity = manifest.fidelity
    assert fidelity.score == pytest.approx(fidelity.float_score, rel=0.1)
    network = network_of(read_model_folder(trained))
    golden = bundle.golden.examples[0]
    logits = answers(network, [golden.token_ids])[0].astype(np.float64)
    nats = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = [0.0, *(nats[n, place] for n, place in enumerate(golden.token_ids[1:]))]
    np.testing.assert_allclose(golden.logits, expected, atol=1e-4)


def test_words_outside_of_the_vocabulary_are_the_unknown_one() -> None:
    from tokenizers import Tokenizer

    vocabulary = corpus.choose_vocabulary(corpus.count_words([]))
    assert vocabulary == (UNKNOWN, EOS)
    tokenizer = Tokenizer.from_str(corpus.tokenizer_json(vocabulary))
    assert tokenizer.encode("never seen <eos>").tokens == [UNKNOWN, UNKNOWN, EOS]
    documents = corpus.encode(
        [StreamExample("1", ()), StreamExample("2", ("new", EOS))], vocabulary
    )
    stream = corpus.join(documents, 1)
    assert stream.targets.tolist() == [0, 1]
    assert stream.inputs.tolist() == [1, 0]
    assert stream.carry.tolist() == [0.0, 1.0]
    assert corpus.join([], 1).targets.size == 0
