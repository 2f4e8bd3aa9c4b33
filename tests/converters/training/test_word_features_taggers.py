"""Taggers that see shape and affixes of words: trained, lowered, converted, measured."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import ConversionError, InputError
from edgeseq.formats.bundle import read_bundle
from edgeseq.formats.bundle_manifest import BundleManifest
from edgeseq.formats.trained_model import TrainedModel, write_model_folder
from edgeseq.tasks.examples import Dataset, TaggedExample
from edgeseq.tasks.word_features import WordFeatures
from edgeseq_benchmarks.bench.launcher import check_runner_file
from edgeseq_benchmarks.bench.validity import word_findings
from edgeseq_converters.convert.bare_file import convert_to_file
from edgeseq_converters.convert.import_model import load_model
from edgeseq_converters.convert.lower.fixed_lengths import fix_lengths
from edgeseq_converters.convert.pipeline import convert
from edgeseq_converters.convert.plan import ConversionOptions
from edgeseq_converters.models.reference import reference_answers
from edgeseq_converters.training.bert_model import BertClassifier
from edgeseq_converters.training.settings import (
    BertSettings,
    LstmSettings,
    TrainerOptions,
    read_settings,
)
from edgeseq_converters.training.trainer import train_to_completion

from ..conftest import WORDS, make_bert, make_lstm
from .test_taggers import ask

TAGS = ("O", "B-X", "I-X")
FEATURES = WordFeatures(rows=50, size=6)
LONGEST = 12


def capitals(count: int) -> Dataset[TaggedExample]:
    """Invented sentences, one of them longer than the models; a word in capitals is an X."""
    draw = random.Random(0)  # noqa: S311

    def sentence(name: str, number: int) -> TaggedExample:
        words = draw.choices(WORDS, k=30 if number == 5 else draw.randint(1, 10))
        words = [word.upper() if draw.random() < 0.4 else word for word in words]
        tags = tuple("B-X" if word.isupper() else "O" for word in words)
        return TaggedExample(id=f"{name}/{number}", words=tuple(words), tags=tags)

    parts = {
        name: tuple(sentence(name, number) for number in range(count))
        for name in ("train", "dev", "test")
    }
    return make_dataset("invented", "ner", TAGS, parts, licence="none", origin="invented")


def tagger(arch: str) -> TrainedModel:
    """Random weights, those of the word features with as much weight as the token's."""
    draw = np.random.default_rng(3)
    table = draw.normal(size=(FEATURES.table_rows, FEATURES.size)).astype(np.float32)
    if arch == "bert":
        model = make_bert(max_tokens=LONGEST)
        assert model.manifest.bert is not None
        config = msgspec.structs.replace(model.manifest.bert, head="token_classification")
        manifest = msgspec.structs.replace(model.manifest, bert=config)
        projection = draw.normal(size=(32, FEATURES.width), scale=0.2).astype(np.float32)
        extra = {
            "word_features.project.weight": projection,
            "word_features.project.bias": draw.normal(size=32).astype(np.float32),
        }
    else:
        model = make_lstm(bidirectional=True, hidden=20, embedding=32, pooling="none")
        manifest = msgspec.structs.replace(model.manifest, max_tokens=LONGEST)
        extra = {}
        for direction in ("forward", "backward"):
            name = f"lstm.0.{direction}.kernel"
            rows = draw.normal(size=(FEATURES.width, 80), scale=0.4).astype(np.float32)
            extra[name] = np.concatenate([model.weights[name], rows])
    manifest = msgspec.structs.replace(
        manifest, task="ner", labels=TAGS, word_features=FEATURES, max_tokens=LONGEST
    )
    weights = model.weights | extra | {"word_features.weight": table}
    return TrainedModel(manifest, weights, model.tokenizer_json)


def converted(
    model: TrainedModel, folder: Path, recipes: tuple[str, ...], lowerings: tuple[str, ...]
) -> tuple[tuple[Path, BundleManifest], ...]:
    write_model_folder(folder / "model", model)
    options = ConversionOptions(recipes=recipes, lowerings=lowerings, length=LONGEST)
    if "unrolled" not in lowerings:
        options = msgspec.structs.replace(options, length=None)
    return convert(load_model(folder / "model"), capitals(12), folder / "out", options).bundles


@pytest.mark.parametrize(
    ("arch", "lowerings"),
    [("lstm", ("loop", "projected", "fused")), ("lstm", ("unrolled",)), ("bert", ("encoder",))],
)
def test_a_bundle_answers_as_the_float_model_does(
    arch: str, lowerings: tuple[str, ...], tmp_path: Path
) -> None:
    model = tagger(arch)
    bundles = converted(model, tmp_path, ("float32",), lowerings)
    assert len(bundles) == len(lowerings)
    words = ("The", "TEAPOT", "was", "never", "3.5", "fine", "and")
    for path, manifest in bundles:
        assert [tensor.name for tensor in manifest.signature.inputs] == [
            "input_ids",
            "word_features",
        ]
        assert manifest.word_features == FEATURES
        upper, lower = ask(path, [words, tuple(word.lower() for word in words)])
        assert upper.token_ids == lower.token_ids  # the tokenizer sees no capitals
        rows = np.array(upper.word_rows).reshape(-1, 3)
        text = [(token, *row) for token, row in zip(upper.token_ids, rows.tolist(), strict=True)]
        [expected] = reference_answers(model, [text])
        first = 1 if arch == "bert" else 0  # [CLS] carries no word
        assert rows[first].tolist() == list(FEATURES.rows_of("The"))
        # "3.5" is three tokens
        tokens = [first + position for position in (0, 1, 2, 3, 4, 7, 8)]
        np.testing.assert_allclose(
            np.array(upper.logits, np.float64).reshape(-1, 3), expected[tokens], atol=1e-4
        )
        assert np.abs(np.subtract(upper.logits, lower.logits)).max() > 0.05


