"""Training with any number of labels per text: both families, alone and from a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from edgeseq.errors import CheckpointError
from edgeseq.formats.trained_model import read_model_folder
from edgeseq.progress import no_progress
from edgeseq.tasks.examples import Dataset, TextExample
from edgeseq.tasks.label_thresholds import sigmoid
from edgeseq_converters.training.classifier import training_graph
from edgeseq_converters.training.initial_weights import initial_weights
from edgeseq_converters.training.sequence_classification import Targets, sequence_step
from edgeseq_converters.training.settings import BertSettings, LstmSettings, TrainerOptions
from edgeseq_converters.training.teacher import (
    LABEL_CORRECTION,
    TeacherOutputs,
    correct_stale_logits,
)
from edgeseq_converters.training.texts import encode_split
from edgeseq_converters.training.trainer import train, train_to_completion

from ...multilabel_data import LABELS, multilabel_data

SETTINGS = {"epochs": 8, "batch_size": 8, "dropout": 0.0}
BERT = BertSettings(learning_rate=3e-3, frozen_layers=0, patience=8, **SETTINGS)  # type: ignore[arg-type]
LSTM = LstmSettings(
    hidden_size=16,
    embedding_size=16,
    learning_rate=1e-2,
    token_dropout=0.0,
    **SETTINGS,  # type: ignore[arg-type]
)
MAJORITY = 0.55
"""More than macro F1 of predicting every label for every text, each being in 35 % of them: 0.52."""


@pytest.fixture(scope="module")
def data() -> Dataset[Any]:
    return multilabel_data()


@pytest.fixture(scope="module")
def teacher(
    data: Dataset[Any], small_bert_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "teacher"
    train(data, out, BERT, TrainerOptions(checkpoint=small_bert_checkpoint))
    return out


def test_a_bert_learns_any_number_of_labels(teacher: Path) -> None:
    model = read_model_folder(teacher)
    assert model.manifest.task == "multilabel-classification"
    assert model.manifest.labels == LABELS
    # Two layers with random weights; the best of eight epochs.
    assert model.manifest.training.dev_score > 0.7 > MAJORITY


def test_an_lstm_learns_alone_and_from_its_teacher(
    teacher: Path, data: Dataset[Any], small_bert_checkpoint: Path, tmp_path: Path
) -> None:
    for name, options in (
        ("alone", TrainerOptions(checkpoint=small_bert_checkpoint)),
        ("taught", TrainerOptions(teacher=teacher)),
    ):
        model = train_to_completion(data, tmp_path / name, LSTM, options)
        assert model.manifest.training.dev_score > 0.85 > MAJORITY
    assert model.manifest.training.teacher_logits == "stored"


def test_a_teacher_of_another_task_is_refused(
    teacher: Path, data: Dataset[Any], tmp_path: Path
) -> None:
    splits = {name: getattr(data, name)[:10] for name in ("train", "dev", "test")}
    texts = {
        name: tuple(TextExample(one.id, one.text, LABELS[n % 3]) for n, one in enumerate(part))
        for name, part in splits.items()
    }
    single = msgspec.structs.replace(data, task="text-classification", **texts)
    with pytest.raises(CheckpointError, match=r"another task.*multilabel-classification"):
        train(single, tmp_path / "s", LSTM, TrainerOptions(teacher=teacher))
    assert not (tmp_path / "s").exists()


def test_the_loss_is_pytorch_s_binary_cross_entropy(
    data: Dataset[Any], small_bert_checkpoint: Path
) -> None:
    """Texts of a transfer set have no labels, which is not the same as none of the labels."""
    options = TrainerOptions(checkpoint=small_bert_checkpoint)
    initial = initial_weights(data, LSTM, options, by_word=False, progress=no_progress)
    split = encode_split(data, "train", initial.tokenizer_json, LSTM.max_tokens)
    graph = training_graph(initial, len(LABELS), split.ids[:8], split.ids[:8], no_progress)
    logits = torch.tensor(graph.predictor()(graph.dev))
    labels = torch.tensor(split.labels[:8], dtype=torch.float32)
    assert (labels.sum(1) == 0).any()
    known = torch.tensor([1.0] * 5 + [0.0] * 3)
    wanted = torch.tensor(np.random.default_rng(0).normal(size=(8, 3)), dtype=torch.float32)
    outputs = TeacherOutputs(wanted.numpy(), np.empty((8, 0, 0), np.float32))
    loss = torch.nn.BCEWithLogitsLoss(reduction="none")(logits, labels).mean(1)
    expected = (loss * known).mean()
    targets = Targets((labels * known[:, None]).numpy(), known.numpy())
    batch = graph.train.batch(np.arange(8))
    step, rows = sequence_step(graph, targets, LSTM)
    assert step(batch, rows[batch.index], 0.0, 1)[0] == pytest.approx(float(expected), rel=1e-5)
    taught = msgspec.structs.replace(targets, teacher=outputs)
    step, rows = sequence_step(graph, taught, LSTM)
    expected = ((logits - wanted) ** 2).mean() + LSTM.hard_label_weight * expected
    assert step(batch, rows[batch.index], 0.0, 1)[0] == pytest.approx(float(expected), rel=1e-5)


def test_stored_logits_catch_up_by_the_gradient_of_their_sigmoid() -> None:
    logits = np.array([[0.0, 2.0, -900.0]], dtype=np.float32)
    labels = np.array([[1.0, 1.0, 0.0]], dtype=np.float32)
    moved = correct_stale_logits(logits, labels, sigmoid) - logits
    expected = [[0.5, 1 - 1 / (1 + np.exp(-2.0)), 0.0]]
    np.testing.assert_allclose(moved, LABEL_CORRECTION * np.array(expected), atol=1e-6)
