"""The next-word transformer: what it may see, where it starts, its training that goes on."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from edgeseq.cli.app import app
from edgeseq.datasets.wikitext import stream_dataset
from edgeseq.errors import CheckpointError, ConversionError, InputError, RefusedError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.trained_model import (
    ModelManifest,
    TrainedModel,
    not_trained_here,
    read_model_folder,
)
from edgeseq.runtime.stateful import StatefulModel
from edgeseq.tasks.context_windows import half_overlapping
from edgeseq.tasks.examples import EOS, UNKNOWN, Dataset, StreamExample
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.dispatch import Target, lower, lowerings_of
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.convert.recipes import get_recipe
from edgeseq_converters.models.huggingface.checkpoint import read_checkpoint
from edgeseq_converters.models.reference_encoder import BertReference
from edgeseq_converters.training.language_model import corpus
from edgeseq_converters.training.language_model.transformer import LmTransformer, initial_arrays
from edgeseq_converters.training.language_model.word_vectors import reduced_vectors
from edgeseq_converters.training.loop import PausedTraining
from edgeseq_converters.training.settings import LmBertSettings, TrainerOptions
from edgeseq_converters.training.trainer import train

SMALL = LmBertSettings(
    epochs=5,
    batch_size=4,
    context_length=16,
    embedding_size=12,
    num_sampled=20,
    learning_rate=5e-3,
    warmup_steps=5,
)
WORDS = (*(f"w{n}" for n in range(30)), UNKNOWN, EOS)


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
def trained(
    data: Dataset[StreamExample],
    small_bert_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("lm") / "walker"
    train(data, out, SMALL, TrainerOptions(checkpoint=small_bert_checkpoint))
    return out


@pytest.fixture
def model(small_bert_checkpoint: Path) -> LmTransformer:
    """Random weights, large enough for differences to be seen."""
    source = read_checkpoint(small_bert_checkpoint)
    rng = np.random.default_rng(1)
    shares = np.full(len(WORDS), 1 / len(WORDS), np.float32)
    reduced = reduced_vectors(source, WORDS, shares, 12, rng)
    config, arrays = initial_arrays(source, reduced, shares, SMALL, rng)
    return LmTransformer(config, {n: a * 2 for n, a in arrays.items()}, SMALL)


def folder_of(model: LmTransformer) -> TrainedModel:
    manifest = ModelManifest(
        name="random",
        task="lm",
        arch="bert",
        labels=(),
        max_tokens=SMALL.context_length,
        training=not_trained_here("random"),
        bert=model.config,
    )
    return TrainedModel(manifest, model.arrays(), corpus.tokenizer_json(WORDS))


def test_a_later_word_changes_no_earlier_answer(model: LmTransformer) -> None:
    ids = np.random.default_rng(2).integers(0, len(WORDS), (2, 16)).astype(np.int32)
    whole = model.logits(ids).numpy()
    for place in (0, 5, 15):
        other = ids.copy()
        other[:, place] = (other[:, place] + 1) % len(WORDS)
        found = model.logits(other).numpy()
        np.testing.assert_array_equal(found[:, :place], whole[:, :place])
        assert (np.abs(found[:, place:] - whole[:, place:]).max(-1) > 1e-4).all()
    np.testing.assert_allclose(model.logits(ids[:, :9]).numpy(), whole[:, :9], atol=1e-5)


def test_nothing_is_seen_of_the_document_before(model: LmTransformer) -> None:
    """Words behind a place where a document begins do not depend on those before it."""
    ids = np.random.default_rng(3).integers(0, len(WORDS), (1, 16)).astype(np.int32)
    other = ids.copy()
    other[0, :6] = (other[0, :6] + 1) % len(WORDS)
    keep = np.ones((1, 16), np.float32)
    keep[0, 6] = 0
    first, second = (
        model.window_features(tf.constant(i), tf.constant(keep)).numpy() for i in (ids, other)
    )
    np.testing.assert_array_equal(first[6:], second[6:])
    assert np.abs(first[:6] - second[:6]).max() > 1e-4


def test_training_graph_and_numpy_give_the_same(model: LmTransformer) -> None:
    ids = np.random.default_rng(4).integers(0, len(WORDS), (3, 16)).astype(np.int32)
    found = model.logits(ids).numpy()
    expected = BertReference(folder_of(model))(ids)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, float(np.abs(found).max())))


def test_numpy_and_pytorch_give_the_same(model: LmTransformer) -> None:
    """The layers against Hugging Face's BERT with a causal mask, at the same weights."""
    import torch
    from transformers import BertConfig, BertModel

    own, arrays = model.config, model.arrays()
    config = BertConfig(
        vocab_size=4,
        hidden_size=own.hidden_size,
        num_hidden_layers=own.layers,
        num_attention_heads=own.attention_heads,
        intermediate_size=own.intermediate_size,
        max_position_embeddings=own.max_position_embeddings,
        hidden_act=own.hidden_act,
        layer_norm_eps=own.layer_norm_eps,
        type_vocab_size=1,
    )
    bert = BertModel(config, add_pooling_layer=False).eval()
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    kept = ("encoder.", "embeddings.LayerNorm", "embeddings.position")
    state = {name: array for name, array in state.items() if name.startswith(kept)}
    lacking = bert.load_state_dict(state, strict=False).missing_keys
    assert all("word_embeddings" in name or "token_type" in name for name in lacking)
    torch.nn.init.zeros_(bert.embeddings.token_type_embeddings.weight)
    ids = np.random.default_rng(5).integers(0, len(WORDS), (2, 16)).astype(np.int32)
    table = arrays["embeddings.word_embeddings.weight"]
    words = table[ids] @ arrays["embeddings.project.weight"].T + arrays["embeddings.project.bias"]
    causal = torch.triu(torch.full((2, 1, 16, 16), -1e9), diagonal=1)
    with torch.no_grad():
        states = bert(inputs_embeds=torch.from_numpy(words), attention_mask=causal)[0].numpy()
    rows = states @ arrays["transform.dense.weight"].T + arrays["transform.dense.bias"]
    expected = rows @ table.T + arrays["decoder.bias"]
    found = BertReference(folder_of(model))(ids)
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1.0, float(np.abs(found).max())))


