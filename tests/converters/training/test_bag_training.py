"""Bags of embeddings: what the trained graph computes, what it learns, and the file made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pytest

import edgeseq as es
from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import CheckpointError, InputError
from edgeseq.formats.trained_model import BagConfig, TrainedModel, read_model_folder
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq_converters.models.from_trained import network_of
from edgeseq_converters.models.reference_recurrent import answers
from edgeseq_converters.models.trim_recurrent import trim_trained
from edgeseq_converters.training.bag_model import BagClassifier
from edgeseq_converters.training.settings import BagSettings, TrainerOptions, read_settings
from edgeseq_converters.training.trainer import train_to_completion

IDS = np.array([[5, 3, 8, 1, 2], [7, 7, 0, 0, 0], [4, 9, 2, 6, 0]], dtype=np.int32)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=np.float32)
MOODS = {"bright": "good", "grey": "bad"}


def make_data() -> Dataset:
    words = list(MOODS)
    splits = {
        split: [
            TextExample(f"{split}{n}", f"a {words[n % 2]} day number {n}", MOODS[words[n % 2]])
            for n in range(count)
        ]
        for split, count in (("train", 120), ("dev", 20), ("test", 20))
    }
    return make_dataset("moods", "sentiment", ("bad", "good"), splits, licence="", origin="")


@pytest.fixture(scope="module")
def folder(small_bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bag") / "bag"
    settings = BagSettings(
        epochs=8,
        batch_size=8,
        embedding_size=16,
        hidden_size=16,
        learning_rate=1e-2,
        min_piece_count=0,
    )
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    train_to_completion(make_data(), out, settings, options)
    return out


def as_trained(model: BagClassifier, like: TrainedModel) -> TrainedModel:
    manifest = msgspec.structs.replace(like.manifest, bag=model.config, labels=("a", "b", "c"))
    return msgspec.structs.replace(like, manifest=manifest, weights=model.arrays())


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_training_computes_what_the_network_does_and_ignores_padding(
    folder: Path, pooling: Literal["max", "mean"]
) -> None:
    config = BagConfig(vocabulary_size=10, embedding_size=6, hidden_size=4, pooling=pooling)
    model = BagClassifier(config, 3, seed=1)
    network = network_of(as_trained(model, read_model_folder(folder)))
    assert network.arch == "bag"
    texts = [row[: int(mask.sum())].tolist() for row, mask in zip(IDS, MASK, strict=True)]
    np.testing.assert_allclose(model(IDS, MASK), np.stack(answers(network, texts)), atol=1e-6)
    assert np.isfinite(model(IDS, MASK, training=True)).all()


def test_it_learns_and_answers_alike_from_the_file(folder: Path, tmp_path: Path) -> None:
    model = read_model_folder(folder)
    assert model.manifest.arch == "bag"
    assert model.manifest.bag is not None
    assert model.manifest.training.dev_score == 1.0
    data = make_data()
    for recipe in ("float32", "dynamic_wi4_ei4_afp32", "static_wi8_ai8"):
        bundle = es.convert(folder, data, recipe=recipe, out=tmp_path / recipe, progress=None)
        assert (bundle.manifest.arch, bundle.lowering) == ("bag", "pooled")
        predictions = bundle.predict([example.text for example in data.test])
        assert [p.label for p in predictions] == [example.label for example in data.test]


def test_rare_pieces_leave_the_table(folder: Path) -> None:
    model = read_model_folder(folder)
    trimmed = trim_trained(model, ["a bright day", "a grey day"], min_count=1)
    assert trimmed.manifest.bag is not None
    assert model.manifest.bag is not None
    size = trimmed.manifest.bag.vocabulary_size
    assert size == len(trimmed.weights["embedding.weight"]) < model.manifest.bag.vocabulary_size


@pytest.mark.parametrize("task", ["ner", "coref", "lm"])
def test_only_whole_texts_are_labelled(task: str) -> None:
    with pytest.raises(InputError, match="a bag of embeddings labels whole texts alone"):
        read_settings({}, "bag", task)


def test_dimensions_of_another_architecture_are_refused(folder: Path, tmp_path: Path) -> None:
    manifest = (folder / "model.json").read_text()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    (copy / "model.json").write_text(manifest.replace('"arch": "bag"', '"arch": "lstm"', 1))
    assert (copy / "model.json").read_text() != manifest
    with pytest.raises(CheckpointError, match="dimensions do not go with arch"):
        read_model_folder(copy)
