"""Training on an invented corpus: it learns, it repeats, it leaves nothing half-written."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from edgeseq.datasets.splits import make_dataset
from edgeseq.errors import CheckpointError, InputError, OutputError
from edgeseq.formats.train_logits import FILE_NAME, read_train_logits
from edgeseq.formats.trained_model import TrainedModel, read_model_folder
from edgeseq.progress import ProgressUpdate
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq_converters.models.reference_encoder import bert_answers
from edgeseq_converters.training import classifier
from edgeseq_converters.training.batching import (
    StateTexts,
    TokenTexts,
    in_order,
    shuffled_batches,
    sorted_batches,
)
from edgeseq_converters.training.initial_weights import project_table
from edgeseq_converters.training.loop import Loop, Objective, PausedTraining
from edgeseq_converters.training.optimizer import linear_decay
from edgeseq_converters.training.settings import (
    BertSettings,
    LstmSettings,
    TrainerOptions,
    read_settings,
)
from edgeseq_converters.training.teacher import LABEL_CORRECTION, correct_stale_logits
from edgeseq_converters.training.texts import encode_split
from edgeseq_converters.training.trainer import train, train_to_completion

BERT = BertSettings(epochs=5, batch_size=8, learning_rate=2e-3, frozen_layers=0)
LSTM = LstmSettings(
    epochs=5, batch_size=8, hidden_size=16, embedding_size=16, learning_rate=1e-2, dropout=0.1
)


def _corpus() -> Any:
    """The module next to all tests that invents rows (it is no package)."""
    path = Path(__file__).parents[2] / "conftest.py"
    spec = importlib.util.spec_from_file_location("shared_corpus", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_data(train: int = 320, *, scores: bool = False) -> Dataset:
    corpus = _corpus()
    values = {"negative": -2.0, "neutral": 0.0, "positive": 2.0}

    def part(name: str, count: int, seed: int) -> list[TextExample]:
        return [
            TextExample(
                id=f"{name}{number}",
                text=text,
                label=label,
                score=values[label] if scores else None,
            )
            for number, (text, label) in enumerate(corpus.invented_rows(count, seed=seed))
        ]

    return make_dataset(
        "invented",
        "sentiment",
        corpus.LABELS,
        {"train": part("train", train, 0), "dev": part("dev", 60, 1), "test": part("test", 20, 2)},
        licence="",
        origin="",
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return make_data()


@pytest.fixture(scope="module")
def teacher(
    data: Dataset, small_bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "tiny-bert"
    train(data, out, BERT, TrainerOptions(checkpoint=small_bert_checkpoint))
    return out


def same_weights(first: TrainedModel, second: TrainedModel) -> bool:
    return all(np.array_equal(first.weights[n], second.weights[n]) for n in first.weights)


def test_bert_learns_and_is_written(teacher: Path, data: Dataset) -> None:
    model = read_model_folder(teacher)
    assert model.manifest.training.dev_score > 0.9
    assert model.manifest.arch == "bert"
    assert model.manifest.name == "tiny-bert"
    assert model.manifest.labels == data.labels
    assert model.manifest.max_tokens == 64  # the checkpoint has no more positions
    assert model.manifest.training.data_sha256 == data.sha256
    assert model.manifest.training.settings["learning_rate"] == BERT.learning_rate
    assert model.manifest.training.initial_weights is not None
    assert model.weights["classifier.weight"].shape == (3, 32)
    assert sorted(path.name for path in teacher.parent.iterdir()) == ["tiny-bert"]


def test_lstm_learns_from_the_teacher(teacher: Path, data: Dataset, tmp_path: Path) -> None:
    reports: list[ProgressUpdate] = []
    settings = msgspec.structs.replace(LSTM, epochs=10)
    model = train_to_completion(
        data, tmp_path / "s", settings, TrainerOptions(teacher=teacher), progress=reports.append
    )
    # Chance is 0.4; six seeds gave 0.98 to 1.
    assert model.manifest.training.dev_score > 0.9
    assert model.manifest.training.teacher == "tiny-bert"
    assert model.manifest.lstm is not None
    words = model.manifest.lstm.vocabulary_size
    assert words < len(read_model_folder(teacher).weights["embeddings.word_embeddings.weight"]) + 1
    assert model.weights["embedding.weight"].shape == (words, 16)
    written = read_model_folder(tmp_path / "s")
    assert same_weights(model, written)
    ends = {r.stage for r in reports if r.done == r.total}
    assert ends == {"train s"}
    assert model.manifest.training.teacher_logits == "stored"


def test_the_teacher_keeps_what_it_said_in_training(teacher: Path, data: Dataset) -> None:
    kept = read_train_logits(teacher, data)
    gold = [data.labels.index(example.label) for example in data.train]
    # Chance is 0.4, and what it would be if the texts' order were lost.
    assert np.mean(kept.argmax(axis=1) == gold) > 0.8


def test_kept_logits_catch_up_with_the_step_that_followed() -> None:
    logits = np.array([[0.0, 0.0], [900.0, 0.0], [0.0, 2.0]], dtype=np.float32)
    labels = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], dtype=np.float32)
    moved = correct_stale_logits(logits, labels) - logits
    share = 1 / (1 + np.exp(-2.0))
    expected = [[0.5, -0.5], [0.0, 0.0], [share, -share]]
    np.testing.assert_allclose(moved, LABEL_CORRECTION * np.array(expected), atol=1e-6)
    assert correct_stale_logits(logits, labels).dtype == np.float32


def test_labels_are_computed_where_none_are_kept(
    teacher: Path, data: Dataset, tmp_path: Path
) -> None:
    other = make_data(64)
    without = tmp_path / "without"
    shutil.copytree(teacher, without)
    (without / FILE_NAME).unlink()
    settings = LstmSettings(epochs=1, hidden_size=8, embedding_size=8)
    for folder, dataset in ((teacher, other), (without, data)):
        reports: list[ProgressUpdate] = []
        options = TrainerOptions(teacher=folder, overwrite=True)
        model = train_to_completion(
            dataset, tmp_path / "s", settings, options, progress=reports.append
        )
        assert model.manifest.training.teacher_logits == "computed"
        assert any(r.stage == "run teacher tiny-bert" and r.done == r.total for r in reports)


class FixedScores(Objective):
    """An objective whose epochs have the scores 0.5, 0.9 and 0.7, and whose logits tell a text's
    number and the epoch."""

    epochs, patience, steps_per_epoch = 3, 9, 13

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        lengths = [1 + number % 7 for number in range(100)]
        self.batches = [shuffled_batches(lengths, 8, generator) for _ in range(3)]
        self.scores = iter((0.5, 0.9, 0.7))

    def identity(self) -> tuple[dict[str, Any], list[Any]]:
        return {}, []

    def learning_rate(self, step: int, total: int) -> float:
        return step / total

    def run_step(self, position: tuple[int, int], learning_rate: float, step: int) -> Any:
        index = self.batches[position[0]][position[1]]
        return 1.0, np.stack([index, np.full(len(index), position[0])], axis=1)

    def score_epoch(self) -> float:
        return next(self.scores)

    def train_logits(self, epoch: int, logits: Any) -> Any:
        return in_order(self.batches[epoch], logits)


def test_the_logits_of_the_best_epoch_come_back_in_the_texts_order() -> None:
    outcome = Loop(FixedScores(), stage="train").run()
    assert not isinstance(outcome, PausedTraining)
    assert outcome.best_epoch == 2
    np.testing.assert_array_equal(outcome.train_logits[:, 0], np.arange(100))
    assert set(outcome.train_logits[:, 1]) == {1}


def test_lstm_learns_alone(data: Dataset, small_bert_checkpoint: Path, tmp_path: Path) -> None:
    settings = LstmSettings(
        epochs=6,
        batch_size=64,  # the corpus is small: enough steps
        hidden_size=16,
        embedding_size=40,  # more than the table has: the others start at random
        learning_rate=1e-2,
        min_piece_count=0,
    )
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    model = train_to_completion(data, tmp_path / "s", settings, options)
    assert model.manifest.training.dev_score > 0.9
    assert model.manifest.training.teacher is None
    assert model.manifest.training.teacher_logits is None


@pytest.mark.parametrize("scores", [False, True])
def test_same_seed_same_weights(small_bert_checkpoint: Path, tmp_path: Path, scores: bool) -> None:
    data = make_data(64, scores=scores)
    settings = BertSettings(epochs=1, dropout=0.1, seed=5)
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    first, second = (
        train_to_completion(data, tmp_path / name, settings, options) for name in ("a", "b")
    )
    assert same_weights(first, second)
    lstm = LstmSettings(epochs=1, hidden_size=8, embedding_size=8, seed=5)
    taught = TrainerOptions(teacher=tmp_path / "a")
    first, second = (
        train_to_completion(data, tmp_path / name, lstm, taught) for name in ("c", "d")
    )
    assert same_weights(first, second)
    other = LstmSettings(epochs=1, hidden_size=8, embedding_size=8, seed=6)
    third = train_to_completion(data, tmp_path / "e", other, taught)
    assert not same_weights(first, third)


def test_scores_are_standardized_by_the_training_part(small_bert_checkpoint: Path) -> None:
    tokenizer_json = (small_bert_checkpoint / "tokenizer.json").read_text(encoding="utf-8")
    part = encode_split(make_data(scores=True), "train", tokenizer_json, 64)
    assert part.scores is not None
    assert part.scores.mean() == pytest.approx(0, abs=1e-6)
    assert part.scores.std() == pytest.approx(1, abs=1e-5)
    assert encode_split(make_data(), "train", tokenizer_json, 64).scores is None


def test_long_texts_keep_their_special_tokens(small_bert_checkpoint: Path) -> None:
    tokenizer = Tokenizer.from_file(str(small_bert_checkpoint / "tokenizer.json"))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    cut = encode_split(make_data(), "dev", tokenizer.to_str(), 8)
    assert max(map(len, cut.ids)) == 8
    assert {(ids[0], ids[-1]) for ids in cut.ids} == {(ends[0][1], ends[1][1])}


def test_interrupt_leaves_nothing(
    data: Dataset, small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    def interrupt(update: ProgressUpdate) -> None:
        if update.stage == "train out" and update.done > 3:
            raise KeyboardInterrupt

    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "out", BertSettings(), options, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_way_is_noticed_before_training(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for settings in (BertSettings(), LstmSettings()):
        with pytest.raises(OutputError, match="already exists"):
            train(data, tmp_path / "out", settings)


def test_replaces_when_told(data: Dataset, teacher: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    settings = LstmSettings(epochs=1, hidden_size=8, embedding_size=8)
    train(data, tmp_path / "out", settings, TrainerOptions(teacher=teacher, overwrite=True))
    assert read_model_folder(tmp_path / "out").manifest.arch == "lstm"


def test_refuses_teachers_that_cannot_teach(data: Dataset, teacher: Path, tmp_path: Path) -> None:
    settings = LstmSettings(epochs=1, hidden_size=8, embedding_size=8)
    student = tmp_path / "student"
    train(data, student, settings, TrainerOptions(teacher=teacher))
    with pytest.raises(CheckpointError, match="cannot be a teacher: found lstm, expected bert"):
        train(data, tmp_path / "x", settings, TrainerOptions(teacher=student))
    with pytest.raises(CheckpointError, match="is not a trained-model folder"):
        train(data, tmp_path / "x", settings, TrainerOptions(teacher=tmp_path / "nothing"))
    two = [e for e in data.train if e.label != "neutral"]
    two_labels = make_dataset(
        "two",
        "sentiment",
        ("negative", "positive"),
        {
            "train": two,
            "dev": [e for e in data.dev if e.label != "neutral"],
            "test": [e for e in data.test if e.label != "neutral"],
        },
        licence="",
        origin="",
    )
    with pytest.raises(CheckpointError, match="trained for other labels"):
        train(two_labels, tmp_path / "x", settings, TrainerOptions(teacher=teacher))


def test_divergence_is_said(data: Dataset, small_bert_checkpoint: Path, tmp_path: Path) -> None:
    settings = BertSettings(learning_rate=1.0, head_lr_multiplier=1e38, frozen_layers=0)
    with pytest.raises(InputError, match=r"training diverged.*lower learning_rate"):
        train(data, tmp_path / "out", settings, TrainerOptions(checkpoint=small_bert_checkpoint))
    assert list(tmp_path.iterdir()) == []


def test_fewer_layers_and_pieces(
    data: Dataset, small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    settings = BertSettings(epochs=1, layers=1, min_piece_count=1)
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    model = train_to_completion(data, tmp_path / "bert", settings, options)
    config = model.manifest.bert
    assert config is not None
    assert config.layers == 1
    assert config.vocabulary_size == len(model.weights["embeddings.word_embeddings.weight"])
    assert bert_answers(model, [[2, 3]])[0].shape == (len(data.labels),)


def test_too_many_frozen_layers(data: Dataset, small_bert_checkpoint: Path, tmp_path: Path) -> None:
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    with pytest.raises(InputError, match="found 3, expected <= 2"):
        train(data, tmp_path / "out", BertSettings(frozen_layers=3), options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "unknown field `epoch`"),
        ({"epochs": 0}, r">= 1.*\$.epochs"),
        ({"learning_rate": "fast"}, r"\$.learning_rate"),
    ],
)
def test_settings_are_read_strictly(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_settings(values, "bert", "sentiment")


def test_settings_have_defaults() -> None:
    assert read_settings({"epochs": 2}, "lstm", "sentiment") == LstmSettings(epochs=2)


def test_batches_hold_every_text_once_and_little_padding() -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(3, 60, 1000)]
    batches = shuffled_batches(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches)) == list(range(1000))
    area = sum(len(b) * max(lengths[i] for i in b) for b in batches)
    assert area < 1.08 * sum(lengths)
    again = shuffled_batches(lengths, 16, np.random.default_rng(1))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_prediction_batches_respect_the_limit() -> None:
    lengths = [5, 300, 7, 7, 100, 2]
    batches = sorted_batches(lengths, 200)
    assert sorted(np.concatenate(batches)) == list(range(6))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 200


def test_padding() -> None:
    texts = TokenTexts([[1, 2, 3], [4], [5, 6]])
    batch = texts.batch(np.array([1, 2]))
    np.testing.assert_array_equal(batch.inputs, [[4, 0], [5, 6]])
    np.testing.assert_array_equal(batch.mask, [[1, 0], [1, 1]])


def test_states_come_back_where_they_were_put() -> None:
    texts = TokenTexts([[1, 2, 3], [4], [5, 6]])
    states = StateTexts(texts.lengths, 2)
    for index in ([0, 2], [1]):
        batch = texts.batch(np.array(index))
        states.put(batch, np.stack([batch.inputs, -batch.inputs], axis=-1).astype(np.float32))
    again = states.batch(np.array([2, 1]))
    np.testing.assert_array_equal(again.inputs[:, :, 0], [[5, 6], [4, 0]])
    np.testing.assert_array_equal(again.inputs[:, :, 1], [[-5, -6], [-4, 0]])
    np.testing.assert_array_equal(again.mask, [[1, 1], [1, 0]])
    assert StateTexts.size_bytes(texts.lengths, 2) == 6 * 2 * 2


def test_keeping_the_frozen_states_trains_the_same(
    small_bert_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(64)
    settings = BertSettings(epochs=2, frozen_layers=1, dropout=0.0)
    stages: list[set[str]] = []
    models = []
    for limit in (classifier.STATES_LIMIT_BYTES, 0):
        monkeypatch.setattr(classifier, "STATES_LIMIT_BYTES", limit)
        reports: list[ProgressUpdate] = []
        models.append(
            train_to_completion(
                data,
                tmp_path / str(limit),
                settings,
                TrainerOptions(checkpoint=small_bert_checkpoint),
                progress=reports.append,
            )
        )
        stages.append({report.stage for report in reports})
    assert "run the frozen layers" in stages[0]
    assert "run the frozen layers" not in stages[1]
    kept, again = (model.weights for model in models)
    name = "encoder.layer.0.output.dense.weight"
    np.testing.assert_array_equal(kept[name], again[name])
    for name, array in kept.items():
        # The kept states are rounded to float16.
        np.testing.assert_allclose(array, again[name], atol=2e-3, err_msg=name)


def test_learning_rate_rises_and_falls() -> None:
    rates = [linear_decay(n, 100, peak=1.0, warmup_ratio=0.1) for n in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[54] == pytest.approx(0.5)
    assert rates[-1] == 0


def test_projection_keeps_distances_when_nothing_is_lost() -> None:
    generator = np.random.default_rng(3)
    table = (generator.normal(size=(50, 4)) @ generator.normal(size=(4, 12))).astype(np.float32)
    projected = project_table(table, 4)
    original = np.linalg.norm(table[0] - table[1]) / np.linalg.norm(table[2] - table[3])
    kept = np.linalg.norm(projected[0] - projected[1]) / np.linalg.norm(projected[2] - projected[3])
    assert kept == pytest.approx(original, rel=1e-3)
    assert project_table(table, 20).shape == (50, 20)