def test_it_starts_from_the_checkpoint(small_bert_checkpoint: Path) -> None:
    """What the first layer is given is about what the checkpoint would give it for the word."""
    source = read_checkpoint(small_bert_checkpoint)
    rng = np.random.default_rng(1)
    words = ("the", "good", UNKNOWN, EOS)
    shares = np.full(len(words), 1 / len(words), np.float32)
    settings = msgspec.structs.replace(SMALL, embedding_size=32, layers=1)
    reduced = reduced_vectors(source, words, shares, 32, rng)
    config, arrays = initial_arrays(source, reduced, shares, settings, rng)
    back = arrays["embeddings.word_embeddings.weight"] @ arrays["embeddings.project.weight"].T
    back += arrays["embeddings.project.bias"]
    table = source.weights["embeddings.word_embeddings.weight"]
    row = table[source_id(source.tokenizer_json, "[SEP]")]
    # The noise that parts words of one form is 0.02 / 0.07 of the spread.
    assert np.corrcoef(back[3], row)[0, 1] > 0.9
    name = "encoder.layer.0.output.dense.weight"
    np.testing.assert_array_equal(arrays[name], source.weights[name])
    assert "encoder.layer.1.output.dense.weight" not in arrays
    assert (config.layers, config.head, config.max_position_embeddings) == (1, "causal_lm", 16)


def source_id(tokenizer_json: str, token: str) -> int:
    from tokenizers import Tokenizer

    place = Tokenizer.from_str(tokenizer_json).token_to_id(token)
    assert place is not None
    return int(place)


def test_training_learns(trained: Path, data: Dataset[StreamExample]) -> None:
    model = read_model_folder(trained)
    counts = corpus.count_words(data.train)
    total = sum(counts.values())
    unigram = math.exp(-sum(n / total * math.log(n / total) for n in counts.values()))
    # A fair coin chooses between two words: nothing is better than about 2.
    assert 1.9 < model.manifest.training.dev_score < unigram / 3
    assert model.manifest.max_tokens == SMALL.context_length
    assert model.manifest.training.initial_weights