def test_every_recipe_keeps_the_answers(tmp_path: Path) -> None:
    recipes = ("float16", "dynamic_wi8_afp32", "dynamic_wi4_ei4_afp32", "static_wi8_ai8")
    bundles = converted(tagger("lstm"), tmp_path, recipes, ("loop",))
    assert [manifest.recipe for _, manifest in bundles] == list(recipes)
    agreement = {manifest.recipe: manifest.fidelity.label_agreement for _, manifest in bundles}
    assert agreement.pop("float16") == 1
    assert min(value or 0 for value in agreement.values()) > 0.9  # of random weights


def test_case_is_learnt_by_both_families(small_bert_checkpoint: Path, tmp_path: Path) -> None:
    """A rule that the tokenizer hides: a word in capitals is an X."""
    data = capitals(120)
    scores = {}
    for size in (0, 8):
        settings = LstmSettings(
            epochs=6, batch_size=8, embedding_size=8, hidden_size=8, max_tokens=LONGEST,
            learning_rate=2e-2, min_piece_count=0, dropout=0.0, word_feature_size=size,
            word_feature_rows=50,
        )  # fmt: skip
        options = TrainerOptions(checkpoint=small_bert_checkpoint)
        model = train_to_completion(data, tmp_path / f"lstm{size}", settings, options)
        scores[size] = model.manifest.training.dev_score
    assert scores[8] > 0.95
    assert scores[0] < 0.7
    bert = train_to_completion(
        data,
        tmp_path / "bert",
        BertSettings(
            epochs=3,
            batch_size=8,
            learning_rate=3e-3,
            frozen_layers=0,
            max_tokens=LONGEST,
            word_feature_size=8,
            word_feature_rows=50,
        ),
        TrainerOptions(checkpoint=small_bert_checkpoint),
    )
    assert bert.manifest.training.dev_score > 0.95
    assert bert.manifest.word_features == WordFeatures(rows=50, size=8)
    # A teacher is asked with its own features, by a student that has none.
    taught = msgspec.structs.replace(settings, word_feature_size=0, epochs=1)
    options = TrainerOptions(teacher=tmp_path / "bert")
    student = train_to_completion(data, tmp_path / "student", taught, options)
    assert student.manifest.word_features is None


def test_an_encoder_starts_with_the_answers_of_its_checkpoint() -> None:
    model = make_bert(max_tokens=LONGEST)
    assert model.manifest.bert is not None
    config = msgspec.structs.replace(model.manifest.bert, head="token_classification")
    plain = BertClassifier(config, 3, model.weights)
    seeing: Any = BertClassifier(config, 3, model.weights, word_features=FEATURES)
    ids = np.array([[2, 5, 9, 3]], np.int32)
    rows = np.concatenate([ids[:, :, None], np.full((1, 4, 3), 7, np.int32)], axis=2)
    mask = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(seeing(rows, mask), plain(ids, mask))


@pytest.mark.parametrize(
    ("arch", "task", "settings", "message"),
    [
        ("lstm", "sentiment", {"word_feature_size": 8}, "are for token classification"),
        ("bert", "ner", {"word_feature_size": 8, "frozen_layers": 2}, "none can be frozen"),
        ("lstm", "ner", {"word_feature_size": -1}, "word_feature_size"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    arch: str, task: str, settings: dict[str, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_settings(settings, arch, task)


def test_what_cannot_compute_them_refuses_in_a_line(tmp_path: Path) -> None:
    [(path, _)] = converted(tagger("lstm"), tmp_path, ("float32",), ("loop",))
    bundle = read_bundle(path)
    check_runner_file(bundle)  # the native runner can
    with pytest.raises(ConversionError, match="no single signature of one input"):
        fix_lengths(bundle.model_path.read_bytes(), {"tokens_8": 8}, where="model")
    imported = load_model(tmp_path / "model")
    options = ConversionOptions(recipes=("float32",), length=8, lowerings=("loop",))
    with pytest.raises(InputError, match="no fixed length with the lowering loop"):
        convert(imported, capitals(2), tmp_path / "fixed", options)
    with pytest.raises(InputError, match="is converted to a bundle, on texts"):
        convert_to_file(imported, tmp_path / "model.tflite", ConversionOptions())


def test_other_features_than_the_conversions_are_found(tmp_path: Path) -> None:
    [(path, _)] = converted(tagger("lstm"), tmp_path, ("float32",), ("loop",))
    golden = read_bundle(path).golden
    texts = [example.words for example in golden.examples]
    rows = [answer.word_rows for answer in ask(path, texts)]
    assert word_findings(read_bundle(path), rows) == []
    other = (*rows[0][:-1], rows[0][-1] + 1)
    [finding] = word_findings(read_bundle(path), [other, *rows[1:]])
    assert (finding.code, finding.severity) == ("word-features-differ", "invalid")