def test_a_held_training_goes_on_to_the_same_weights(
    trained: Path, data: Dataset[StreamExample], small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "walker"
    options = TrainerOptions(checkpoint=small_bert_checkpoint, checkpoint_interval_s=60)
    paused = train(data, out, SMALL, msgspec.structs.replace(options, max_seconds=1e-3))
    assert isinstance(paused, PausedTraining)
    assert 0 < paused.step < paused.total
    assert not out.exists()
    made = train(data, out, SMALL, options)
    assert isinstance(made, TrainedModel)
    for name, array in read_model_folder(trained).weights.items():
        np.testing.assert_allclose(made.weights[name], array, atol=1e-4)
    assert not list(tmp_path.glob("*.training.safetensors"))


def test_an_epoch_reads_each_window_once() -> None:
    ids = np.arange(16 * 12 + 5, dtype=np.int32) % len(WORDS)
    stream = corpus.join([ids], len(WORDS) - 1)
    places = corpus.Stream(np.arange(len(ids), dtype=np.int32), stream.targets, stream.carry)
    windows = corpus.StreamWindows(places, batch_size=4, window=16, seed=0)
    assert windows.per_epoch == 3
    for epoch in (0, 1):
        chunks = [windows.chunk(epoch, place)[0] for place in range(3)]
        assert chunks[0].shape == (4, 16)
        seen = np.concatenate(chunks).ravel()
        assert len(set(seen.tolist())) == len(seen)
        assert (np.diff(np.concatenate(chunks), axis=1) % len(ids) == 1).all()


def test_windows_score_each_word_once_with_half_a_window_before_it() -> None:
    for tokens in (*range(40), 1000):
        windows = half_overlapping(tokens, 16)
        answered = [place for one in windows for place in range(one.first, one.end)]
        assert answered == list(range(tokens))
        for begin, first, end in windows:
            assert end - begin <= 16
            assert first == 0 or first - begin >= 8
    assert len(half_overlapping(1000, 16)) == 1 + math.ceil((1000 - 16) / 8)


def test_windows_give_what_every_word_by_itself_gives(model: LmTransformer) -> None:
    generator = np.random.default_rng(6)
    eos = len(WORDS) - 1
    documents = [generator.integers(0, len(WORDS), n).astype(np.int32) for n in (1, 16, 29, 0)]
    nats = 0.0
    for ids in documents:
        given = [eos, *ids[:-1].tolist()]
        for begin, first, end in half_overlapping(len(ids), 16):
            for place in range(first, end):
                row = model.logits(np.asarray([given[begin : place + 1]], np.int32)).numpy()[0, -1]
                row = row.astype(np.float64)
                nats += row[ids[place]] - np.log(np.exp(row - row.max()).sum()) - row.max()
    expected = math.exp(-nats / (1 + 16 + 29))
    assert model.perplexity(documents, eos) == pytest.approx(expected, rel=1e-4)


def test_what_does_not_go_is_refused(
    data: Dataset[StreamExample], small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    for changed in ({"context_length": 65}, {"layers": 3}):
        settings = msgspec.structs.replace(SMALL, **changed)
        with pytest.raises(CheckpointError, match="fewer layers or positions"):
            train(data, tmp_path / "out", settings, options)
    with pytest.raises(InputError, match="shorter than one chunk"):
        train(data, tmp_path / "out", LmBertSettings(batch_size=64))
    with pytest.raises(InputError, match="distillation is not supported"):
        train(data, tmp_path / "out", SMALL, TrainerOptions(teacher=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lowering", ["encoder", "cached"])
@pytest.mark.parametrize(
    "recipe", ["float32", "float16", "dynamic_wi8_afp32", "weight_only_wi8_afp32"]
)
def test_the_file_answers_as_the_model_does(
    recipe: str, lowering: Any, model: LmTransformer, tmp_path: Path
) -> None:
    """In pieces, of which each sees the words before it, and at any place alone."""
    path = tmp_path / "model.tflite"
    path.write_bytes(lower(folder_of(model), get_recipe(recipe), Target(lowering)))
    ids = np.random.default_rng(7).integers(0, len(WORDS), 16).tolist()
    stream = StatefulModel(path, max_tokens=SMALL.context_length)
    whole = stream.feed(ids)
    expected = model.logits(np.asarray([ids], np.int32)).numpy()[0]
    scale = max(1.0, float(np.abs(expected).max()))
    bound = {"float32": 1e-5, "float16": 1e-2}.get(recipe, 0.1) * scale
    assert float(np.abs(whole - expected).max()) <= bound
    for sizes in ((1,) * 16, (5, 1, 10)):
        stream.reset()
        places = np.cumsum([0, *sizes])
        parts = [stream.feed(ids[a:b]) for a, b in itertools.pairwise(places)]
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5 * scale)


def test_behind_its_window_it_sees_the_last_words(model: LmTransformer, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(lower(folder_of(model), get_recipe("float32"), Target("encoder")))
    ids = np.random.default_rng(8).integers(0, len(WORDS), 40).tolist()
    stream = StatefulModel(path, max_tokens=SMALL.context_length)
    rows = [stream.feed([one])[0] for one in ids]
    for place in (15, 16, 39):
        last = np.asarray([ids[max(0, place - 15) : place + 1]], np.int32)
        expected = model.logits(last).numpy()[0, -1]
        np.testing.assert_allclose(rows[place], expected, atol=1e-4)


def test_a_later_word_changes_no_earlier_answer_of_the_file(
    model: LmTransformer, tmp_path: Path
) -> None:
    """Not in one bit: the mask is exact, also where the runtime quantizes activations."""
    ids = np.random.default_rng(9).integers(0, len(WORDS), 16).tolist()
    for recipe in ("float32", "dynamic_wi8_afp32"):
        path = tmp_path / f"{recipe}.tflite"
        path.write_bytes(lower(folder_of(model), get_recipe(recipe), Target("encoder")))
        stream = StatefulModel(path, max_tokens=SMALL.context_length)
        whole = stream.feed(ids)
        stream.reset()
        other = stream.feed([*ids[:9], *((one + 1) % len(WORDS) for one in ids[9:])])
        np.testing.assert_array_equal(whole[:9], other[:9])
        assert (np.abs(whole[9:] - other[9:]).max(-1) > 1e-4).all()


def test_the_table_is_in_the_file_once(model: LmTransformer) -> None:
    size = model.config.vocabulary_size * 12
    grown = LmBertSettings(context_length=16, embedding_size=12, layers=2)
    arrays = model.arrays()
    words = 5000
    generator = np.random.default_rng(10)
    table = generator.normal(size=(words, 12)).astype(np.float32)
    arrays |= {"embeddings.word_embeddings.weight": table}
    arrays |= {"decoder.bias": np.zeros(words, np.float32)}
    config = msgspec.structs.replace(model.config, vocabulary_size=words)
    large = LmTransformer(config, arrays, grown)
    text = [list(range(1, 16))]
    kinds = (("float32", 4), ("dynamic_wi8_afp32", 1), ("dynamic_wi4_ei4_afp32", 0.5))
    for recipe, each in kinds:
        sizes = [
            len(lower(folder_of(one), get_recipe(recipe), Target("encoder"), text))
            for one in (model, large)
        ]
        # The words' bias, and the scale and zero point of a row, once for both of its uses.
        each_word = 12 * each + 4 + (12 if each <= 1 else 0)
        assert abs(sizes[1] - sizes[0] - (words * each_word - size * each)) < 2000


@pytest.mark.parametrize("recipe", ["static_wi8_ai8", "dynamic_wi4_afp32"])
def test_recipes_that_it_has_not_are_refused(recipe: str, model: LmTransformer) -> None:
    with pytest.raises(ConversionError, match=f"no recipe {recipe}"):
        lower(folder_of(model), get_recipe(recipe), Target("encoder"))


def test_a_cache_is_for_the_next_word_alone(make: Any) -> None:
    assert lowerings_of("bert", "lm") == ("encoder", "cached")
    assert lowerings_of("bert", "sentiment") == ("encoder",)
    assert lowerings_of("lstm", "lm") == ("loop",)
    with pytest.raises(ConversionError, match="has a cache"):
        lower(make.bert(), get_recipe("float32"), Target("cached"))


def test_a_bundle_is_compared_with_the_float_model(
    trained: Path, data: Dataset[StreamExample], tmp_path: Path
) -> None:
    manifest = convert(
        load_model(trained),
        data,
        tmp_path / "bundle",
        ConversionOptions(recipes=("dynamic_wi8_afp32",)),
    ).bundles[0][1]
    bundle = read_bundle(tmp_path / "bundle")
    assert (bundle.labels, manifest.max_tokens, manifest.arch) == ((), 16, "bert")
    assert [one.name for one in manifest.signature.inputs] == ["input_ids", "logit_positions"]
    assert manifest.fidelity.score == pytest.approx(manifest.fidelity.float_score, rel=0.1)
    with pytest.raises(RefusedError, match="points of perplexity"):
        convert(
            load_model(trained),
            data,
            tmp_path / "no",
            ConversionOptions(recipes=("dynamic_wi8_afp32",), max_drop=-100.0),
        )
    assert not (tmp_path / "no").exists()
    golden = bundle.golden.examples[0]
    ids = np.asarray([golden.token_ids], np.int32)
    logits = BertReference(read_model_folder(trained))(ids)[0].astype(np.float64)
    nats = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = [0.0, *(nats[n, place] for n, place in enumerate(golden.token_ids[1:]))]
    np.testing.assert_allclose(golden.logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    "given", [["--teacher", "somewhere"], ["--seeds", "2"], ["--transfer-size", "5"]]
)
def test_the_command_line_refuses_what_it_would_not_do(given: list[str], tmp_path: Path) -> None:
    """Instead of training for an hour without it."""
    (tmp_path / "wikitext2").mkdir()
    text = " \n = One = \n \n w1 w2 w3 w4 \n"
    for part in ("train", "valid", "test"):
        (tmp_path / "wikitext2" / f"{part}.txt").write_text(text)
    out = tmp_path / "model"
    command = ["train", "lm", "--arch", "bert", "--out", str(out), "--data-dir", str(tmp_path)]
    result = CliRunner().invoke(app, [*command, *given])
    assert isinstance(result.exception, InputError)
    assert not out.exists()
